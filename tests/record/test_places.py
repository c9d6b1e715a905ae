"""Places: what pyarrow opens, what is refused, and what an error may say."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_ray.record.places import StorageError, Uri, open_place


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
def test_password_is_refused_and_not_repeated(place: str) -> None:
    with pytest.raises(StorageError, match="without a password") as caught:
        open_place(place)
    assert "hunter2" not in str(caught.value)


def test_a_fragment_is_refused() -> None:
    with pytest.raises(StorageError, match=r"mock:///runs: .*fragment.*%23"):
        open_place("mock:///runs#1")


@pytest.mark.parametrize(
    "place",
    [
        "s3://bucket/runs?access_key=hunter2",
        "s3://bucket/runs?region=eu hunter2",
        "abfs://c@account/runs?credential_kind=hunter2",
        "gs://bucket/runs?hunter2",
    ],
)
def test_a_query_that_cannot_be_used_is_refused_without_its_values(place: str) -> None:
    with pytest.raises(StorageError, match=r"\*\*\*: expected a path or a URI") as caught:
        open_place(place)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


@given(
    st.lists(
        st.tuples(
            st.text("abcdef_", min_size=1), st.text("0123456789/+=%& ?ä", min_size=4, max_size=20)
        ),
        min_size=1,
        max_size=4,
    )
)
def test_no_value_of_a_query_is_ever_shown(options: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options)
    uri = Uri("store://host/runs", query)
    names = [part.partition("=")[0] for part in str(uri).partition("?")[2].split("&")]
    assert names == [name for name, _ in options]
    error = "; ".join(f"{value} {quote(value)} {quote(value, safe='')}" for _, value in options)
    for text in (str(uri), repr(uri), uri.hide_values(f"{uri.with_values()}: {error}")):
        for _, value in options:
            assert value not in text
            assert quote(value, safe="") not in text
