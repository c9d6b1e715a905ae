"""What every method keeps to, whoever wrote it."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.types import SplitResult
from fer_ray.data import FaceData
from fer_ray.methods import METHODS, Method
from fer_ray.training.checkpoint import copy_weights, load_checkpoint, save_checkpoint
from fer_ray.training.state import new_state
from tests.gloo import GlooRanks
from tests.samples import CPU, faces, make_run, same_weights, timeless, train

every_method = pytest.mark.parametrize("name", METHODS)


@every_method
def test_a_method_is_a_frozen_dataclass_that_builds_from_nothing(name: str) -> None:
    method = METHODS[name]()
    assert isinstance(method, Method)
    assert getattr(method, "name", None) == name
    assert method.paper
    assert method.num_networks in (1, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.name = "other"  # type: ignore[attr-defined]
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(method, "state", 1)


@every_method
def test_a_method_survives_a_dict(name: str) -> None:
    run = RunConfig.from_dict({"method": {"name": name}})
    assert run.method == METHODS[name]()
    assert RunConfig.from_dict(run.to_dict()) == run
    assert set(run.to_dict()["method"]) == {item.name for item in fields(run.method)}


@every_method
def test_every_field_is_described(name: str) -> None:
    text = " ".join(kind.__doc__ or "" for kind in METHODS[name].__mro__)
    for item in fields(METHODS[name]):
        assert item.name == "name" or f"{item.name}:" in text


@every_method
def test_default_thresholds_and_priors_name_no_class(name: str) -> None:
    METHODS[name]().check_classes(("only", "these"))


@every_method
def test_a_few_epochs_have_finite_losses_and_figures_of_shares(name: str) -> None:
    run = make_run(name)
    _, rows = train(run, faces())
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        losses = [value for key, value in row.items() if key.startswith("train/")]
        assert losses
        assert all(math.isfinite(value) for value in losses)
        is_divided = run.method.divides and not run.method.is_warmup(row["epoch"], 4)
        assert ("split/labeled_fraction" in row) == is_divided
        assert 0 <= row.get("split/labeled_fraction", 0) <= 1


@every_method
def test_a_split_has_the_shapes_it_promises(name: str) -> None:
    run = make_run(name)
    state, _ = train(run, faces())
    if run.method.is_warmup(4, 4) or not run.method.divides:
        assert state.split is None
        return
    split = state.split
    assert split is not None
    assert split.is_labeled.shape == split.clean_prob.shape == split.label.shape
    assert split.is_labeled.shape == (run.method.num_networks, 96)
    assert split.threshold.shape == (4,)
    assert float(split.clean_prob.min()) >= 0
    assert float(split.clean_prob.max()) <= 1
    assert all(isinstance(value, Tensor) for value in split.memory.values())


@every_method
def test_the_seed_decides_everything(name: str) -> None:
    (first, rows), (again, same) = (train(make_run(name, seed=5), faces()) for _ in range(2))
    other, others = train(make_run(name, seed=6), faces())
    assert same_weights(first, again)
    assert timeless(rows) == timeless(same)
    assert not same_weights(first, other)
    assert timeless(rows) != timeless(others)


@every_method
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_resumed_run_equals_the_uninterrupted_one(name: str, cut: int, tmp_path: Path) -> None:
    special: dict[str, dict[str, Any]] = {
        "dividemix": {"method__loss_history": 3},
        "crest": {"method__generation_epochs": 1},
        "elr": {"method__variant": "elr+"},
    }
    overrides = special.get(name, {})
    run, data = make_run(name, optim__epochs=5, **overrides), faces()
    whole, _ = train(run, data)
    half, _ = train(run, data, num_epochs=cut)
    save_checkpoint(half, run, tmp_path)
    resumed = new_state(run, data, CPU)
    load_checkpoint(resumed, tmp_path)
    torch.rand(7)
    np.random.rand(7)
    train(run, data, resumed)
    assert same_weights(whole, resumed)
    assert timeless(whole.history) == timeless(resumed.history)
    assert whole.best is not None
    assert resumed.best is not None
    assert whole.best.epoch == resumed.best.epoch


# --- true labels ----------------------------------------------------------------------------------


def tensors_in(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """Every tensor reachable through records, sequences and mappings; no field is a true label."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for item in fields(value):
            assert "true" not in item.name
            yield from tensors_in(getattr(value, item.name), seen)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()), seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item, seen)


