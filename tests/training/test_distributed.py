"""What crosses ranks, on two gloo ranks that hold different data."""

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.augment import plain_views
from fer_ray.core.losses import prior_penalty
from fer_ray.core.mixture import MixtureError, fit_mixture, normalize
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
from fer_ray.training.distributed import (
    is_distributed,
    mean_over_ranks,
    min_over_ranks,
    rank,
    sum_over_ranks,
    world_size,
)
from fer_ray.training.evaluation import evaluate
from fer_ray.training.gather import gather_rows
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

# --- without a group ------------------------------------------------------------------------------


def test_everything_is_the_identity_in_a_plain_process() -> None:
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    assert (is_distributed(), rank(), world_size()) == (False, 0, 1)
    for function in (sum_over_ranks, min_over_ranks, mean_over_ranks):
        assert function(value) is value
    assert from_rank_zero(lambda: 3) == 3


@given(order=st.permutations(range(7)))
def test_rows_land_where_their_index_says(order: list[int]) -> None:
    index = torch.tensor(order)
    value = torch.stack([10.0 * index, -1.0 * index], dim=1)
    gathered = gather_rows(index, value, 7)
    assert gathered is not None
    assert torch.equal(gathered[:, 0], 10.0 * torch.arange(7))


BAD_ROWS = [
    ([0, 1, 3], "expected each of 4 rows once, got 3 rows, 1 missing and 0 repeated"),
    ([0, 1, 1, 3], "got 4 rows, 1 missing and 1 repeated"),
    ([0, 1, 2, 3, 3], "got 5 rows, 0 missing and 1 repeated"),
    ([0, 1, 2, 4], "got 4 rows"),
    ([-1, 1, 2, 3], "got 4 rows"),
    ([], "got 0 rows, 4 missing"),
]


@pytest.mark.parametrize(("rows", "message"), BAD_ROWS)
def test_a_missing_or_repeated_row_is_an_error(rows: list[int], message: str) -> None:
    index = torch.tensor(rows, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        gather_rows(index, torch.zeros(len(rows)), 4)


# --- two ranks ------------------------------------------------------------------------------------


def gather(rows: list[int], num_rows: int) -> Tensor | None:
    index = torch.tensor(rows, dtype=torch.int64)
    value = torch.stack([index.float(), index.float() + 0.5], dim=1)
    return gather_rows(index, value, num_rows)


@pytest.mark.parametrize(
    ("first", "second"),
    [([4, 0, 2], [3, 1]), ([1], [0, 4, 3, 2]), ([], [0, 1, 2, 3, 4]), ([3, 2, 1, 0, 4], [])],
)
def test_ranks_with_different_numbers_of_rows(
    first: list[int], second: list[int], gloo_pair: GlooRanks
) -> None:
    on_zero, on_one = gloo_pair.outcomes(gather, [(first, 5), (second, 5)])
    assert on_one is None
    assert isinstance(on_zero, Tensor)
    assert torch.equal(on_zero, torch.arange(5)[:, None] + torch.tensor([0.0, 0.5]))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([0, 2], [1], "3 rows, 1 missing and 0 repeated"),
        ([0, 1, 2], [2, 3], "5 rows, 0 missing and 1 repeated"),
        ([0, 1], [1, 3], "4 rows, 1 missing and 1 repeated"),
    ],
)
def test_a_bad_row_is_an_error_on_every_rank_so_that_none_waits(
    first: list[int], second: list[int], message: str, gloo_pair: GlooRanks
) -> None:
    for error in gloo_pair.outcomes(gather, [(first, 4), (second, 4)]):
        assert isinstance(error, ValueError)
        assert message in str(error)


def gather_columns(rows: list[int], num_rows: int) -> Tensor | None:
    index = torch.tensor(rows, dtype=torch.int64)
    return gather_rows(index, torch.stack([index, -index])[:, :, None], num_rows, dim=1)


def test_rows_may_be_another_dimension(gloo_pair: GlooRanks) -> None:
    on_zero, on_one = gloo_pair.outcomes(gather_columns, [([3, 1], 4), ([0, 2], 4)])
    assert on_one is None
    assert isinstance(on_zero, Tensor)
    assert on_zero[..., 0].tolist() == [[0, 1, 2, 3], [0, -1, -2, -3]]


def make_tensors() -> dict[str, Any]:
    return {
        "bool": torch.tensor([[True, False, True]]),
        "repeated": torch.arange(5).expand(3, 5),
        "strided": torch.arange(6.0).view(2, 3).T,
        "empty": torch.zeros(2, 0),
        "scalar": torch.tensor(2.5, dtype=torch.bfloat16),
        "nested": [{"short": torch.tensor([-3], dtype=torch.int16)}, "word"],
    }


