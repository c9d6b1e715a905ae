"""Folders: local directories, file URIs, and pyarrow's in-memory store as a remote one."""

import os
import pickle
from pathlib import Path

import pytest

from fer_ray.record.places import StorageError
from fer_ray.record.storage import Folder


@pytest.fixture(params=["path", "file", "mock"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    places: dict[str, str | Path] = {
        "path": tmp_path / "runs",
        "file": (tmp_path / "runs").as_uri(),
        "mock": "mock:///bucket/runs",
    }
    return Folder(places[request.param])


def test_what_is_written_is_read(folder: Folder) -> None:
    folder.write_text("summary.json", "é")
    folder.write_bytes("sub/deep/raw", b"\x00\xff")
    assert folder.read_text("summary.json") == "é"
    assert (folder / "sub" / "deep").read_bytes("raw") == b"\x00\xff"
    assert folder.names() == ["sub", "summary.json"]
    assert folder.exists("sub")
    assert folder.exists()
    folder.write_text("summary.json", "new")
    assert folder.read_text("summary.json") == "new"
    folder.delete("sub")
    folder.delete("never there")
    assert folder.names() == ["summary.json"]


def test_missing_things(folder: Folder) -> None:
    assert folder.names() == []
    assert not folder.exists("x")
    with pytest.raises(FileNotFoundError):
        folder.read_text("x")
    with pytest.raises(FileNotFoundError):
        folder.download("x", "y")


def test_check_leaves_nothing_behind(folder: Folder) -> None:
    folder.check_writable()
    assert folder.exists()
    assert folder.names() == []


def test_trees_go_up_and_come_down(folder: Folder, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "inner" / "b.txt").write_text("b")
    (folder / "copy").copy_tree_from(source)
    tree = folder.download("copy", tmp_path / "back" / "tree")
    assert (tree / "inner" / "b.txt").read_text() == "b"
    file = folder.download("copy/a.txt", tmp_path / "back" / "deep" / "renamed.txt")
    assert file.read_text() == "a"


def test_the_text_of_a_folder_is_a_path_or_a_uri(tmp_path: Path) -> None:
    local = tmp_path / "with space"
    assert str(Folder(local.as_uri()) / "x") == str(local / "x")
    assert Folder(local).local_path == local
    remote = Folder("mock:///bucket/runs/") / "search"
    assert str(remote) == "mock:///bucket/runs/search"
    assert remote.name == "search"
    assert not remote.is_local
    with pytest.raises(StorageError, match="remote folder"):
        _ = remote.local_path


def test_relative_paths_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert str(Folder("runs")) == str(tmp_path / "runs")
    assert str(Folder("~/runs")) == str(tmp_path / "home" / "runs")


@pytest.mark.parametrize("root", ["mock://", "mock:///bucket", "mock:///bucket/with%20space"])
def test_names_inside_a_uri_are_escaped(root: str) -> None:
    folder = Folder(f"{root}/") / "a b" / "50%"
    assert str(folder) == f"{root}/a%20b/50%25"
    assert folder.path.endswith("/a b/50%")
    copy = pickle.loads(pickle.dumps(folder))
    assert copy.path.strip("/") == folder.path.strip("/")


def test_options_reach_the_store_in_every_process() -> None:
    place = "s3://bucket/runs?region=eu-north-1&endpoint_override=127.0.0.1%3A9"
    folder = Folder(place) / "search"
    copy = pickle.loads(pickle.dumps(folder))
    for store in (folder, copy, copy / "trial"):
        assert store.filesystem.region == "eu-north-1"
        assert store.filesystem.equals(Folder(place).filesystem)
    assert copy.path == folder.path == "bucket/runs/search"


def test_folder_travels_between_processes(tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(Folder(tmp_path) / "x"))
    assert str(copy) == str(tmp_path / "x")


def test_place_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/runs: expected a folder.*--storage") as caught:
        Folder(tmp_path / "file" / "runs").check_writable()
    assert "\n" not in str(caught.value)


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.write_text("a", "old")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        folder.write_text("a", "new")
    assert folder.read_text("a") == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_unfinished_files_are_hidden(folder: Folder) -> None:
    folder.make()
    for name in ("rows", "rows.0123abcd.part"):
        folder.write_text(name, "")
    assert folder.names() == ["rows"]


def test_a_file_is_written_next_to_its_target_and_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unfinished file is on the same disk, hidden from `names`, and the old file is whole."""
    folder, seen = Folder(tmp_path), list[list[str]]()
    folder.write_text("rows", "old")
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        assert source.parent == target.parent
        assert source.read_text() == "new"
        assert folder.read_text("rows") == "old"
        seen.append(folder.names())
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    folder.write_text("rows", "new")
    assert seen == [["rows"]]
    assert folder.read_text("rows") == "new"
