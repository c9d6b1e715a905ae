"""Places: what pyarrow opens, what is refused, and what an error may say."""

import pytest

from fer_ray.record.places import StorageError, open_place
from fer_ray.record.storage import Folder


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(StorageError, match=r"ftp://host/x: expected a path or a URI"):
        open_place("ftp://host/x")


@pytest.mark.parametrize(
    "place",
    [
        "s3://user:hunter2@bucket/runs",
        "s3://user:hunter2/with/slashes@bucket/runs",
        "s3://user:hunter2#more@bucket/runs",
        "abfs://:hunter2@account/runs",
    ],
)
def test_a_password_is_refused_and_not_repeated(place: str) -> None:
    with pytest.raises(StorageError, match="a password") as caught:
        open_place(place)
    assert "hunter2" not in str(caught.value)


def test_a_fragment_is_refused() -> None:
    with pytest.raises(StorageError, match=r"mock:///runs: .*fragment.*%23"):
        open_place("mock:///runs#1")


@pytest.mark.parametrize(
    "place",
    [
        "s3://bucket/runs?access_key=hunter2",
        "s3://hunter2@bucket/runs",
        "abfs://c@account/runs?client_secret=hunter2",
        "gs://bucket/runs?hunter2",
    ],
)
def test_a_secret_is_refused_and_not_repeated(place: str) -> None:
    with pytest.raises(StorageError, match=r"without secrets.*environment") as caught:
        open_place(place)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "place",
    [
        "abfs://faces@account/runs",
        "abfss://faces@account/runs/",
        "abfs://faces@account.dfs.core.windows.net/runs",
        "abfs://account.blob.core.windows.net/faces/runs",
    ],
)
def test_places_in_azure_name_container_and_account(place: str) -> None:
    folder = Folder(place) / "search" / "trial 1"
    assert folder.path == "faces/runs/search/trial 1"
    again = Folder(str(folder))
    assert again.path == folder.path
    assert again.filesystem.equals(folder.filesystem)
    scheme, _, rest = place.rstrip("/").partition("://")
    full = rest.replace("@account/", "@account.dfs.core.windows.net/")
    assert str(folder) == f"{scheme}://{full}/search/trial%201"


def test_a_place_in_azure_without_its_account_is_refused() -> None:
    with pytest.raises(StorageError, match="expected abfs://container@account/path, got no acc"):
        open_place("abfs://faces/runs")


@pytest.mark.parametrize("place", ["s3://bucket/runs?region=eu-north-1", "gs://b/r"])
def test_names_are_joined_before_the_options(place: str) -> None:
    folder = Folder(place) / "search"
    base, mark, query = place.partition("?")
    assert str(folder) == f"{base}/search{mark}{query}"
    assert Folder(str(folder)).path == folder.path