def broadcast_tensors() -> dict[str, Any]:
    found = from_rank_zero(lambda: make_tensors() if rank() == 0 else {})
    return {**found, "strides": {key: x.stride() for key, x in found.items() if key != "nested"}}


def test_tensors_of_all_kinds_arrive_as_they_are(gloo_pair: GlooRanks) -> None:
    expected = make_tensors()
    for found in gloo_pair.run(broadcast_tensors):
        for key in ("bool", "repeated", "strided", "empty", "scalar"):
            assert torch.equal(found[key], expected[key])
            assert found[key].dtype == expected[key].dtype
        assert found["nested"][0]["short"].tolist() == [-3]
        assert found["nested"][1] == "word"
        assert found["strides"]["repeated"] == (0, 1)  # sent and held once


def ask_rank_zero(error: Exception | None) -> list[int]:
    def make() -> list[int]:
        if error is not None:
            raise error
        return [rank(), 7]

    return from_rank_zero(make)


def test_what_rank_zero_makes_is_everywhere(gloo_pair: GlooRanks) -> None:
    assert gloo_pair.run(ask_rank_zero, None) == [[0, 7], [0, 7]]


@pytest.mark.parametrize(
    "error", [EmptySplitError("epoch 3: none"), MixtureError("all the same"), KeyError("fear")]
)
def test_what_rank_zero_raises_is_raised_everywhere(error: Exception, gloo_pair: GlooRanks) -> None:
    for caught in gloo_pair.outcomes(ask_rank_zero, [(error,), (None,)]):
        assert type(caught) is type(error)
        assert isinstance(caught, Exception)
        assert caught.args == error.args


def reduce(value: float) -> tuple[float, float, float, float]:
    tensor = torch.tensor(value)
    reduced = [float(f(tensor)) for f in (sum_over_ranks, min_over_ranks, mean_over_ranks)]
    return reduced[0], reduced[1], reduced[2], float(tensor)


def test_sum_minimum_and_mean_leave_their_argument_alone(gloo_pair: GlooRanks) -> None:
    found = gloo_pair.outcomes(reduce, [(1.0,), (4.0,)])
    assert found == [(5.0, 1.0, 2.5, 1.0), (5.0, 1.0, 2.5, 4.0)]


def penalty_gradient(pixels: Tensor, weight: Tensor, how: str) -> Tensor:
    """Gradient of the penalty on the mean prediction, averaged over ranks as DDP does."""
    weight = weight.clone().requires_grad_()
    mean = (pixels @ weight).softmax(dim=1).mean(dim=0)
    if how == "ours":
        mean = mean_over_ranks(mean)
    else:  # what `dist.all_reduce(mean); mean /= world_size` does: others are constants
        others = sum_over_ranks(mean.detach()) - mean.detach()
        mean = (mean + others) / world_size()
    prior_penalty(mean, torch.tensor([0.6, 0.3, 0.1])).backward()
    assert weight.grad is not None
    return sum_over_ranks(weight.grad) / world_size()


def test_the_mean_over_ranks_has_the_gradient_of_one_process(gloo_pair: GlooRanks) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels, weight = torch.randn(8, 5, generator=generator), torch.randn(5, 3, generator=generator)
    alone = penalty_gradient(pixels, weight, "ours")
    assert float(alone.norm()) > 0.03
    halves = pixels[:4], pixels[4:]
    for found in gloo_pair.outcomes(penalty_gradient, [(half, weight, "ours") for half in halves]):
        assert isinstance(found, Tensor)
        torch.testing.assert_close(found, alone)
    for found in gloo_pair.outcomes(penalty_gradient, [(half, weight, "plain") for half in halves]):
        assert isinstance(found, Tensor)
        torch.testing.assert_close(found, alone / 2)  # the bug this function exists for


# --- the loop on two ranks ------------------------------------------------------------------------


def bands() -> FaceData:
    """One bright band a class. Even rows are labelled right, odd wrong: a rank has one kind."""
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
    """The first split by a network that knows the truth, and this rank's rows."""
    run, data = make_run(method, optim__learning_rate=1e-9), bands()
    with built_by(build_oracle):
        state = new_state(run, data, CPU)
        state.epoch = 2  # warm-up is over
        train(run, data, state, num_epochs=1)
    assert state.split is not None
    mine = torch.cat(list(Images(data.train, CPU).shards(30)))
    return state.split, mine.tolist()


