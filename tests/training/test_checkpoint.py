"""Checkpoints: complete, exact to the last bit, and refused with a reason if damaged."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.types import SplitResult
from fer_ray.methods import METHODS
from fer_ray.training.checkpoint import (
    TrainState,
    copy_weights,
    load_best,
    load_checkpoint,
    load_history,
    load_split,
    save_checkpoint,
)
from fer_ray.training.state import new_state
from tests.samples import CPU, faces, make_run, same_weights, timeless, train


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, TrainState, Path]:
    """A DivideMix run after its third epoch, whose split has memory, and its checkpoint."""
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


def test_a_checkpoint_restores_everything(saved: tuple[RunConfig, TrainState, Path]) -> None:
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


@pytest.mark.parametrize("average_decay", [0, 0.9])
@pytest.mark.parametrize("select", ["best", "last"])
def test_no_weights_are_written_twice(select: str, average_decay: float, tmp_path: Path) -> None:
    run = make_run("co_divide", optim__average_decay=average_decay, select=select)
    state, _ = train(run, faces(), num_epochs=3)
    assert state.best is not None
    if select == "best":  # an earlier epoch, whose networks are others
        state.best.epoch = 2
    save_checkpoint(state, run, tmp_path)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    evaluated = saved["averages" if average_decay else "networks"]
    assert (evaluated is None) == (select == "last")
    back = new_state(run, faces(), CPU)
    load_checkpoint(back, tmp_path)
    assert same_weights(state, back)
    for one, other in zip(state.averages, back.averages, strict=True):
        there = other.state_dict()
        assert all(torch.equal(value, there[key]) for key, value in one.state_dict().items())


def test_parts_of_a_checkpoint_can_be_loaded_alone(
    saved: tuple[RunConfig, TrainState, Path],
) -> None:
    run, state, folder = saved
    assert same_split(state.split, load_split(folder))
    assert timeless(load_history(folder)) == timeless(state.history)
    best = load_best(folder)
    assert best is not None
    assert state.best is not None
    assert best.epoch == state.best.epoch
    written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert RunConfig.from_dict(written) == run


def test_a_checkpoint_from_warmup_has_no_split(tmp_path: Path) -> None:
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
    for name in ("state.pt", "split.pt", "best.pt"):
        torch.load(folder / name, weights_only=True)
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line)


def test_copied_weights_do_not_change_with_training() -> None:
    run = make_run("cross_entropy")
    state = new_state(run, faces(), CPU)
    weights = copy_weights(state.networks)
    before = weights[0]["classifier.weight"].clone()
    train(run, faces(), state, num_epochs=1)
    assert torch.equal(weights[0]["classifier.weight"], before)
    assert not torch.equal(state.networks[0].classifier.weight, before)


@pytest.mark.parametrize("name", ["state.pt", "split.pt", "best.pt"])
def test_a_damaged_file_is_named_with_a_remedy(
    name: str, tmp_path: Path, saved: tuple[RunConfig, TrainState, Path]
) -> None:
    run, state, folder = saved
    save_checkpoint(state, run, tmp_path)
    content = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ValueError, match=rf"{name}: not a readable checkpoint .*resume from the checkpoint before"
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
        ValueError, match=r"expected a checkpoint of 1 networks, got 2; resume with the"
    ):
        load_checkpoint(new_state(make_run("cross_entropy"), faces(), CPU), folder)
    with pytest.raises(ValueError, match=r"the checkpoint is of another network; resume with the"):
        load_checkpoint(new_state(make_run("dividemix"), faces(num_classes=3), CPU), folder)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_trained_tensors_are_all_that_training_changes(method: str) -> None:
    run, data = make_run(method), faces()
    state, _ = train(run, data, num_epochs=3)
    known = {x.data_ptr() for k in range(len(state.networks)) for x in state.trained_tensors(k)}
    changed = [state.networks, state.averages]
    held = [x for part in changed for module in part for x in module.state_dict().values()]
    held += state.memory
    held += [x for o in state.optimizers for s in o.state.values() for x in s.values()]
    assert {x.data_ptr() for x in held if isinstance(x, Tensor)} == known
    fresh = new_state(run, data, CPU)
    for network in range(len(state.networks)):
        there, here = state.trained_tensors(network), fresh.trained_tensors(network)
        assert [(x.shape, x.dtype) for x in there] == [(x.shape, x.dtype) for x in here]
