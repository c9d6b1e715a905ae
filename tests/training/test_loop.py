"""The loop: what it draws, what it hands to methods, what it reports, and how it stops."""

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_ray.core.augment import plain_views
from fer_ray.core.mixture import MixtureError
from fer_ray.core.types import (
    EmptySplitError,
    Labeled,
    Network,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
)
from fer_ray.methods import METHODS
from fer_ray.methods.co_divide import CoDivide
from fer_ray.methods.dividemix import DivideMix
from fer_ray.training.evaluation import evaluate
from fer_ray.training.learner import Images, Learner, mean_prediction
from fer_ray.training.state import new_state
from tests.samples import (
    CLASS_NAMES,
    CPU,
    build_oracle,
    build_perceptron,
    built_by,
    faces,
    make_run,
    same_weights,
    timeless,
    train,
)

pytestmark = pytest.mark.lowest


@dataclass(frozen=True)
class Call:
    """One step as a method saw it."""

    student: Network
    peer: Network | None
    labeled: Labeled
    unlabeled: Unlabeled | None
    context: StepContext
    random_state: Tensor

    @property
    def epoch(self) -> int:
        return int(self.context.epoch) + 1


@dataclass(frozen=True)
class Spied:
    """Everything a method was given."""

    warmups: list[Call]
    steps: list[Call]
    splits: list[tuple[Scores, SplitResult | None, int]]


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> Spied:
    """Records every call of every method's functions."""
    seen = Spied([], [], [])
    for kind in {base for method in METHODS.values() for base in method.__mro__}:
        for name in ("warmup_step", "split", "step"):
            if name in vars(kind):
                monkeypatch.setattr(kind, name, _recording(vars(kind)[name], name, seen))
    return seen


