"""Checkpoints are written at once while that is quick, and beside the next epoch if it is slow."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_ray.config import RunConfig
from fer_ray.record.storage import Folder
from fer_ray.training import saving
from fer_ray.training.checkpoint import Save, TrainState, load_checkpoint
from fer_ray.training.checkpoints import CheckpointError, Checkpoints
from fer_ray.training.distributed import rank
from fer_ray.training.runtime import train_run
from fer_ray.training.saving import Saver
from fer_ray.training.state import new_state
from tests.gloo import GlooRanks
from tests.samples import CPU, faces, make_run, same_weights, train


class Writer:
    """Writes checkpoints into a folder; notes in which thread, and waits for `may_go`."""

    def __init__(self, folder: Path) -> None:
        self.checkpoints = Checkpoints(Folder(folder))
        self.epochs: list[int] = []
        self.is_beside: list[bool] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, epoch: int, save: Save) -> None:
        assert self.may_go.wait(60)
        self.is_beside.append(threading.current_thread() is not threading.main_thread())
        self.checkpoints.write(epoch, save)
        self.epochs.append(epoch)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every checkpoint counts as slow."""
    monkeypatch.setattr(saving, "MOST_S", 0.0)
    monkeypatch.setattr(saving, "MOST_SHARE", 0.0)


def begun(epochs: int = 4) -> tuple[RunConfig, TrainState]:
    run = make_run("cross_entropy", optim__epochs=epochs, optim__average_decay=0.9)
    state, _ = train(run, faces(), num_epochs=1)
    return run, state


def test_quick_ones_are_written_at_once(tmp_path: Path) -> None:
    run, state = begun()
    writer = Writer(tmp_path)
    with Saver(writer, may_overlap=True) as saver:
        for epoch in (1, 2, 3):
            state.epoch = epoch
            saver.save(state, run, epoch_s=1e9)
            assert writer.epochs[-1] == epoch
    assert writer.is_beside == [False, False, False]


@pytest.mark.usefixtures("slow")
def test_after_a_slow_one_the_next_is_written_beside_training_as_it_was(tmp_path: Path) -> None:
    run, state = begun()
    writer = Writer(tmp_path)
    with Saver(writer, may_overlap=True) as saver:
        saver.save(state, run, epoch_s=0.0)
        train(run, faces(), state, num_epochs=1)
        was = new_state(run, faces(), CPU)
        writer.may_go.clear()
        saver.save(state, run, epoch_s=0.0)
        assert writer.epochs == [1]  # not waited for
        weights = [value.clone() for value in state.networks[0].state_dict().values()]
        train(run, faces(), state, num_epochs=1)
        assert not torch.equal(weights[0], next(iter(state.networks[0].state_dict().values())))
        writer.may_go.set()
    assert writer.epochs == [1, 2]
    assert writer.is_beside == [False, True]
    with writer.checkpoints.newest() as folder:
        assert folder is not None
        load_checkpoint(was, folder)
    assert was.epoch == 2
    assert len(was.history) == 2
    there = was.networks[0].state_dict().values()
    assert all(torch.equal(one, other) for one, other in zip(weights, there, strict=True))


@pytest.mark.usefixtures("slow")
def test_the_last_one_is_written_at_once(tmp_path: Path) -> None:
    run, state = begun(epochs=2)
    writer = Writer(tmp_path)
    with Saver(writer, may_overlap=True) as saver:
        saver.save(state, run, epoch_s=0.0)
        train(run, faces(), state, num_epochs=1)
        saver.save(state, run, epoch_s=0.0)
        assert writer.epochs == [1, 2]


@pytest.mark.usefixtures("slow")
def test_a_run_whose_rows_decide_waits_for_every_checkpoint(tmp_path: Path) -> None:
    run, state = begun()
    writer = Writer(tmp_path)
    with Saver(writer, may_overlap=False) as saver:
        for epoch in (1, 2, 3):
            state.epoch = epoch
            saver.save(state, run, epoch_s=0.0)
    assert writer.is_beside == [False, False, False]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("is_at_end", [False, True])
def test_what_could_not_be_written_is_an_error_of_the_next_or_of_the_end(is_at_end: bool) -> None:
    run, state = begun()

    def write(epoch: int, save: Save) -> None:
        if epoch == 2:
            raise CheckpointError("no space")

    def train_on() -> None:
        with Saver(write, may_overlap=True) as saver:
            for epoch in (1, 2) if is_at_end else (1, 2, 3):
                state.epoch = epoch
                saver.save(state, run, epoch_s=0.0)

    with pytest.raises(CheckpointError, match="no space"):
        train_on()


@pytest.mark.usefixtures("slow")
def test_an_error_of_training_waits_for_what_is_being_written(tmp_path: Path) -> None:
    run, state = begun()
    writer = Writer(tmp_path)

    def train_on() -> None:
        with Saver(writer, may_overlap=True) as saver:
            saver.save(state, run, epoch_s=0.0)
            state.epoch = 2
            saver.save(state, run, epoch_s=0.0)
            raise FloatingPointError("epoch 3")

    with pytest.raises(FloatingPointError):
        train_on()
    assert writer.epochs == [1, 2]


class FolderRuntime:
    """Two ranks that write into one folder."""

    def __init__(self, folder: str) -> None:
        self._checkpoints = Checkpoints(Folder(folder))
        self.rows: list[dict[str, Any]] = []

    def checkpoint(self) -> AbstractContextManager[Path | None]:
        return self._checkpoints.newest()

    def write(self, epoch: int, save: Save) -> None:
        assert rank() == 0
        if epoch == 3:
            raise CheckpointError("no space")
        self._checkpoints.write(epoch, save)

    def report(self, row: Any) -> None:
        self.rows.append(row)


def fail_beside_training(folder: str) -> list[int]:
    run = make_run("cross_entropy", optim__epochs=5, workers__gpus_per_worker=0)
    runtime = FolderRuntime(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "MOST_S", 0.0)
        patch.setattr(saving, "MOST_SHARE", 0.0)
        with pytest.raises(CheckpointError, match="no space"):
            train_run(run, runtime, data=faces())
    return [row["epoch"] for row in runtime.rows]


def test_on_two_ranks_a_checkpoint_that_fails_beside_training_ends_both(
    gloo_pair: GlooRanks, tmp_path: Path
) -> None:
    reported = gloo_pair.run(fail_beside_training, str(tmp_path))
    assert reported == [[1, 2, 3]] * 2  # the third was reported while it was being written
    assert Folder(tmp_path).names() == ["epoch_0001", "epoch_0002"]


def test_what_is_written_beside_training_is_what_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for name, most in (("quick", 1e9), ("slow", 0.0)):
        monkeypatch.setattr(saving, "MOST_S", most)
        monkeypatch.setattr(saving, "MOST_SHARE", most)
        run = make_run("dividemix", optim__epochs=3, workers__gpus_per_worker=0)
        runtime = FolderRuntime(str(tmp_path / name))
        monkeypatch.setattr(runtime, "write", runtime._checkpoints.write)
        train_run(run, runtime, data=faces())
        state = new_state(run, faces(), CPU)
        with runtime.checkpoint() as folder:
            assert folder is not None
            load_checkpoint(state, folder)
        states.append(state)
    assert same_weights(*states)
