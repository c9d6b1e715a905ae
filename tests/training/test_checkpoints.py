"""Checkpoints in a folder: whole, checked, and the one before a damaged one."""

from pathlib import Path

import pytest
from pyarrow import fs

from fer_ray.config import RunConfig
from fer_ray.record.places import Uri
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import (
    TrainState,
    load_checkpoint,
    load_history,
    save_checkpoint,
)
from fer_ray.training.checkpoints import CheckpointError, Checkpoints
from fer_ray.training.finish import unlogged_rows
from fer_ray.training.state import new_state
from tests.samples import CPU, faces, make_run, train

Saved = tuple[RunConfig, TrainState]


@pytest.fixture(scope="module")
def begun() -> Saved:
    """A run before its first epoch."""
    run = make_run("cross_entropy")
    return run, new_state(run, faces(), CPU)


def write(folder: Folder, begun: Saved, epochs: int) -> Checkpoints:
    run, state = begun
    checkpoints = Checkpoints(folder)
    for epoch in range(1, epochs + 1):
        state.epoch = epoch
        state.history = [{"epoch": number} for number in range(1, epoch + 1)]
        checkpoints.write(epoch, lambda path: save_checkpoint(state, run, path))
    return checkpoints


def epoch_of(checkpoints: Checkpoints) -> int | None:
    with checkpoints.newest() as folder:
        if folder is None:
            return None
        back = new_state(make_run("cross_entropy"), faces(), CPU)
        load_checkpoint(back, folder)
        return back.epoch


@pytest.fixture(params=["machine", "store"])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Folder:
    if request.param == "machine":
        return Folder(tmp_path)
    filesystem = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    opened = (filesystem, "run", Uri("s3://bucket/run"))
    monkeypatch.setattr("fer_ray.record.storage.open_place", lambda place: opened)
    return Folder("s3://bucket/run")


def test_the_newest_is_opened_and_two_are_kept(folder: Folder, begun: Saved) -> None:
    assert epoch_of(Checkpoints(folder)) is None
    checkpoints = write(folder, begun, 3)
    assert folder.names() == ["epoch_0002", "epoch_0003"]
    assert epoch_of(checkpoints) == 3
    assert [row["epoch"] for row in unlogged_rows(1, folder)] == [2, 3]
    assert unlogged_rows(3, folder) == []


@pytest.mark.parametrize("name", ["state.pt", "metrics.jsonl", "config.yaml", "files.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_for_a_damaged_one_the_one_before_it_is_taken(
    name: str, damage: str, tmp_path: Path, begun: Saved, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = write(Folder(tmp_path), begun, 2)
    path = tmp_path / "epoch_0002" / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        half = len(content) // 2
        rest = bytes([content[half] ^ 1]) + content[half + 1 :] if damage == "flipped" else b""
        path.write_bytes(content[:half] + rest)
    assert epoch_of(checkpoints) == 1
    if (name, damage) != ("files.json", "gone"):  # as a kill leaves it: nothing is damaged
        assert "epoch_0002/" in caplog.text
        assert "Going on from the checkpoint before it, epoch_0001" in caplog.text


def test_without_a_whole_one_the_run_starts_again_and_says_so(
    tmp_path: Path, begun: Saved, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = write(Folder(tmp_path), begun, 2)
    for path in tmp_path.glob("*/state.pt"):
        path.write_bytes(b"")
    assert epoch_of(checkpoints) is None
    assert "no checkpoint is whole; starting from the first epoch" in caplog.text


def test_what_cannot_be_written_is_named_and_leaves_the_one_before(
    folder: Folder, begun: Saved
) -> None:
    checkpoints = write(folder, begun, 1)

    def fail(path: Path) -> None:
        (path / "state.pt").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"epoch_0002: expected to write .* No space left"):
        checkpoints.write(2, fail)
    assert folder.names() == ["epoch_0001"]
    assert epoch_of(checkpoints) == 1


def test_a_run_that_has_ended_keeps_what_is_tested_and_no_more(
    folder: Folder, begun: Saved, tmp_path: Path
) -> None:
    checkpoints = write(folder, begun, 3)
    checkpoints.retire()
    assert sorted(path.name for path in tmp_path.rglob("epoch_*")) == ["epoch_0003"]
    with checkpoints.newest() as newest:
        assert newest is not None
        kept = sorted(path.name for path in newest.iterdir())
        assert kept == ["config.yaml", "files.json", "metrics.jsonl"]
        assert [row["epoch"] for row in load_history(newest)] == [1, 2, 3]
        with pytest.raises(ValueError, match=r"state\.pt: not a readable checkpoint"):
            load_checkpoint(begun[1], newest)
    checkpoints.retire()  # again, after a command that was killed
    assert [row["epoch"] for row in unlogged_rows(2, folder)] == [3]


def test_a_store_is_sent_only_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("cross_entropy", select="best", optim__average_decay=0.9)
    state, _ = train(run, faces(), num_epochs=2)
    filesystem = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    opened = (filesystem, "run", Uri("s3://bucket/run"))
    monkeypatch.setattr("fer_ray.record.storage.open_place", lambda place: opened)
    folder, sent = Folder("s3://bucket/run"), []
    upload = Folder.copy_tree_from

    def copy_tree_from(target: Folder, local: Path) -> None:
        sent.append(sorted(path.name for path in local.iterdir()))
        upload(target, local)

    monkeypatch.setattr(Folder, "copy_tree_from", copy_tree_from)
    assert state.best is not None
    checkpoints = Checkpoints(folder)
    for epoch, best in ((2, 1), (3, 1), (4, 4)):
        state.epoch, state.best.epoch = epoch, best
        checkpoints.write(epoch, lambda path: save_checkpoint(state, run, path))
    first = ["best.pt", "config.yaml", "metrics.jsonl", "state.pt"]
    assert sent == [first, ["state.pt"], ["best.pt", "state.pt"]]  # the rows stay as they are here
    with checkpoints.newest() as newest:
        assert newest is not None
        load_checkpoint(new_state(run, faces(), CPU), newest)


@pytest.mark.parametrize("damage", ["files.json", "config.yaml"])
def test_what_a_store_cannot_copy_is_sent(
    damage: str, folder: Folder, begun: Saved, tmp_path: Path
) -> None:
    checkpoints = write(folder, begun, 1)
    (path,) = tmp_path.rglob(damage)
    if damage == "files.json":
        path.write_text("[1")
    else:
        path.unlink()
    run, state = begun
    checkpoints.write(2, lambda place: save_checkpoint(state, run, place))
    with checkpoints.newest() as newest:
        assert newest is not None
        assert newest.name == "epoch_0002"
        load_checkpoint(new_state(run, faces(), CPU), newest)


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(
    begun: Saved, tmp_path: Path
) -> None:
    checkpoints = write(Folder(tmp_path), begun, 2)
    (tmp_path / "epoch_0002" / "metrics.jsonl").write_text("x")
    checkpoints.retire()
    assert [row["epoch"] for row in unlogged_rows(0, Folder(tmp_path))] == [1]


def test_a_run_without_a_checkpoint_has_nothing_to_delete(folder: Folder) -> None:
    Checkpoints(folder / "none").retire()