@pytest.mark.parametrize("method", ["co_divide", "dividemix"])
def test_only_a_mixture_over_all_ranks_divides_clean_from_noisy(
    method: str, gloo_pair: GlooRanks
) -> None:
    is_even = torch.arange(80) % 2 == 0
    found = gloo_pair.run(split_of_bands, method)
    for number, (split, rows) in enumerate(found):
        assert rows == list(range(number, 80, 2))
        assert torch.equal(split.is_labeled, is_even.expand(2, -1))
    assert torch.equal(found[0][0].clean_prob, found[1][0].clean_prob)


def test_a_mixture_on_each_rank_would_divide_the_clean_and_the_noisy_alike() -> None:
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
def test_two_ranks_with_half_a_batch_step_like_one_with_the_whole(
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
def test_a_nan_on_one_rank_is_raised_on_both_with_its_place(
    broken_rank: int, parallel: str, gloo_pair: GlooRanks
) -> None:
    for error in gloo_pair.outcomes(nan_on, [(broken_rank, parallel)] * 2):
        assert isinstance(error, FloatingPointError)
        assert "epoch 1, network 1, step 2 of 3: the loss is not finite" in str(error)
        assert "The last good state is that of epoch 0" in str(error)


def fit_with(overrides: dict[str, Any]) -> None:
    train(make_run("co_divide", **overrides), faces())


def test_an_empty_split_is_raised_on_both_ranks(gloo_pair: GlooRanks) -> None:
    overrides = {"method__thresholds": {"default": 1.0}}
    for error in gloo_pair.outcomes(fit_with, [(overrides,)] * 2):
        assert isinstance(error, EmptySplitError)
        assert "epoch 3: 0 images keep their label" in str(error)


def statistics(seed: int) -> list[Tensor]:
    state = new_state(make_run("cross_entropy"), faces(), CPU)
    learner = Learner(state.networks[0], bf16=False, channels_last=False)
    generator = torch.Generator().manual_seed(seed)
    learner(3 * torch.randn(8, 1, 16, 16, generator=generator))
    name = "backbone.1.running_mean"
    before = state.networks[0].state_dict()[name].clone()
    learner.sync_statistics()
    after = state.networks[0].state_dict()
    counts = [value for key, value in after.items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 1 for count in counts)
    return [before, after[name]]


def test_statistics_become_their_mean_on_every_rank(gloo_pair: GlooRanks) -> None:
    first, second = gloo_pair.outcomes(statistics, [(1,), (2,)])
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    torch.testing.assert_close(first[1], (first[0] + second[0]) / 2)


def evaluate_few(run: RunConfig, num: int) -> tuple[list[list[int]], float]:
    data = faces(num_val=4)
    state = new_state(run, data, CPU)
    learners = [Learner(net, bf16=False, channels_last=False) for net in state.networks]
    few = Images(data.val.take(np.arange(num)), CPU)
    confusion, loss = evaluate(learners, few, run, 4)
    return confusion.tolist(), loss


@pytest.mark.parametrize("num", [1, 3])
def test_evaluation_counts_every_image_once_though_ranks_have_unequal_shares(
    num: int, gloo_pair: GlooRanks
) -> None:
    run = make_run("co_divide")
    alone = evaluate_few(run, num)
    for confusion, loss in gloo_pair.run(evaluate_few, run, num):
        assert confusion == alone[0]
        assert loss == pytest.approx(alone[1], rel=1e-5)


def first_step() -> tuple[list[int], Tensor, bytes]:
    """Rows and views of this rank's first step, and where the method's generator stands."""
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


def test_ranks_share_one_order_and_one_set_of_views_but_draw_their_own_in_methods(
    gloo_pair: GlooRanks,
) -> None:
    rows, views, state = first_step()
    (first, view, state_zero), (second, other_view, state_one) = gloo_pair.run(first_step)
    assert first + second == rows
    torch.testing.assert_close(torch.cat([view, other_view]), views)
    assert state_zero == state != state_one


def resume_on_ranks(folder: str) -> tuple[str, list[dict[str, Tensor]]]:
    """Two epochs, a checkpoint by rank zero, the rest from it; all rows and the networks."""
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


def test_a_resumed_run_of_two_ranks_equals_the_uninterrupted_one(
    gloo_pair: GlooRanks, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = gloo_pair.run(run_on_ranks)
    resumed = gloo_pair.run(resume_on_ranks, str(tmp_path_factory.mktemp("resume")))
    for (rows, weights), (rows_again, weights_again) in zip(whole, resumed, strict=True):
        assert rows == rows_again
        for network, other in zip(weights, weights_again, strict=True):
            assert all(torch.equal(value, other[key]) for key, value in network.items())
