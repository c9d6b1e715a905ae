"""Moving averages of networks: arithmetic, roles and checkpoints."""

import math
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from fer_ray.config import ModelConfig
from fer_ray.core.errors import ConfigError
from fer_ray.methods.elr import EarlyLearning
from fer_ray.training.checkpoint import copy_weights, load_checkpoint, save_checkpoint
from fer_ray.training.learner import Learner, Learners, move_average
from fer_ray.training.models import FaceNetwork, build_network
from fer_ray.training.state import new_state
from tests.gloo import GlooRanks
from tests.samples import CPU, faces, make_run, same_weights, timeless, train


def network(seed: int) -> FaceNetwork:
    return build_network(ModelConfig(), num_classes=3, num_channels=1, image_size=16, seed=seed)


@pytest.mark.parametrize(("decay", "num_steps", "kept"), [(0.9, 0, 0.1), (0.5, 80, 0.5)])
def test_an_average_keeps_decay_of_itself_and_less_at_first(
    decay: float, num_steps: int, kept: float
) -> None:
    average, other = network(0), network(1)
    other.backbone[1].running_mean.fill_(3.0)  # type: ignore[index, union-attr]
    before = {key: value.clone() for key, value in average.state_dict().items()}
    move_average(average, other, decay, num_steps)
    for key, value in average.state_dict().items():
        if value.is_floating_point():
            expected = kept * before[key] + (1 - kept) * other.state_dict()[key]
            torch.testing.assert_close(value, expected)


def plus(**overrides: Any) -> Any:
    return make_run("elr", method__variant="elr+", **overrides)


def test_averages_follow_every_step_of_their_own_network() -> None:
    calls: list[tuple[int, int, int]] = []

    def noted(average: Any, module: Any, decay: float, num_steps: int) -> None:
        calls.append((id(average), id(module), num_steps))
        assert decay == 0.9

    run = plus(method__network_decay=0.9, optim__epochs=2)
    state = new_state(run, faces(), CPU)
    with mock.patch("fer_ray.training.phase.move_average", noted):
        train(run, faces(), state)
    for number in range(2):
        own = [call for call in calls if call[0] == id(state.averages[number])]
        assert {module for _, module, _ in own} == {id(state.networks[number])}
        assert [step for _, _, step in own] == list(range(6))  # two epochs of three steps


def test_averages_are_evaluated_and_the_peer_is_the_other_average() -> None:
    peers: list[tuple[int, Any]] = []
    original = EarlyLearning.step

    def noted(self: Any, student: Any, peer: Any, *rest: Any) -> Any:
        peers.append((rest[2].network, peer.module))
        return original(self, student, peer, *rest)

    run, looked = plus(optim__epochs=1), []
    logits = Learner.logits

    def looking(self: Learner, images: Any) -> Any:
        looked.append(self.module)
        return logits(self, images)

    state = new_state(run, faces(), CPU)
    with (
        mock.patch.object(EarlyLearning, "step", noted),
        mock.patch.object(Learner, "logits", looking),
    ):
        train(run, faces(), state)
    assert {(number, id(peer)) for number, peer in peers} == {
        (0, id(state.averages[1])),
        (1, id(state.averages[0])),
    }
    assert all(any(seen is average for average in state.averages) for seen in looked)
    assert state.best is not None
    for weights, average in zip(state.best.weights, state.averages, strict=True):
        assert torch.equal(weights["classifier.weight"], average.classifier.weight)
    assert not same_classifiers(state.networks, state.averages)


def same_classifiers(first: list[FaceNetwork], second: list[FaceNetwork]) -> bool:
    return torch.equal(first[0].classifier.weight, second[0].classifier.weight)


@pytest.mark.parametrize("name", ["ada_cm", "crest"])
def test_a_semi_supervised_method_evaluates_the_average(name: str) -> None:
    run = make_run(name, method__network_decay=0.95)
    assert run.method.average_decay == 0.95
    state = new_state(run, faces(), CPU)
    assert len(state.averages) == len(state.networks) == 1
    assert state.evaluated == state.averages
    learners = Learners(state.networks, state.averages, run.compute, CPU)
    assert learners.evaluated == learners.averages
    assert learners.peer(0, is_average=True) is learners.averages[0]
    assert learners.peer(0, is_average=False) is None


