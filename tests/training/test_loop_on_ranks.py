"""The loop on two gloo ranks that hold different data."""

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from fer_ray.core.augment import plain_views
from fer_ray.core.mixture import fit_mixture, normalize
from fer_ray.core.types import (
    EmptySplitError,
    Labeled,
    Network,
    SplitResult,
    StepContext,
    StepOutput,
)
from fer_ray.data import FaceData, Faces
from fer_ray.methods.co_divide import CoDivide
from fer_ray.training.checkpoint import TrainState, copy_weights, load_checkpoint, save_checkpoint
from fer_ray.training.distributed import rank
from fer_ray.training.handover import from_rank_zero
from fer_ray.training.learner import Images, Learner
from fer_ray.training.loop import fit
from fer_ray.training.state import new_state
from tests.gloo import GlooRanks
from tests.samples import (
    CLASS_NAMES,
    CPU,
    build_oracle,
    build_perceptron,
    built_by,
    faces,
    make_run,
    timeless,
    train,
)


def bands() -> FaceData:
    """Images with a bright band per class. Rank 0 gets those with right labels, rank 1 the wrong.

    Even rows have right labels and odd rows wrong ones.
    """
    rng = np.random.default_rng(1)
    true_label = np.arange(80) // 2 % 4
    images = rng.normal(90, 12, (80, 1, 16, 16))
    for number, band in enumerate(true_label.tolist()):
        images[number, :, 4 * band : 4 * band + 4] += rng.uniform(30, 60)
    label = np.where(np.arange(80) % 2 == 0, true_label, (true_label + 1) % 4)
    every = Faces(
        images=images.clip(0, 255).astype(np.uint8),
        label=label,
        true_label=true_label,
        row=np.arange(80),
    )
    return FaceData(name="bands", class_names=CLASS_NAMES, train=every, val=every, test=every)


def split_of_bands(method: str) -> tuple[SplitResult, list[int]]:
    """Return the first split by a network that knows the true classes, and this rank's rows."""
    run, data = make_run(method, optim__learning_rate=1e-9), bands()
    with built_by(build_oracle):
        state = new_state(run, data, CPU)
        state.epoch = 2  # warm-up is over
        train(run, data, state, num_epochs=1)
    assert state.split is not None
    mine = torch.cat(list(Images(data.train, CPU).shards(30)))
    return state.split, mine.tolist()


@pytest.mark.parametrize("method", ["co_divide", "dividemix"])
def test_a_mixture_over_all_ranks_separates_clean_from_noisy(
    method: str, gloo_pair: GlooRanks
) -> None:
    is_even = torch.arange(80) % 2 == 0
    found = gloo_pair.run(split_of_bands, method)
    for number, (split, rows) in enumerate(found):
        assert rows == list(range(number, 80, 2))
        assert torch.equal(split.is_labeled, is_even.expand(2, -1))
    assert torch.equal(found[0][0].clean_prob, found[1][0].clean_prob)


def test_a_mixture_per_rank_would_split_clean_and_noisy_images_alike() -> None:
    data = bands()
    with built_by(build_oracle):
        state = new_state(make_run("cross_entropy"), data, CPU)
    learner = Learner(state.networks[0], bf16=False, channels_last=False)
    images = Images(data.train, CPU)
    logits = learner.logits(plain_views(images.take(torch.arange(80))))
    loss = torch.nn.functional.cross_entropy(logits, images.label, reduction="none")
    for own in (loss[::2], loss[1::2]):
        scaled = normalize(own)
        kept = fit_mixture(scaled).clean_prob(scaled) > 0.5
        assert 0.2 < float(kept.float().mean()) < 0.9


def fit_perceptron(method: str, overrides: dict[str, Any]) -> tuple[list[dict[str, Tensor]], str]:
    run = make_run(method, **overrides)
    with built_by(build_perceptron):
        state, rows = train(run, faces())
    return copy_weights(state.networks), timeless(rows)


@pytest.mark.parametrize(
    ("method", "overrides"),
    [
        ("cross_entropy", {"optim__epochs": 1}),
        (
            "co_divide",
            {
                "method__penalty_weight": 5.0,
                "optim__epochs": 3,
                "workers__parallel": "images",
            },
        ),
    ],
)
def test_two_ranks_with_half_a_batch_train_like_one_process(
    method: str, overrides: dict[str, Any], gloo_pair: GlooRanks
) -> None:
    alone, _ = fit_perceptron(method, overrides)
    with built_by(build_perceptron):
        start = copy_weights(new_state(make_run(method, **overrides), faces(), CPU).networks)
    for weights, _ in gloo_pair.run(fit_perceptron, method, overrides):
        for network, expected, before in zip(weights, alone, start, strict=True):
            for key, value in network.items():
                torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-5)
                assert not torch.allclose(value, before[key], rtol=1e-3, atol=1e-3)


