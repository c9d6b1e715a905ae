"""Checkpoints: all there, back to the last bit, and refused with a reason when damaged."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fer_ray.config import RunConfig
from fer_ray.core.types import SplitResult
from fer_ray.training.checkpoint import (
    TrainState,
    copy_weights,
    load_best,
    load_checkpoint,
    load_history,
    load_split,
    save_checkpoint,
)
from fer_ray.training.runtime import ProcessRuntime, resolve_gpus, train_run
from fer_ray.training.state import new_state
from tests.samples import CPU, faces, make_run, same_weights, timeless, train


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, TrainState, Path]:
    """A DivideMix run (its split has memory) after its third epoch, and its checkpoint."""
    run, folder = make_run("dividemix", method__loss_history=3), tmp_path_factory.mktemp("saved")
    state, _ = train(run, faces(), num_epochs=3)
    save_checkpoint(state, run, folder)
    return run, state, folder


def same_split(first: SplitResult | None, second: SplitResult | None) -> bool:
    assert first is not None
    assert second is not None
    for item in fields(first):
        one, other = getattr(first, item.name), getattr(second, item.name)
        if isinstance(one, torch.Tensor):
            assert torch.equal(one, other), item.name
        elif isinstance(one, Mapping):
            assert {k: v.tolist() for k, v in one.items()} == {
                k: v.tolist() for k, v in other.items()
            }
        else:
            assert one == other
    return True


def test_a_checkpoint_brings_everything_back(saved: tuple[RunConfig, TrainState, Path]) -> None:
    run, state, folder = saved
    back = new_state(run, faces(), CPU)
    load_checkpoint(back, folder)
    assert back.epoch == 3
    assert same_weights(state, back)
    assert same_split(state.split, back.split)
    assert timeless(back.history) == timeless(state.history)
    assert back.best is not None
    assert state.best is not None
    assert (back.best.epoch, back.best.value) == (state.best.epoch, state.best.value)
    for ours, theirs in zip(state.best.weights, back.best.weights, strict=True):
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    for old, new in zip(state.optimizers, back.optimizers, strict=True):
        assert old.state_dict()["param_groups"] == new.state_dict()["param_groups"]
        buffers = [item["momentum_buffer"] for item in old.state_dict()["state"].values()]
        again = [item["momentum_buffer"] for item in new.state_dict()["state"].values()]
        assert all(torch.equal(one, other) for one, other in zip(buffers, again, strict=True))
        assert buffers


def test_parts_are_read_alone(saved: tuple[RunConfig, TrainState, Path]) -> None:
    run, state, folder = saved
    assert same_split(state.split, load_split(folder))
    assert timeless(load_history(folder)) == timeless(state.history)
    best = load_best(folder)
    assert best is not None
    assert state.best is not None
    assert best.epoch == state.best.epoch
    written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert RunConfig.from_dict(written) == run


def test_a_checkpoint_of_warmup_has_no_split(tmp_path: Path) -> None:
    run = make_run("co_divide")
    state, _ = train(run, faces(), num_epochs=1)
    save_checkpoint(state, run, tmp_path)
    assert load_split(tmp_path) is None
    back = new_state(run, faces(), CPU)
    load_checkpoint(back, tmp_path)
    assert back.split is None


def test_without_a_finite_metric_there_is_no_best(tmp_path: Path) -> None:
    run = make_run("cross_entropy")
    save_checkpoint(new_state(run, faces(), CPU), run, tmp_path)
    assert load_best(tmp_path) is None
    assert load_history(tmp_path) == []


def test_the_files_hold_tensors_and_plain_values_only(
    saved: tuple[RunConfig, TrainState, Path],
) -> None:
    _, _, folder = saved
    for name in ("state.pt", "best.pt"):
        torch.load(folder / name, weights_only=True)
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line)


def test_copied_weights_do_not_move_with_training() -> None:
    run = make_run("cross_entropy")
    state = new_state(run, faces(), CPU)
    weights = copy_weights(state.networks)
    before = weights[0]["classifier.weight"].clone()
    train(run, faces(), state, num_epochs=1)
    assert torch.equal(weights[0]["classifier.weight"], before)
    assert not torch.equal(state.networks[0].classifier.weight, before)


@pytest.mark.parametrize("name", ["state.pt", "best.pt"])
def test_a_damaged_file_is_named_with_a_way_out(
    name: str, tmp_path: Path, saved: tuple[RunConfig, TrainState, Path]
) -> None:
    run, state, folder = saved
    save_checkpoint(state, run, tmp_path)
    content = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ValueError, match=rf"{name}: not a readable checkpoint .*fall back to the one"
    ):
        load_checkpoint(new_state(run, faces(), CPU), tmp_path)


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    run = make_run("cross_entropy")
    with pytest.raises(ValueError, match=r"state\.pt: not a readable checkpoint"):
        load_checkpoint(new_state(run, faces(), CPU), tmp_path)


def test_a_checkpoint_of_other_networks_is_refused(
    saved: tuple[RunConfig, TrainState, Path],
) -> None:
    _, _, folder = saved
    with pytest.raises(
        ValueError, match=r"a checkpoint of 2 networks, expected 1; resume with the"
    ):
        load_checkpoint(new_state(make_run("cross_entropy"), faces(), CPU), folder)
    with pytest.raises(ValueError, match=r"a checkpoint of another network; resume with the"):
        load_checkpoint(new_state(make_run("dividemix"), faces(num_classes=3), CPU), folder)


# --- a plain process ------------------------------------------------------------------------------

SPEC = "synthetic:train=140,test=30,size=16"


def test_a_killed_process_goes_on_where_it_was(tmp_path: Path) -> None:
    run = make_run("co_divide", data__spec=SPEC, workers__gpus_per_worker=0.0)
    whole: list[Mapping[str, Any]] = []
    train_run(run, ProcessRuntime(tmp_path / "whole", whole.append))

    class KilledError(Exception):
        pass

    rows: list[Mapping[str, Any]] = []

    def log(row: Mapping[str, Any]) -> None:
        rows.append(row)
        if row["epoch"] == 3 and len(rows) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train_run(run, ProcessRuntime(tmp_path / "cut", log))
    (tmp_path / "cut" / ".new-left-by-a-kill").mkdir()
    train_run(run, ProcessRuntime(tmp_path / "cut", log))
    assert timeless([dict(row) for row in rows]) == timeless([dict(row) for row in whole])
    states = [load_best(tmp_path / name / "epoch_0004") for name in ("whole", "cut")]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].epoch == states[1].epoch


def test_a_process_keeps_the_newest_checkpoint_only(tmp_path: Path) -> None:
    run = make_run("cross_entropy", data__spec=SPEC, workers__gpus_per_worker=0.0)
    train_run(run, ProcessRuntime(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0004"]


def test_of_two_whole_checkpoints_the_newer_is_taken(tmp_path: Path) -> None:
    for name in ("epoch_0002", "epoch_0010"):
        (tmp_path / name).mkdir()
    with ProcessRuntime(tmp_path).checkpoint() as folder:
        assert folder == tmp_path / "epoch_0010"
    with ProcessRuntime(tmp_path / "none").checkpoint() as folder:
        assert folder is None


@pytest.mark.parametrize(
    ("num_workers", "num_gpus", "expected"), [(1, 0.0, 0.0), (1, 2.0, 1.0), (2, 1.0, 0.0)]
)
def test_auto_is_a_gpu_a_worker_where_there_are_enough(
    num_workers: int, num_gpus: float, expected: float
) -> None:
    run = RunConfig.from_dict({"workers": {"num_workers": num_workers}})
    resolved = resolve_gpus(run, num_gpus)
    assert resolved.workers.gpus_per_worker == expected
    assert resolve_gpus(resolved, 8.0) == resolved