def _recording(original: Any, name: str, seen: Spied) -> Any:
    def warmup_step(
        self: Any, student: Network, labeled: Labeled, context: StepContext
    ) -> StepOutput:
        state = context.generator.get_state()
        seen.warmups.append(Call(student, None, labeled, None, context, state))
        output: StepOutput = original(self, student, labeled, context)
        return output

    def split(self: Any, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        seen.splits.append((scores, previous, epoch))
        result: SplitResult = original(self, scores, previous, epoch)
        return result

    def step(
        self: Any,
        student: Network,
        peer: Network | None,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        context: StepContext,
    ) -> StepOutput:
        state = context.generator.get_state()
        seen.steps.append(Call(student, peer, labeled, unlabeled, context, state))
        output: StepOutput = original(self, student, peer, labeled, unlabeled, context)
        return output

    return {"warmup_step": warmup_step, "split": split, "step": step}[name]


def by_phase(calls: list[Call]) -> dict[tuple[int, int], list[Call]]:
    """Calls by (epoch, network)."""
    phases: dict[tuple[int, int], list[Call]] = defaultdict(list)
    for call in calls:
        phases[call.epoch, call.context.network].append(call)
    return phases


def order_of(calls: list[Call]) -> list[int]:
    return torch.cat([call.labeled.index for call in calls]).tolist()


# --- what is drawn --------------------------------------------------------------------------------


def test_orders_views_and_a_methods_draws_are_new_every_epoch_and_for_every_network(
    spied: Spied,
) -> None:
    train(make_run("co_divide", method__warmup_epochs=4), faces())
    phases = by_phase(spied.warmups)
    assert sorted(phases) == [(epoch, network) for epoch in (1, 2, 3, 4) for network in (0, 1)]
    assert len({tuple(order_of(calls)) for calls in phases.values()}) == 8
    assert len({tuple(calls[0].random_state.tolist()) for calls in phases.values()}) == 8
    whole = [torch.cat([call.labeled.strong[0] for call in calls]) for calls in phases.values()]
    row_zero = [
        views[order_of(calls).index(0)].numpy().tobytes()
        for views, calls in zip(whole, phases.values(), strict=True)
    ]
    assert len(set(row_zero)) == 8


def test_the_seed_decides(spied: Spied) -> None:
    for seed in (1, 1, 2):
        train(make_run("cross_entropy", seed=seed), faces(), num_epochs=1)
    first, again, other = (order_of(spied.warmups[start : start + 3]) for start in (0, 3, 6))
    assert first == again
    assert first != other


def test_warmup_takes_every_image_at_most_once_and_leaves_a_rest_that_fills_no_batch(
    spied: Spied,
) -> None:
    data = faces(num_train=100)
    _, rows = train(make_run("cross_entropy"), data, num_epochs=1)
    assert [len(call.labeled.index) for call in spied.warmups] == [32, 32, 32]
    assert len(set(order_of(spied.warmups))) == 96
    drawn = rows[0]["time/images_per_s"] * rows[0]["time/epoch_s"]
    assert drawn == pytest.approx(96)
    for call in spied.warmups:
        assert np.array_equal(call.labeled.label.numpy(), data.train.label[call.labeled.index])
        assert bool((call.labeled.clean_prob == 1).all())
        assert call.context.split is None
        assert (len(call.labeled.weak), len(call.labeled.strong)) == (0, 1)


def test_fewer_images_than_a_batch_are_one_smaller_step(spied: Spied) -> None:
    train(make_run("cross_entropy"), faces(num_train=20), num_epochs=1)
    assert [len(call.labeled.index) for call in spied.warmups] == [20]


def test_the_epoch_of_a_step_has_a_fraction(spied: Spied) -> None:
    train(make_run("cross_entropy"), faces(), num_epochs=2)
    expected = [0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3]
    assert [call.context.epoch for call in spied.warmups] == pytest.approx(expected)
    assert {call.context.class_names for call in spied.warmups} == {CLASS_NAMES}


# --- what methods are handed ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["co_divide", "dividemix"])
def test_a_network_gets_the_row_of_the_split_that_is_its_own(method: str, spied: Spied) -> None:
    train(make_run(method), faces())
    assert {call.context.network for call in spied.steps} == {0, 1}
    for call in spied.steps:
        split, network = call.context.split, call.context.network
        assert split is not None
        index = call.labeled.index
        assert bool(split.is_labeled[network][index].all())
        assert torch.equal(call.labeled.clean_prob, split.clean_prob[network][index])
        assert torch.equal(call.labeled.label, split.label[network][index])
        if call.unlabeled is not None:
            assert not bool(split.is_labeled[network][call.unlabeled.index].any())
            assert len(call.unlabeled.index) == len(index)
    own = [call.context.split for call in spied.steps]
    assert any(s is not None and not torch.equal(s.is_labeled[0], s.is_labeled[1]) for s in own)


def test_the_peer_is_the_other_network(spied: Spied) -> None:
    train(make_run("dividemix"), faces())
    first, second = {id(call.student) for call in spied.steps}
    for call in spied.steps:
        assert {id(call.student), id(call.peer)} == {first, second}


@pytest.mark.parametrize(("gradient_views", "num_strong"), [("strong", 2), ("weak", 0)])
def test_a_method_gets_as_many_different_views_as_it_asks_for(
    gradient_views: str, num_strong: int, spied: Spied
) -> None:
    train(make_run("dividemix", method__gradient_views=gradient_views), faces())
    for call in spied.steps:
        assert call.unlabeled is not None
        for batch in (call.labeled, call.unlabeled):
            views = [*batch.weak, *batch.strong]
            assert (len(batch.weak), len(batch.strong)) == (2, num_strong)
            assert len({view.numpy().tobytes() for view in views}) == len(views)


def test_unlabelled_images_are_none_where_every_label_is_kept(
    spied: Spied, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DivideMix.split

    def keep_all(
        self: DivideMix, scores: Scores, previous: SplitResult | None, epoch: int
    ) -> SplitResult:
        result = original(self, scores, previous, epoch)
        return replace(result, is_labeled=torch.ones_like(result.is_labeled))

    monkeypatch.setattr(DivideMix, "split", keep_all)
    _, rows = train(make_run("dividemix"), faces())
    assert spied.steps
    assert all(call.unlabeled is None for call in spied.steps)
    assert math.isfinite(rows[-1]["train/loss"])


def test_scores_are_of_every_image_in_index_order(spied: Spied) -> None:
    run, data = make_run("co_divide", method__threshold_rule="class_mean"), faces(num_train=70)
    state, _ = train(run, data, num_epochs=2)
    images = Images(data.train, CPU)
    view = plain_views(images.take(torch.arange(70)))
    learners = [Learner(net, bf16=False, channels_last=False) for net in state.networks]
    logits = torch.stack([learner.logits(view) for learner in learners])
    train(run, data, state, num_epochs=1)
    scores, previous, epoch = spied.splits[0]
    assert (previous, epoch, scores.class_names) == (None, 3, CLASS_NAMES)
    assert np.array_equal(scores.label.numpy(), data.train.label)
    assert bool(scores.is_labeled.all())
    torch.testing.assert_close(scores.prob, logits.softmax(dim=2), rtol=1e-4, atol=1e-5)
    for loss, row in zip(scores.loss, logits, strict=True):
        expected = F.cross_entropy(row, images.label, reduction="none")
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_a_split_gets_the_one_before_with_its_memory(spied: Spied) -> None:
    run = make_run("dividemix", method__loss_history=2, method__guesses="scored")
    state, _ = train(run, faces())
    (_, none, third), (scores, previous, fourth) = spied.splits
    assert (none, third, fourth) == (None, 3, 4)
    assert previous is not None
    assert previous.memory["loss_history"].shape == (2, 1, 96)
    assert state.split is not None
    assert state.split.memory["loss_history"].shape == (2, 2, 96)
    answer = scores.prob.mean(dim=0).argmax(dim=1)
    assert torch.equal(state.split.memory["prediction"], answer.short())


def test_a_generation_begins_with_new_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    original = CoDivide.split

    def reset(
        self: CoDivide, scores: Scores, previous: SplitResult | None, epoch: int
    ) -> SplitResult:
        return replace(original(self, scores, previous, epoch), reset_networks=epoch == 3)

    monkeypatch.setattr(CoDivide, "split", reset)
    run = make_run("co_divide", optim__learning_rate=1e-8)
    state = new_state(run, faces(), CPU)
    start = [net.classifier.weight.detach().clone() for net in state.networks]
    train(run, faces(), state, num_epochs=2)
    old, optimizers = list(state.networks), list(state.optimizers)
    train(run, faces(), state, num_epochs=1)
    for number in (0, 1):
        assert state.networks[number] is not old[number]
        assert state.optimizers[number] is not optimizers[number]
        fresh = state.networks[number].classifier.weight
        assert not torch.allclose(fresh, start[number], atol=1e-3)
        held = {
            id(value)
            for group in state.optimizers[number].param_groups
            for value in group["params"]
        }
        assert held == {id(value) for value in state.networks[number].parameters()}
    again, _ = train(run, faces(), num_epochs=3)
    assert same_weights(again, state)


# --- how it learns --------------------------------------------------------------------------------


def test_the_learning_rate_is_half_a_cosine_of_the_progress() -> None:
    run = make_run("cross_entropy", optim__epochs=4, optim__learning_rate=0.4)
    state = new_state(run, faces(), CPU)
    for epoch in range(4):
        train(run, faces(), state, num_epochs=1)
        progress = (epoch + 2 / 3) / 4
        expected = 0.2 * (1 + math.cos(math.pi * progress))
        rates = [group["lr"] for group in state.optimizers[0].param_groups]
        assert rates == pytest.approx([expected, expected])


def test_biases_and_normalisation_are_not_decayed() -> None:
    state = new_state(make_run("cross_entropy", optim__weight_decay=0.01), faces(), CPU)
    matrices, vectors = state.optimizers[0].param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.01, 0.0)
    assert {value.ndim for value in vectors["params"]} == {1}
    assert min(value.ndim for value in matrices["params"]) > 1
    num = len(matrices["params"]) + len(vectors["params"])
    assert num == len(list(state.networks[0].parameters()))


def test_a_step_is_no_longer_than_the_clipped_gradient() -> None:
    overrides = {"optim__clip_norm": 1e-3, "optim__momentum": 0.0, "optim__weight_decay": 0.0}
    run = make_run("cross_entropy", optim__learning_rate=1.0, **overrides)
    state = new_state(run, faces(), CPU)
    before = [value.detach().clone() for value in state.networks[0].parameters()]
    train(run, faces(num_train=32), state, num_epochs=1)
    after = [value.detach() for value in state.networks[0].parameters()]
    length = (
        sum(float((new - old).norm() ** 2) for new, old in zip(after, before, strict=True)) ** 0.5
    )
    assert length == pytest.approx(1e-3, rel=0.01)


def test_it_learns_and_dividing_finds_the_wrong_labels() -> None:
    run = make_run("co_divide", optim__epochs=8, optim__learning_rate=0.1)
    with built_by(build_perceptron):
        state, rows = train(run, faces(num_train=240, noise=0.3))
    assert rows[-1]["val/macro_recall"] > 0.9
    assert rows[-1]["split/precision"] > 0.9
    assert rows[-1]["split/auroc"] > 0.9
    assert state.best is not None
    assert state.best.value == max(row["val/macro_recall"] for row in rows)


# --- what it reports ------------------------------------------------------------------------------


def test_a_row_says_everything_once() -> None:
    _, rows = train(make_run("co_divide"), faces(num_train=96, num_val=40))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for row in rows[:2]:
        assert not any(key.startswith("split/") for key in row)
    for row in rows[2:]:
        counts = row["split/histogram"]["counts"]
        assert [sum(part) for part in counts] == [96, 96]
        assert len(row["split/histogram"]["edges"]) == len(counts[0]) + 1
        assert {key: np.shape(part) for key, part in row["split/mixture"].items()} == {
            "mean": (2, 2),
            "std": (2, 2),
            "weight": (2, 2),
        }
        assert {"train/loss", "train/penalty", "split/precision", "time/split_s"} <= set(row)
    for row in rows:
        confusion = np.array(row["val/confusion"])
        assert confusion.sum() == 40
        assert row["val/accuracy"] == pytest.approx(np.trace(confusion) / 40)
        assert row["val/macro_recall"] == pytest.approx(
            np.mean([row[f"val/recall/{name}"] for name in CLASS_NAMES])
        )
        parts = [row[key] for key in row if key in ("time/split_s", "time/train_s", "time/val_s")]
        assert row["time/epoch_s"] == pytest.approx(sum(parts), rel=0.01)


def test_evaluation_is_of_the_mean_prediction() -> None:
    run, data = make_run("co_divide"), faces(num_val=37)
    state, _ = train(run, data, num_epochs=3)
    learners = [Learner(net, bf16=False, channels_last=False) for net in state.networks]
    images = Images(data.val, CPU)
    prob = mean_prediction(learners, images.take(torch.arange(37)), flip_average=True)
    confusion, loss = evaluate(learners, images, run, 4)
    expected = np.zeros((4, 4), dtype=int)
    for label, answer in zip(data.val.label, prob.argmax(dim=1).tolist(), strict=True):
        expected[label, answer] += 1
    assert confusion.tolist() == expected.tolist()
    assert loss == pytest.approx(float(F.nll_loss(prob.log(), images.label)), rel=1e-5)


@pytest.mark.parametrize(
    ("metric", "mode"),
    [("val/macro_recall", "max"), ("val/loss", "min"), ("val/recall/fear", "max")],
)
def test_the_first_of_the_best_epochs_is_kept_with_its_networks(metric: str, mode: str) -> None:
    run = make_run("cross_entropy", metric=metric, mode=mode, optim__epochs=5)
    state = new_state(run, faces(), CPU)
    seen: list[tuple[float, Tensor]] = []
    for _ in range(5):
        _, rows = train(run, faces(), state, num_epochs=1)
        seen.append((rows[0][metric], state.networks[0].classifier.weight.detach().clone()))
    values = [value for value, _ in seen]
    best = min(values) if mode == "min" else max(values)
    assert state.best is not None
    assert (state.best.value, state.best.epoch) == (best, values.index(best) + 1)
    assert torch.equal(state.best.weights[0]["classifier.weight"], seen[values.index(best)][1])


def test_a_metric_that_is_nan_is_never_best() -> None:
    data = faces()
    few = data.val.take(np.flatnonzero(data.val.label != 2))
    run = make_run("cross_entropy", metric="val/recall/fear")
    state, rows = train(run, replace(data, val=few))
    assert all(math.isnan(row["val/recall/fear"]) for row in rows)
    assert state.best is None
    assert len(state.history) == 4


def test_the_state_is_up_to_date_whenever_a_row_comes() -> None:
    run = make_run("co_divide")
    state = new_state(run, faces(), CPU)
    for epoch in range(1, 5):
        _, rows = train(run, faces(), state, num_epochs=1)
        assert state.epoch == epoch == rows[0]["epoch"]
        assert timeless(state.history[-1:]) == timeless(rows)
        assert (state.split is None) == (epoch <= 2)
    assert train(run, faces(), state)[1] == []


# --- how it stops ---------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_epoch_network_and_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = CoDivide.step

    def step(
        self: CoDivide,
        student: Network,
        peer: Network | None,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        context: StepContext,
    ) -> StepOutput:
        output = original(self, student, peer, labeled, unlabeled, context)
        if context.epoch > 3 and context.network == 1:
            return replace(output, loss=output.loss * float("inf"))
        return output

    monkeypatch.setattr(CoDivide, "step", step)
    run = make_run("co_divide", optim__batch_size=8)
    state = new_state(run, faces(), CPU)
    expected = (
        r"epoch 4, network 1, step 2 of \d+: the loss is not finite. The last good state is that"
    )
    with pytest.raises(FloatingPointError, match=expected + " of epoch 3"):
        train(run, faces(), state)
    assert state.epoch == len(state.history) == 3


def test_a_split_that_keeps_too_few_images_ends_the_run_with_a_reason() -> None:
    run = make_run("co_divide", method__thresholds={"default": 0.5, "fear": 1.0, "anger": 1.0})
    data = faces(num_classes=4)
    only = data.train.take(np.flatnonzero(data.train.label >= 2))
    rest = data.train.take(
        np.array([int(np.flatnonzero(data.train.label == c)[0]) for c in (0, 1)])
    )
    joined = [np.concatenate([getattr(only, k), getattr(rest, k)]) for k in FIELDS]
    few = replace(data, train=type(only)(**dict(zip(FIELDS, joined, strict=True))))
    with pytest.raises(EmptySplitError, match=r"epoch 3: [01] images keep their label for network"):
        train(run, few)


FIELDS = ("images", "label", "true_label", "row")


def test_fewer_labelled_images_than_two_end_the_run() -> None:
    data = faces(num_classes=1, noise=0.0, num_train=1)
    with pytest.raises(
        EmptySplitError, match="epoch 1: 1 labelled images for 1 workers; at least 2"
    ):
        train(make_run("cross_entropy"), data)


def test_losses_that_are_all_the_same_cannot_be_divided() -> None:
    run, data = make_run("co_divide"), faces()
    with built_by(build_oracle):
        state = new_state(run, data, CPU)
    with torch.no_grad():
        for network in state.networks:
            network.classifier.weight.zero_()
    state.epoch = 2
    with pytest.raises(MixtureError, match=r"all 96 losses are 1\.386: nothing to divide"):
        train(run, data, state)