def test_averages_get_no_gradient() -> None:
    state, _ = train(plus(optim__epochs=1), faces())
    assert all(value.grad is None for net in state.averages for value in net.parameters())
    assert not any(value.requires_grad for net in state.averages for value in net.parameters())


def test_a_resumed_run_has_the_averages_of_an_uninterrupted_one(tmp_path: Path) -> None:
    run, data = plus(), faces()
    whole, _ = train(run, data)
    half, _ = train(run, data, num_epochs=2)
    save_checkpoint(half, run, tmp_path)
    resumed = new_state(run, data, CPU)
    load_checkpoint(resumed, tmp_path)
    train(run, data, resumed)
    assert same_weights(whole, resumed)
    for one, other in zip(
        copy_weights(whole.averages), copy_weights(resumed.averages), strict=True
    ):
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert timeless(whole.history) == timeless(resumed.history)


def test_a_checkpoint_without_averages_is_refused(tmp_path: Path) -> None:
    run, data = plus(), faces()
    state = new_state(run, data, CPU)
    state.averages.clear()
    save_checkpoint(state, run, tmp_path)
    message = "expected a checkpoint of 2 moving averages, got 0; resume with the"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(new_state(run, data, CPU), tmp_path)


def averages() -> list[dict[str, torch.Tensor]]:
    state, _ = train(plus(optim__epochs=2), faces())
    return copy_weights(state.averages)


def test_ranks_have_the_same_averages(gloo_pair: GlooRanks) -> None:
    first, second = gloo_pair.run(averages)
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.variant"):
        make_run("elr", method__variant="elr2")


@pytest.mark.parametrize("method", ["cross_entropy", "co_divide", "co_teaching"])
def test_every_method_is_evaluated_by_averages_if_the_run_asks_for_them(method: str) -> None:
    run = make_run(method, optim__average_decay=0.9, optim__epochs=3)
    state, _ = train(run, faces())
    assert len(state.averages) == len(state.networks)
    assert state.evaluated == state.averages
    assert state.best is not None
    for network, average in zip(state.networks, state.averages, strict=True):
        assert not torch.equal(network.classifier.weight, average.classifier.weight)


def test_averages_that_only_evaluate_are_no_peers() -> None:
    """A method whose peers are networks keeps its algorithm, whatever is evaluated."""
    run = make_run("co_teaching", optim__average_decay=0.9)
    state = new_state(run, faces(), CPU)
    learners = Learners(state.networks, state.averages, run.compute, CPU)
    assert learners.evaluated == learners.averages
    for number in range(2):
        assert learners.peer(number, is_average=False) is learners.students[1 - number]
        assert learners.peer(number, is_average=True) is learners.averages[1 - number]


def test_an_average_never_moves_faster_again_when_epochs_grow_shorter() -> None:
    """Steps are counted, not derived from the length of this epoch."""
    seen: list[int] = []

    def noted(average: Any, module: Any, decay: float, num_steps: int) -> None:
        seen.append(num_steps)

    run = make_run(
        "co_divide",
        optim__average_decay=0.9,
        method__warmup_epochs=2,
        method__thresholds={"default": 0.6},
    )
    with mock.patch("fer_ray.training.phase.move_average", noted):
        state, _ = train(run, faces())
    first = seen[: len(seen) // 2 + 1]
    assert sorted(seen) == sorted([*range(state.num_steps[0]), *range(state.num_steps[1])])
    assert first[0] == 0


def test_the_learning_rate_rises_and_then_falls() -> None:
    run = make_run("cross_entropy", optim__epochs=4, optim__lr_warmup=0.5, optim__learning_rate=0.4)
    state, rates = new_state(run, faces(), CPU), []
    step = state.optimizers[0].step

    def noted() -> None:
        rates.append(state.optimizers[0].param_groups[0]["lr"])
        step()

    state.optimizers[0].step = noted  # type: ignore[method-assign, assignment]
    train(run, faces(), state)
    assert len(rates) == 12
    assert rates[:6] == pytest.approx([0.4 * (k + 0.5) / 6 for k in range(6)])
    assert rates[6:] == pytest.approx([0.2 * (1 + math.cos(math.pi * k / 6)) for k in range(6)])
