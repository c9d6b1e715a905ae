"""Verified counts and the networks' answers become one T; each counts for what it is worth."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import dirichlet_multinomial

from fer_ray.core.noise_model import NoiseModel, from_predictions, from_stratified_labels
from fer_ray.core.noise_pooling import pooled, worth_of

pytestmark = pytest.mark.lowest

TRUTH = torch.tensor(
    [
        [0.60, 0.20, 0.05, 0.15],
        [0.10, 0.80, 0.10, 0.00],
        [0.05, 0.25, 0.70, 0.00],
        [0.30, 0.00, 0.10, 0.60],
    ]
)
PRIOR = torch.tensor([0.3, 0.5, 0.15, 0.05])


def draw(num: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """True and given labels of images."""
    generator = torch.Generator().manual_seed(seed)
    true_label = torch.multinomial(PRIOR, num, replacement=True, generator=generator)
    label = torch.multinomial(TRUTH[true_label], 1, generator=generator)[:, 0]
    return true_label, label


def verified(num: int, seed: int) -> NoiseModel:
    true_label, label = draw(num, seed)
    return from_stratified_labels(true_label, label, PRIOR @ TRUTH)


def error(model: NoiseModel) -> float:
    return float((model.transition - TRUTH).abs().sum(dim=1).mean())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 4))
def test_the_worth_is_that_of_the_highest_likelihood(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.dirichlet(np.full(classes, 2.0), size=classes)
    counts = np.stack(
        [rng.multinomial(rng.integers(1, 30), rng.dirichlet(3 * column)) for column in base]
    )
    found = worth_of(torch.from_numpy(base.T), torch.from_numpy(counts.T).double())

    def likelihood(worth: float) -> float:
        pairs = zip(counts, base, strict=True)
        return sum(float(dirichlet_multinomial.logpmf(n, worth * b, n.sum())) for n, b in pairs)

    assert 0.1 <= found <= 1000
    assert likelihood(found) >= max(map(likelihood, np.geomspace(0.1, 1000, 20))) - 0.05


@pytest.mark.parametrize(("is_right", "most"), [(True, 0.5), (False, 1.2)])
def test_right_answers_help_and_those_that_repeat_the_given_labels_are_worth_little(
    is_right: bool, most: float
) -> None:
    before, after = [], []
    for seed in range(20):
        model = verified(100, seed)
        true_label, label = draw(2000, 1000 + seed)
        before.append(error(model))
        after.append(error(pooled(model, true_label if is_right else label, label)))
    assert np.mean(after) < most * np.mean(before)


def test_rows_are_probabilities_and_all_else_stays() -> None:
    model = verified(50, 0)
    answer, label = draw(500, 1)
    found = pooled(model, answer, label)
    assert found.transition.sum(dim=1).tolist() == pytest.approx([1] * 4)
    assert torch.equal(found.prior, model.prior)
    assert (found.num_verified, found.row_error) == (model.num_verified, model.row_error)


def test_answers_count_by_the_shares_of_given_labels_and_no_more() -> None:
    """As many of every given label, or as they come: what the answers say is the same."""
    model = verified(60, 3)
    answer, label = draw(4000, 4)
    even = torch.cat([torch.nonzero(label == j)[:, 0].repeat(5 if j == 2 else 1) for j in range(4)])
    one, other = pooled(model, answer, label), pooled(model, answer[even], label[even])
    torch.testing.assert_close(one.transition, other.transition, atol=0.02, rtol=0)


def test_a_column_is_the_mean_that_the_docstring_says() -> None:
    model = verified(60, 3)
    assert model.counts is not None
    answer, label = draw(300, 4)
    joint = model.transition * model.prior[:, None]
    answered = 10 * joint / joint.sum(dim=0)
    for k, j in zip(answer.tolist(), label.tolist(), strict=True):
        answered[k, j] += 1
    answered = answered / answered.sum(dim=0)
    worth = worth_of(answered, model.counts)
    expected = torch.zeros(4, 4)
    for j in range(4):
        num, share = float(model.counts[:, j].sum()), float(joint[:, j].sum())
        column = (num * joint[:, j] / share + worth * answered[:, j]) / (num + worth)
        expected[:, j] = column * share
    expected = expected / expected.sum(dim=1, keepdim=True)
    torch.testing.assert_close(pooled(model, answer, label).transition, expected)


def test_where_nothing_is_verified_nothing_changes() -> None:
    answer, label = draw(400, 0)
    prob = torch.nn.functional.one_hot(answer, 4) * 0.6 + 0.1
    model = from_predictions(prob, label)
    assert model.counts is None
    assert pooled(model, answer, label) is model
