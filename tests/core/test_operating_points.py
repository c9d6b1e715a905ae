"""Operating points, against loops in NumPy and against populations that were drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fer_ray.core.operating_points import (
    POINTS,
    at_points,
    check_prior,
    mean_prediction_of,
    prediction_metrics,
    prior_of_shares,
    reweighted,
)

SEEDS = st.integers(0, 2**31)
CLASSES = st.integers(2, 7)


def drawn(seed: int, num_classes: int, num: int) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, a prior and a mean prediction."""
    rng = np.random.default_rng(seed)
    prob = rng.dirichlet(np.ones(num_classes), num)
    prior, mean = rng.dirichlet(2 * np.ones(num_classes), 2)
    return torch.from_numpy(prob).float(), torch.from_numpy(prior), torch.from_numpy(mean)


@given(SEEDS, CLASSES, st.integers(1, 12))
def test_reweighted_predictions_are_those_of_loops(seed: int, num_classes: int, num: int) -> None:
    prob, prior, mean = drawn(seed, num_classes, num)
    found = reweighted(prob, prior, mean)
    for i in range(num):
        joint = [float(prob[i, k] * prior[k] / mean[k]) for k in range(num_classes)]
        expected = [value / sum(joint) for value in joint]
        assert found[i].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@given(SEEDS, CLASSES)
def test_the_mean_itself_as_prior_changes_nothing(seed: int, num_classes: int) -> None:
    prob, _, mean = drawn(seed, num_classes, 8)
    torch.testing.assert_close(reweighted(prob, mean, mean), prob)


@given(SEEDS, CLASSES)
def test_what_is_reweighted_twice_is_at_the_second_prior(seed: int, num_classes: int) -> None:
    prob, prior, mean = drawn(seed, num_classes, 8)
    uniform = torch.full_like(prior, 1 / num_classes)
    there = reweighted(reweighted(prob.double(), prior, mean), uniform, prior)
    torch.testing.assert_close(there, reweighted(prob.double(), uniform, mean))


@given(SEEDS, CLASSES)
def test_a_larger_share_never_makes_a_class_less_likely(seed: int, num_classes: int) -> None:
    prob, prior, mean = drawn(seed, num_classes, 8)
    more = prior.clone()
    more[0] *= 2
    before, after = reweighted(prob, prior, mean), reweighted(prob, more / more.sum(), mean)
    assert bool((after[:, 0] >= before[:, 0] - 1e-6).all())


def test_predictions_move_to_the_other_population() -> None:
    """Exact posteriors in a population become the exact posteriors in another one."""
    rng = np.random.default_rng(0)
    likelihood = torch.from_numpy(rng.dirichlet(np.ones(5), 3))  # P(x | class) of five images
    here, there = torch.tensor([0.8, 0.15, 0.05]).double(), torch.tensor([0.2, 0.2, 0.6]).double()

    def posterior(prior: Tensor) -> Tensor:
        joint = likelihood.T * prior
        return joint / joint.sum(dim=1, keepdim=True)

    torch.testing.assert_close(reweighted(posterior(here), there, here), posterior(there))


def test_a_prior_that_rules_out_what_is_predicted_leaves_the_prediction() -> None:
    prob = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    found = reweighted(prob, torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]))
    assert found.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_mean_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="mean: expected predictions above 0 of every class"):
        reweighted(torch.ones(1, 2) / 2, torch.ones(2) / 2, torch.tensor([1.0, 0.0]))


@given(SEEDS, CLASSES, st.integers(0, 12))
def test_the_mean_has_one_image_more_of_every_class(seed: int, num_classes: int, num: int) -> None:
    prob, _, _ = drawn(seed, num_classes, num)
    found = mean_prediction_of(prob)
    rows = [*prob.double().tolist(), [1 / num_classes] * num_classes]
    assert found.tolist() == pytest.approx(np.mean(rows, axis=0).tolist())
    assert float(found.min()) > 0
    assert float(found.sum()) == pytest.approx(1, rel=1e-5)


@given(SEEDS, CLASSES)
def test_points_are_as_trained_natural_and_balanced(seed: int, num_classes: int) -> None:
    prob, natural, mean = drawn(seed, num_classes, 6)
    points = at_points(prob, natural, mean)
    assert tuple(points) == POINTS
    assert points["trained"] is prob
    torch.testing.assert_close(points["natural"], reweighted(prob, natural, mean))
    joint = prob.numpy() / mean.numpy()
    expected = joint / joint.sum(axis=1, keepdims=True)
    assert points["balanced"].numpy() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_metrics_are_those_of_the_likeliest_class() -> None:
    prob = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.8, 0.2]])
    metrics, confusion = prediction_metrics(prob, torch.tensor([0, 0, 0, 1]), ["anger", "fear"])
    assert confusion.tolist() == [[2, 1], [1, 0]]
    assert metrics["accuracy"] == 0.5
    assert metrics["macro_recall"] == pytest.approx(1 / 3)
    assert metrics["recall/anger"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"fear": 1.0}, "prior: expected a share of every class, got none of anger; give 0"),
        ({"fear": 1.0, "anger": 1.0, "joy": 1.0}, "prior.joy: no such class"),
    ],
)
def test_shares_are_of_all_classes(shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prior_of_shares(shares, ["anger", "fear"])


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("natural", "prior: trained, given, verified, uniform or a share per class.*got 'natural'"),
        ({}, "prior: shares >= 0 with a positive sum"),
        ({"fear": -1.0, "anger": 3.0}, "prior: shares >= 0"),
        ({"fear": 0.0}, "prior: shares >= 0 with a positive sum"),
    ],
)
def test_what_is_no_prior_is_refused(prior: str | dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_prior(prior)