@every_method
def test_true_labels_never_reach_a_method(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = faces(noise=0.4)
    truth = torch.from_numpy(data.train.true_label)
    calls: list[str] = []

    def guarded(original: Any, what: str) -> Any:
        def call(self: Any, *arguments: Any) -> Any:
            calls.append(what)
            for value in tensors_in(list(arguments), set()):
                is_of_labels = value.dtype == torch.int64 and value.shape[-1:] == truth.shape
                assert not (is_of_labels and bool((value == truth).all()))
            return original(self, *arguments)

        return call

    for what in ("warmup_step", "split", "step"):
        monkeypatch.setattr(METHODS[name], what, guarded(getattr(METHODS[name], what), what))
    train(make_run(name), data)
    complete = {"warmup_step", "split", "step"}
    assert set(calls) in ({"warmup_step"}, complete, {"step"})
    assert METHODS[name].divides or "split" not in calls


def without_truth(data: FaceData) -> FaceData:
    unknown = np.full(len(data.train), -1)
    return replace(data, train=replace(data.train, true_label=unknown))


@every_method
def test_training_is_the_same_whatever_the_truth(name: str) -> None:
    known, _ = train(make_run(name), faces())
    unknown, rows = train(make_run(name), without_truth(faces()))
    assert same_weights(known, unknown)
    assert not any("precision" in key for row in rows for key in row)


@every_method
def test_only_a_method_that_asks_for_a_peer_gets_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, original = make_run(name), METHODS[name].step
    peers: list[bool] = []

    def step(self: Any, student: Any, peer: Any, *arguments: Any) -> Any:
        peers.append(peer is not None)
        return original(self, student, peer, *arguments)

    monkeypatch.setattr(METHODS[name], "step", step)
    train(run, faces())
    has_peer = run.method.num_networks == 2 or run.method.average_decay > 0
    assert set(peers) <= {run.method.asks_peer and has_peer}


# --- two ranks ------------------------------------------------------------------------------------


def first_split(name: str, folder: str) -> tuple[SplitResult | None, int]:
    """The split that follows a checkpointed warm-up, and the steps this rank took after it."""
    run, data = make_run(name, workers__parallel="images"), faces(num_train=91)
    state = new_state(run, data, CPU)
    load_checkpoint(state, Path(folder))
    steps = 0

    def counted(original: Any) -> Any:
        def call(self: Any, *arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            return original(self, *arguments)

        return call

    kind = METHODS[name]
    with (
        mock.patch.object(kind, "step", counted(kind.step)),
        mock.patch.object(kind, "warmup_step", counted(kind.warmup_step)),
    ):
        train(run, data, state, num_epochs=1)
    return state.split, steps


@every_method
def test_two_ranks_split_like_one_and_take_the_same_number_of_steps(
    name: str, gloo_pair: GlooRanks, tmp_path: Path
) -> None:
    run = make_run(name)
    warm, _ = train(run, faces(num_train=91), num_epochs=2)
    save_checkpoint(warm, run, tmp_path)
    alone, num_steps = first_split(name, str(tmp_path))
    for split, steps in gloo_pair.run(first_split, name, str(tmp_path)):
        assert steps == num_steps > 0
        if alone is None:
            assert split is None
            continue
        assert split is not None
        assert torch.equal(split.is_labeled, alone.is_labeled)
        torch.testing.assert_close(split.clean_prob, alone.clean_prob, rtol=1e-3, atol=1e-4)
        assert torch.equal(split.label, alone.label)


def ends(name: str, parallel: str) -> tuple[list[dict[str, Tensor]], str]:
    state, rows = train(make_run(name, optim__epochs=3, workers__parallel=parallel), faces())
    return copy_weights(state.networks), timeless(rows)


@every_method
@pytest.mark.parametrize("parallel", ["images", "auto"])
def test_two_ranks_end_alike(name: str, parallel: str, gloo_pair: GlooRanks) -> None:
    (weights, rows), (others, other_rows) = gloo_pair.run(ends, name, parallel)
    assert rows == other_rows
    for network, other in zip(weights, others, strict=True):
        assert all(torch.equal(value, other[key]) for key, value in network.items())
