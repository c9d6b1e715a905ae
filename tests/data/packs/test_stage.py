"""Data sets in an object store are copied here once, and packs are made of the copy."""

import multiprocessing
import os
from pathlib import Path

import pytest

from fer_ray.data import DataError
from fer_ray.data.packs.stage import local_copy
from fer_ray.record.storage import Folder
from tests.data.files import files_of


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`store://bucket/...` is a folder here that counts as remote."""
    root = tmp_path / "bucket"
    (root / "faces" / "train").mkdir(parents=True)
    (root / "faces" / "list.txt").write_text("a 1\n")
    (root / "faces" / "train" / "a.jpg").write_bytes(b"a")
    monkeypatch.setenv("FER_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Folder, "is_local", property(lambda self: False))
    return root


def as_uri(path: Path) -> str:
    return f"file://{path}"


def test_a_folder_is_copied_once(bucket: Path) -> None:
    copy = local_copy(as_uri(bucket / "faces"))
    assert copy != bucket / "faces"
    assert copy.name == "faces"
    assert files_of(copy) == files_of(bucket / "faces")
    (bucket / "faces" / "list.txt").unlink()
    assert local_copy(as_uri(bucket / "faces")) == copy
    assert (copy / "list.txt").exists()


def test_a_single_file_is_copied_too(bucket: Path) -> None:
    copy = local_copy(as_uri(bucket / "faces" / "list.txt"))
    assert copy.read_text() == "a 1\n"


def test_a_copy_that_was_cut_off_is_not_taken_for_whole(
    bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Folder.download

    def cut(self: Folder, name: str, local: Path) -> Path:
        whole(self, name, local)
        (Path(local) / "list.txt").unlink()
        raise OSError("connection lost")

    monkeypatch.setattr(Folder, "download", cut)
    with pytest.raises(DataError, match="connection lost"):
        local_copy(as_uri(bucket / "faces"))
    monkeypatch.setattr(Folder, "download", whole)
    assert (local_copy(as_uri(bucket / "faces")) / "list.txt").exists()


def _copy(uri: str, log: Path) -> None:
    whole = Folder.download

    def counted(self: Folder, name: str, local: str | os.PathLike[str]) -> Path:
        with log.open("a") as file:
            file.write("x")
        return whole(self, name, local)

    Folder.is_local = property(lambda self: False)  # type: ignore[assignment, method-assign]
    Folder.download = counted  # type: ignore[method-assign]
    local_copy(uri)


def test_two_processes_copy_once(bucket: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    arguments = (as_uri(bucket / "faces"), log)
    processes = [context.Process(target=_copy, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.read_text() == "x"


def test_a_place_of_this_machine_is_itself(tmp_path: Path) -> None:
    assert local_copy(str(tmp_path)) == tmp_path
    assert local_copy(f"file://{tmp_path}") == tmp_path


@pytest.mark.parametrize("uri", ["nowhere://bucket/faces", "s3://user:hunter2@bucket/faces"])
def test_a_place_that_cannot_be_opened_is_named_without_its_password(uri: str) -> None:
    with pytest.raises(DataError) as caught:
        local_copy(uri)
    assert "hunter2" not in str(caught.value)
    assert uri.partition(":")[0] in str(caught.value)


def test_nothing_at_a_place_is_an_error(bucket: Path) -> None:
    with pytest.raises(DataError, match="expected a place that can be read"):
        local_copy(as_uri(bucket / "other"))
