"""Losses and target transforms against plain loops, and at the edges of floating point."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fer_ray.core.losses import (
    confident_cross_entropy,
    contrast,
    linear_rampup,
    mixup,
    mixup_coefficient,
    negative_entropy,
    prior_penalty,
    sharpen,
    soft_cross_entropy,
)
from tests import reference


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(seed: int, num: int = 6, num_classes: int = 4, spread: float = 2.0) -> Tensor:
    return spread * torch.randn(num, num_classes, generator=generator(seed))


def as_prob(values: Tensor) -> reference.Floats:
    return reference.softmax(values.detach().double().numpy())


seeds = st.integers(0, 2**32)


@given(seed=seeds)
def test_soft_cross_entropy_is_eq_9(seed: int) -> None:
    values, target = logits(seed), logits(seed + 1).softmax(dim=1)
    expected = reference.soft_cross_entropy(as_prob(values), target.double().numpy())
    assert float(soft_cross_entropy(values, target)) == pytest.approx(expected, rel=1e-5)


@given(seed=seeds)
def test_prior_penalty_is_eq_11(seed: int) -> None:
    values, prior = logits(seed), logits(seed + 1)[0].softmax(dim=0)
    expected = reference.prior_penalty(as_prob(values), prior.double().numpy())
    found = float(prior_penalty(values.softmax(dim=1).mean(dim=0), prior))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(seed=seeds)
def test_negative_entropy_is_eq_2_with_the_sign_turned(seed: int) -> None:
    values = logits(seed)
    expected = reference.negative_entropy(as_prob(values))
    assert float(negative_entropy(values)) == pytest.approx(expected, rel=1e-5)


@given(seed=seeds, temperature=st.floats(0.1, 5.0))
def test_sharpen_is_eq_4(seed: int, temperature: float) -> None:
    prob = logits(seed).softmax(dim=1)
    expected = reference.sharpen(prob.double().numpy(), temperature)
    np.testing.assert_allclose(sharpen(prob, temperature).numpy(), expected, rtol=2e-4, atol=1e-6)


def test_a_temperature_below_one_makes_answers_more_certain() -> None:
    prob = torch.tensor([[0.6, 0.3, 0.1]])
    assert float(sharpen(prob, 0.5)[0, 0]) > 0.75
    assert float(sharpen(prob, 2.0)[0, 0]) < 0.5
    torch.testing.assert_close(sharpen(prob, 1.0), prob)


def test_a_tiny_temperature_ends_in_a_one_hot_answer_not_in_nan() -> None:
    prob = torch.tensor([[1e-4, 2e-4, 1 - 3e-4], [0.25, 0.25, 0.5]])
    torch.testing.assert_close(sharpen(prob, 1e-3), torch.tensor([[0.0, 0.0, 1.0]] * 2))
    even = torch.full((1, 1000), 1e-3)
    torch.testing.assert_close(sharpen(even, 1e-3), even)


@given(seed=seeds, share=st.floats(0, 1))
def test_mixup_is_eq_7_and_8(seed: int, share: float) -> None:
    rows = torch.randn(5, 2, 3, generator=generator(seed))
    partner = torch.randperm(5, generator=generator(seed))
    coefficient = max(share, 1 - share)
    expected = reference.mixup(rows.double().numpy(), partner.numpy(), share)
    found = mixup(rows, rows[partner], coefficient)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


@given(seed=seeds, alpha=st.floats(0.05, 8.0))
def test_the_mixup_coefficient_prefers_the_first_and_follows_its_generator(
    seed: int, alpha: float
) -> None:
    share = mixup_coefficient(alpha, generator(seed))
    assert 0.5 <= share <= 1
    assert share == mixup_coefficient(alpha, generator(seed))


def test_the_mixup_coefficient_is_beta_distributed_and_ignores_numpys_global_state() -> None:
    source = generator(0)
    np.random.seed(0)
    draws = np.array([mixup_coefficient(4.0, source) for _ in range(4000)])
    rng = np.random.default_rng(1)
    expected = np.array([max(share, 1 - share) for share in rng.beta(4.0, 4.0, 40_000)])
    assert draws.mean() == pytest.approx(expected.mean(), abs=0.005)
    assert np.quantile(draws, 0.9) == pytest.approx(np.quantile(expected, 0.9), abs=0.015)
    np.random.seed(0)
    again = generator(0)
    assert draws[0] == mixup_coefficient(4.0, again)
    assert draws[1] == mixup_coefficient(4.0, again)


def test_mixup_alpha_must_be_positive() -> None:
    with pytest.raises(ValueError, match="alpha must be positive, got 0"):
        mixup_coefficient(0.0, generator(0))


@given(epoch=st.floats(-5, 50), warmup=st.integers(1, 10), length=st.floats(0, 20))
def test_the_ramp_is_the_authors(epoch: float, warmup: int, length: float) -> None:
    assert linear_rampup(epoch - warmup, length) == pytest.approx(
        reference.linear_ramp(epoch, warmup, length)
    )


def test_a_probability_of_zero_is_never_nan() -> None:
    sure = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    target = torch.tensor([[0.0, 1.0, 0.0]])
    prior = torch.full((3,), 1 / 3)
    loss = (
        soft_cross_entropy(sure, target)
        + negative_entropy(sure)
        + prior_penalty(sure.softmax(dim=1).mean(dim=0), prior)
    )
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert sure.grad is not None
    assert bool(torch.isfinite(sure.grad).all())


def test_a_class_with_prior_zero_costs_nothing_and_a_missed_one_much() -> None:
    half = torch.tensor([0.5, 0.5, 0.0])
    assert float(prior_penalty(half, half)) == pytest.approx(0, abs=1e-6)
    missed = float(prior_penalty(half, torch.tensor([0.2, 0.2, 0.6])))
    assert 5 < missed < 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_penalty_pulls_the_mean_prediction_towards_the_prior(dtype: torch.dtype) -> None:
    values = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    prior_penalty(values.softmax(dim=1).mean(dim=0), torch.full((3,), 1 / 3)).backward()
    assert values.grad is not None
    assert bool((values.grad[:, 0] > 0).all())
    assert bool((values.grad[:, 1:] < 0).all())


@pytest.mark.parametrize("seed", range(3))
def test_contrast_is_that_of_loops_over_the_chosen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 6, 4))
    chosen = np.array([True, False, True, True, False, True])
    views = [torch.from_numpy(view).float().requires_grad_() for view in (first, second)]
    loss = contrast(views[0], views[1], 0.3, torch.from_numpy(chosen))
    expected = reference.nt_xent(first[chosen], second[chosen], 0.3)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    for view in views:
        assert view.grad is not None
        assert not bool(view.grad[~torch.from_numpy(chosen)].any())
        assert bool(view.grad[torch.from_numpy(chosen)].abs().sum(dim=1).gt(0).all())


@pytest.mark.parametrize("num_chosen", [0, 1])
def test_contrast_of_one_image_or_none_is_nothing(num_chosen: int) -> None:
    views = [torch.randn(3, 4).requires_grad_() for _ in range(2)]
    loss = contrast(views[0], views[1], 0.07, torch.arange(3) < num_chosen)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    for view in views:
        assert view.grad is not None
        assert bool(torch.isfinite(view.grad).all())


def test_confident_cross_entropy_counts_the_whole_batch() -> None:
    answers = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 0.0]])
    label, sure = torch.tensor([0, 0, 1]), torch.tensor([True, True, False])
    expected = F.cross_entropy(answers[:2], label[:2], reduction="sum") / 3
    torch.testing.assert_close(confident_cross_entropy(answers, label, sure), expected)
    nobody = torch.zeros(3, dtype=torch.bool)
    assert float(confident_cross_entropy(answers, label, nobody)) == 0.0
