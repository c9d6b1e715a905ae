"""One network's steps in one epoch: what is drawn, what a method gets, how it learns."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

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
from fer_ray.methods.co_divide import CoDivide
from fer_ray.methods.dividemix import DivideMix
from fer_ray.training.state import new_state
from tests.samples import CLASS_NAMES, CPU, faces, make_run, train
from tests.training.conftest import MethodCalls, StepCall


def by_phase(calls: list[StepCall]) -> dict[tuple[int, int], list[StepCall]]:
    """Calls by (epoch, network)."""
    phases: dict[tuple[int, int], list[StepCall]] = defaultdict(list)
    for call in calls:
        phases[call.epoch, call.context.network].append(call)
    return phases


def row_order(calls: list[StepCall]) -> list[int]:
    return torch.cat([call.labeled.index for call in calls]).tolist()


# --- what is drawn --------------------------------------------------------------------------------


def test_order_views_and_draws_differ_by_epoch_and_network(
    method_calls: MethodCalls,
) -> None:
    run = make_run("co_divide", method__warmup_epochs=4, optim__epochs=5)
    train(run, faces(), num_epochs=4)
    phases = by_phase(method_calls.warmups)
    assert sorted(phases) == [(epoch, network) for epoch in (1, 2, 3, 4) for network in (0, 1)]
    assert len({tuple(row_order(calls)) for calls in phases.values()}) == 8
    assert len({tuple(calls[0].random_state.tolist()) for calls in phases.values()}) == 8
    whole = [torch.cat([call.labeled.strong[0] for call in calls]) for calls in phases.values()]
    row_zero = [
        views[row_order(calls).index(0)].numpy().tobytes()
        for views, calls in zip(whole, phases.values(), strict=True)
    ]
    assert len(set(row_zero)) == 8


def test_the_seed_determines_the_order(method_calls: MethodCalls) -> None:
    for seed in (1, 1, 2):
        train(make_run("cross_entropy", seed=seed), faces(), num_epochs=1)
    first, again, other = (
        row_order(method_calls.warmups[start : start + 3]) for start in (0, 3, 6)
    )
    assert first == again
    assert first != other


def test_warmup_takes_whole_batches_and_no_image_twice(
    method_calls: MethodCalls,
) -> None:
    data = faces(num_train=100)
    _, rows = train(make_run("cross_entropy"), data, num_epochs=1)
    assert [len(call.labeled.index) for call in method_calls.warmups] == [32, 32, 32]
    assert len(set(row_order(method_calls.warmups))) == 96
    drawn = rows[0]["time/images_per_s"] * rows[0]["time/epoch_s"]
    assert drawn == pytest.approx(96)
    for call in method_calls.warmups:
        assert np.array_equal(call.labeled.label.numpy(), data.train.label[call.labeled.index])
        assert bool((call.labeled.clean_prob == 1).all())
        assert call.context.split is None
        assert (len(call.labeled.weak), len(call.labeled.strong)) == (0, 1)


def test_fewer_images_than_a_batch_make_one_smaller_step(method_calls: MethodCalls) -> None:
    train(make_run("cross_entropy"), faces(num_train=20), num_epochs=1)
    assert [len(call.labeled.index) for call in method_calls.warmups] == [20]


def test_a_step_gets_the_fractional_epoch(method_calls: MethodCalls) -> None:
    train(make_run("cross_entropy"), faces(), num_epochs=2)
    expected = [0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3]
    assert [call.context.epoch for call in method_calls.warmups] == pytest.approx(expected)
    assert {call.context.class_names for call in method_calls.warmups} == {CLASS_NAMES}


# --- what a method gets ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["co_divide", "dividemix"])
def test_a_network_gets_its_own_row_of_the_split(method: str, method_calls: MethodCalls) -> None:
    train(make_run(method), faces())
    assert {call.context.network for call in method_calls.steps} == {0, 1}
    for call in method_calls.steps:
        split, network = call.context.split, call.context.network
        assert split is not None
        index = call.labeled.index
        assert bool(split.is_labeled[network][index].all())
        assert torch.equal(call.labeled.clean_prob, split.clean_prob[network][index])
        assert torch.equal(call.labeled.label, split.label[network][index])
        if call.unlabeled is not None:
            assert not bool(split.is_labeled[network][call.unlabeled.index].any())
            assert len(call.unlabeled.index) == len(index)
    own = [call.context.split for call in method_calls.steps]
    assert any(s is not None and not torch.equal(s.is_labeled[0], s.is_labeled[1]) for s in own)


def test_the_peer_is_the_other_network(method_calls: MethodCalls) -> None:
    train(make_run("dividemix"), faces())
    first, second = {id(call.student) for call in method_calls.steps}
    for call in method_calls.steps:
        assert {id(call.student), id(call.peer)} == {first, second}


@pytest.mark.parametrize(("gradient_views", "num_strong"), [("strong", 2), ("weak", 0)])
def test_a_method_gets_as_many_different_views_as_it_asks_for(
    gradient_views: str, num_strong: int, method_calls: MethodCalls
) -> None:
    train(make_run("dividemix", method__gradient_views=gradient_views), faces())
    for call in method_calls.steps:
        assert call.unlabeled is not None
        for batch in (call.labeled, call.unlabeled):
            views = [*batch.weak, *batch.strong]
            assert (len(batch.weak), len(batch.strong)) == (2, num_strong)
            assert len({view.numpy().tobytes() for view in views}) == len(views)


def test_unlabelled_images_are_none_if_every_label_is_kept(
    method_calls: MethodCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DivideMix.split

    def keep_all(
        self: DivideMix, scores: Scores, previous: SplitResult | None, epoch: int
    ) -> SplitResult:
        result = original(self, scores, previous, epoch)
        return replace(result, is_labeled=torch.ones_like(result.is_labeled))

    monkeypatch.setattr(DivideMix, "split", keep_all)
    _, rows = train(make_run("dividemix"), faces())
    assert method_calls.steps
    assert all(call.unlabeled is None for call in method_calls.steps)
    assert math.isfinite(rows[-1]["train/loss"])


# --- how it learns --------------------------------------------------------------------------------


def test_the_learning_rate_follows_half_a_cosine() -> None:
    run = make_run("cross_entropy", optim__epochs=4, optim__learning_rate=0.4)
    state = new_state(run, faces(), CPU)
    for epoch in range(4):
        train(run, faces(), state, num_epochs=1)
        progress = (epoch + 2 / 3) / 4
        expected = 0.2 * (1 + math.cos(math.pi * progress))
        rates = [group["lr"] for group in state.optimizers[0].param_groups]
        assert rates == pytest.approx([expected, expected])


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


def test_fewer_than_two_labelled_images_end_the_run() -> None:
    data = faces(num_classes=1, noise=0.0, num_train=1)
    with pytest.raises(
        EmptySplitError,
        match="epoch 1, network 0: expected at least 2 labelled images for 1 workers, got 1",
    ):
        train(make_run("cross_entropy"), data)