def fit_unequal(parallel: str) -> tuple[list[dict[str, Tensor]], str, list[dict[str, Any]]]:
    run = make_run("co_divide", optim__epochs=3, workers__parallel=parallel)
    state, rows = train(run, faces(num_train=99, num_val=41))
    return copy_weights(state.networks), timeless(rows), rows


@pytest.mark.parametrize("parallel", ["images", "networks"])
def test_ranks_with_unequal_shares_end_with_the_same_networks_and_rows(
    parallel: str, gloo_pair: GlooRanks
) -> None:
    (weights, text, rows), (others, other_text, _) = gloo_pair.run(fit_unequal, parallel)
    assert text == other_text
    for network, other in zip(weights, others, strict=True):
        assert all(torch.equal(value, other[key]) for key, value in network.items())
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(np.sum(row["val/confusion"]) == 41 for row in rows)
    assert all(np.sum(part) == 99 for part in rows[2]["split/histogram"]["counts"])


def first_step() -> tuple[list[int], Tensor, bytes]:
    """Return rows and views of this rank's first step, and the state of the method's generator."""
    seen: list[tuple[list[int], Tensor, bytes]] = []
    original = CoDivide.warmup_step

    def warmup_step(
        self: CoDivide, student: Network, labeled: Labeled, context: StepContext
    ) -> StepOutput:
        state = context.generator.get_state().numpy().tobytes()
        seen.append((labeled.index.tolist(), labeled.strong[0], state))
        return original(self, student, labeled, context)

    with mock.patch.object(CoDivide, "warmup_step", warmup_step):
        train(make_run("co_divide", workers__parallel="images"), faces(), num_epochs=1)
    return seen[0]


def test_ranks_share_order_and_views_but_not_a_methods_draws(
    gloo_pair: GlooRanks,
) -> None:
    rows, views, state = first_step()
    (first, view, state_zero), (second, other_view, state_one) = gloo_pair.run(first_step)
    assert first + second == rows
    torch.testing.assert_close(torch.cat([view, other_view]), views)
    assert state_zero == state != state_one


def resume_on_ranks(folder: str) -> tuple[str, list[dict[str, Tensor]]]:
    """Train three epochs, save on rank zero, load and finish; return all rows and the networks."""
    run, data = make_run("dividemix", optim__epochs=5), faces()
    state, _ = train(run, data, num_epochs=3)
    from_rank_zero(lambda: save_checkpoint(state, run, Path(folder)) if rank() == 0 else None)
    fresh: TrainState = new_state(run, data, CPU)
    load_checkpoint(fresh, Path(folder))
    for _ in fit(run, data, CPU, fresh):
        pass
    return timeless(fresh.history), copy_weights(fresh.networks)


def run_on_ranks() -> tuple[str, list[dict[str, Tensor]]]:
    state, _ = train(make_run("dividemix", optim__epochs=5), faces())
    return timeless(state.history), copy_weights(state.networks)


def test_a_resumed_run_on_two_ranks_equals_an_uninterrupted_one(
    gloo_pair: GlooRanks, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = gloo_pair.run(run_on_ranks)
    resumed = gloo_pair.run(resume_on_ranks, str(tmp_path_factory.mktemp("resume")))
    for (rows, weights), (rows_again, weights_again) in zip(whole, resumed, strict=True):
        assert rows == rows_again
        for network, other in zip(weights, weights_again, strict=True):
            assert all(torch.equal(value, other[key]) for key, value in network.items())


def nan_on(broken_rank: int, parallel: str) -> None:
    original, calls = CoDivide.warmup_step, [0, 0]

    def warmup_step(
        self: CoDivide, student: Network, labeled: Labeled, context: StepContext
    ) -> StepOutput:
        calls[context.network] += 1
        output = original(self, student, labeled, context)
        if dist.get_rank() == broken_rank and context.network == 1 and calls[1] == 2:
            return StepOutput(loss=output.loss * float("nan"))
        return output

    with mock.patch.object(CoDivide, "warmup_step", warmup_step):
        train(make_run("co_divide", workers__parallel=parallel), faces())


@pytest.mark.parametrize(
    ("broken_rank", "parallel"), [(0, "images"), (1, "images"), (1, "networks")]
)
def test_a_nan_on_one_rank_is_raised_on_both(
    broken_rank: int, parallel: str, gloo_pair: GlooRanks
) -> None:
    for error in gloo_pair.outcomes(nan_on, [(broken_rank, parallel)] * 2):
        assert isinstance(error, FloatingPointError)
        assert "epoch 1, network 1, step 2 of 3: the loss is not finite" in str(error)
        assert "The last good state is that of epoch 0" in str(error)


def fit_with(overrides: dict[str, Any]) -> None:
    train(make_run("co_divide", **overrides), faces())


def test_an_empty_split_is_raised_on_both_ranks(gloo_pair: GlooRanks) -> None:
    overrides = {"method__thresholds": {"default": 1.0}, "method__min_class_fraction": 0.0}
    for error in gloo_pair.outcomes(fit_with, [(overrides,)] * 2):
        assert isinstance(error, EmptySplitError)
        assert "epoch 3: 0 images keep their label" in str(error)
