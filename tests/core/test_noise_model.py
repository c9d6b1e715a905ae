"""The model of label noise, against loops in NumPy and against noise that was drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fer_ray.core.noise_model import (
    NoiseModel,
    confident_joint,
    corrected_confusion,
    deconvolve,
    from_joint,
    from_predictions,
    from_stratified_labels,
)

SEEDS = st.integers(0, 2**31)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn_model(rng: np.random.Generator, num_classes: int, clean: float = 0.6) -> NoiseModel:
    """Rows with `clean` and more on the diagonal."""
    rest = rng.dirichlet(np.ones(num_classes), num_classes)
    transition = clean * np.eye(num_classes) + (1 - clean) * rest
    prior = rng.dirichlet(2 * np.ones(num_classes))
    return NoiseModel(
        transition=torch.from_numpy(transition).float(), prior=torch.from_numpy(prior).float()
    )


def drawn_labels(rng: np.random.Generator, model: NoiseModel, num: int) -> tuple[Tensor, Tensor]:
    """True and given labels."""
    prior = model.prior.double().numpy()
    truth = rng.choice(len(prior), num, p=prior / prior.sum())
    transition = model.transition.double().numpy()
    chosen = [rng.choice(len(prior), p=transition[k] / transition[k].sum()) for k in truth]
    return torch.from_numpy(truth), torch.tensor(chosen)


@given(SEEDS, st.integers(2, 7), st.integers(1, 20))
def test_the_posterior_is_that_of_loops(seed: int, num_classes: int, num: int) -> None:
    rng = rng_of(seed)
    model = drawn_model(rng, num_classes)
    prob = torch.from_numpy(rng.dirichlet(np.ones(num_classes), num)).float()
    label = torch.from_numpy(rng.integers(0, num_classes, num))
    found = model.posterior(prob, label)
    for i in range(num):
        joint = [float(prob[i, k] * model.transition[k, label[i]]) for k in range(num_classes)]
        expected = np.array(joint) / sum(joint)
        assert found[i].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert float(model.clean_prob(prob, label)[i]) == pytest.approx(
            expected[label[i]], rel=1e-4, abs=1e-6
        )


def test_without_noise_the_given_label_is_the_truth() -> None:
    model = NoiseModel(transition=torch.eye(3), prior=torch.full((3,), 1 / 3))
    prob = torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    label = torch.tensor([2, 0])
    assert model.posterior(prob, label).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert torch.equal(model.forward(prob), prob)


def test_labels_that_say_nothing_leave_the_prediction_alone() -> None:
    model = NoiseModel(transition=torch.full((3, 3), 1 / 3), prior=torch.full((3,), 1 / 3))
    prob = torch.tensor([[0.2, 0.5, 0.3]])
    torch.testing.assert_close(model.posterior(prob, torch.tensor([1])), prob)


def test_an_impossible_label_leaves_the_prediction_alone() -> None:
    model = NoiseModel(transition=torch.eye(2), prior=torch.full((2,), 0.5))
    prob = torch.tensor([[1.0, 0.0]])
    assert torch.equal(model.posterior(prob, torch.tensor([1])), prob)


@given(SEEDS, st.integers(2, 7))
def test_the_likelihood_is_that_of_loops(seed: int, num_classes: int) -> None:
    rng = rng_of(seed)
    model = drawn_model(rng, num_classes)
    prob = torch.from_numpy(rng.dirichlet(np.ones(num_classes), 9)).float()
    label = torch.from_numpy(rng.integers(0, num_classes, 9))
    logs = [
        np.log(sum(float(prob[i, k] * model.transition[k, label[i]]) for k in range(num_classes)))
        for i in range(9)
    ]
    assert model.likelihood(prob, label) == pytest.approx(np.mean(logs), rel=1e-4)


def test_the_true_matrix_is_the_likeliest() -> None:
    rng = rng_of(0)
    model = drawn_model(rng, 4)
    truth, label = drawn_labels(rng, model, 4000)
    prob = torch.nn.functional.one_hot(truth, 4).float() * 0.94 + 0.015
    other = NoiseModel(transition=torch.eye(4) * 0.6 + 0.1, prior=model.prior)
    assert model.likelihood(prob, label) > other.likelihood(prob, label)


def stratified_by_loops(
    truth: list[int], label: list[int], share: list[float], strength: float
) -> np.ndarray:
    """P(true, given) by the formulas of `from_stratified_labels`, sum by sum."""
    size, num_told = len(share), sum(k >= 0 for k in truth)
    pairs = [(k, j) for k, j in zip(truth, label, strict=True) if k >= 0]
    told = [
        (sum(j == g for _, j in pairs) + 5 * num_told / len(truth)) / (label.count(g) + 5)
        for g in range(size)
    ]
    q = np.array(share) * told
    q /= q.sum()
    weight = [q[j] / sum(g == j for _, g in pairs) for _, j in pairs]
    weight = [num_told * w / sum(weight) for w in weight]
    right = sum(w for w, (k, j) in zip(weight, pairs, strict=True) if k == j)
    r = (right + 10 * 0.6) / (num_told + 10)
    joint = np.zeros((size, size))
    for j in range(size):
        num = sum(g == j for _, g in pairs)
        for k in range(size):
            m = sum(w for w, (true, _) in zip(weight, pairs, strict=True) if true == k)
            target = r * (k == j) + (1 - r) * (m + 1) / (num_told + size)
            joint[k, j] = (pairs.count((k, j)) + strength * target) / (num + strength) * q[j]
    return joint


@given(SEEDS, st.integers(2, 6), st.floats(0.1, 10))
def test_stratified_labels_are_weighted_with_the_shares_of_the_given_ones(
    seed: int, num_classes: int, strength: float
) -> None:
    rng = rng_of(seed)
    truth, label = rng.integers(-1, num_classes, 30), rng.integers(0, num_classes, 30)
    truth[0] = 0
    share = torch.from_numpy(rng.dirichlet(np.ones(num_classes))).float()
    found = from_stratified_labels(
        torch.from_numpy(truth), torch.from_numpy(label), share, strength=strength
    )
    joint = stratified_by_loops(truth.tolist(), label.tolist(), share.tolist(), strength)
    prior = joint.sum(axis=1)
    assert found.prior.numpy() == pytest.approx(prior, rel=1e-3, abs=1e-6)
    assert found.transition.numpy() == pytest.approx(joint / prior[:, None], rel=1e-3, abs=1e-6)
    assert found.num_verified == (truth >= 0).sum()


def test_images_that_cannot_be_told_make_their_given_label_rarer() -> None:
    """Half of what is labelled 1 shows no class: among those that do, 1 is half as frequent."""
    label = torch.arange(8000) % 2
    truth = torch.where(torch.arange(8000) % 4 == 1, -1, label)
    found = from_stratified_labels(truth, label, torch.tensor([0.5, 0.5]))
    assert found.prior.tolist() == pytest.approx([2 / 3, 1 / 3], abs=0.01)


@pytest.mark.parametrize("is_even", [False, True])
def test_many_verified_labels_find_the_noise(is_even: bool) -> None:
    rng = rng_of(1)
    model = drawn_model(rng, 5)
    truth, label = drawn_labels(rng, model, 60_000)
    share = torch.bincount(label, minlength=5).float() / len(label)
    rows = torch.arange(60_000)
    if is_even:  # as many of every given label
        size = int(torch.bincount(label).min())
        rows = torch.cat([(label == j).nonzero()[:size, 0] for j in range(5)])
    found = from_stratified_labels(truth[rows], label[rows], share)
    torch.testing.assert_close(found.transition, model.transition, rtol=0, atol=0.03)
    torch.testing.assert_close(found.prior, model.prior, rtol=0, atol=0.02)


@pytest.mark.parametrize("num", [100, 400])
def test_how_far_off_the_rows_are_is_known(num: int) -> None:
    """Over many draws, the error that is told is near the one that is made."""
    rng = rng_of(3)
    model = drawn_model(rng, 5)
    share = model.prior @ model.transition
    told, made = [], []
    for _ in range(40):
        truth, label = drawn_labels(rng, model, num)
        found = from_stratified_labels(truth, label, share)
        told.append(found.row_error)
        made.append(float((found.transition - model.transition).abs().sum(dim=1).mean()))
    assert np.mean(told) == pytest.approx(np.mean(made), rel=0.35)


def test_an_estimate_without_verified_labels_knows_less() -> None:
    rng = rng_of(4)
    model = drawn_model(rng, 4)
    truth, label = drawn_labels(rng, model, 2000)
    prob = torch.nn.functional.one_hot(truth, 4).float() * 0.6 + 0.1
    share = torch.bincount(label, minlength=4).float() / len(label)
    told = from_stratified_labels(truth[:200], label[:200], share)
    guessed = from_predictions(prob, label)
    assert 0 < told.row_error < guessed.row_error <= 2


def test_a_class_that_was_never_verified_has_a_row_all_the_same() -> None:
    share = torch.tensor([0.5, 0.3, 0.2])
    found = from_stratified_labels(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), share)
    assert float(found.prior[2]) > 0.05
    assert int(found.transition[2].argmax()) == 2


@given(SEEDS, st.integers(2, 7), st.floats(0.5, 0.95))
@settings(max_examples=30)
def test_deconvolution_undoes_the_noise(seed: int, num_classes: int, clean: float) -> None:
    model = drawn_model(rng_of(seed), num_classes, clean)
    given_share = model.prior @ model.transition
    found = deconvolve(model.transition, given_share)
    torch.testing.assert_close(found, model.prior, rtol=0, atol=0.02)
    assert float(found.sum()) == pytest.approx(float(given_share.sum()), rel=1e-5)


def test_deconvolution_stays_non_negative_where_inversion_does_not() -> None:
    transition = torch.tensor([[0.7, 0.3], [0.4, 0.6]])
    given_share = torch.tensor([0.8, 0.2])  # more of class 0 than T allows
    assert float((given_share @ torch.linalg.inv(transition)).min()) < 0
    assert deconvolve(transition, given_share).tolist() == pytest.approx([1.0, 0.0], abs=1e-3)
    assert deconvolve(transition, torch.zeros(2)).tolist() == [0.0, 0.0]


def test_a_confusion_matrix_is_corrected() -> None:
    rng = rng_of(3)
    model = drawn_model(rng, 4, clean=0.7)
    truth, label = drawn_labels(rng, model, 40_000)
    is_right = torch.from_numpy(rng.random(len(truth)) < 0.8)
    answer = torch.where(is_right, truth, (truth + 1) % 4)

    def confusion(rows: Tensor) -> Tensor:
        return torch.bincount(rows * 4 + answer, minlength=16).reshape(4, 4).float()

    found, expected = corrected_confusion(confusion(label), model), confusion(truth)
    torch.testing.assert_close(found.sum(dim=0), expected.sum(dim=0), rtol=1e-4, atol=1e-2)
    recall = found.diag() / found.sum(dim=1)
    assert recall.tolist() == pytest.approx([0.8] * 4, abs=0.04)
    noisy = confusion(label)
    assert float(noisy.trace() / noisy.sum()) < 0.7  # what it is without


def test_the_confident_joint_is_that_of_loops() -> None:
    rng = rng_of(4)
    prob = torch.from_numpy(rng.dirichlet(np.ones(3), 50)).float()
    label = torch.from_numpy(rng.integers(0, 3, 50))
    threshold = [float(prob[label == k, k].mean()) for k in range(3)]
    counts = np.zeros((3, 3))
    for p, y in zip(prob.tolist(), label.tolist(), strict=True):
        reached = [k for k in range(3) if p[k] >= threshold[k]]
        if reached:
            counts[max(reached, key=lambda k: p[k]), y] += 1
    size = np.bincount(label.numpy(), minlength=3)
    expected = counts * size / counts.sum(axis=0)
    assert confident_joint(prob, label).numpy() == pytest.approx(expected, rel=1e-4)


def test_predictions_find_some_of_the_noise() -> None:
    rng = rng_of(5)
    model = drawn_model(rng, 4, clean=0.6)
    truth, label = drawn_labels(rng, model, 5000)
    logits = 2.5 * torch.nn.functional.one_hot(truth, 4) + torch.from_numpy(
        rng.normal(size=(5000, 4))
    )
    found = from_predictions(logits.softmax(dim=1).float(), label)
    identity = torch.eye(4)
    assert float((found.transition - model.transition).abs().mean()) < float(
        (identity - model.transition).abs().mean()
    )
    assert found.num_verified == 0


def test_counts_become_a_model() -> None:
    found = from_joint(torch.tensor([[6.0, 2.0], [0.0, 2.0]]))
    assert found.prior.tolist() == pytest.approx([0.8, 0.2])
    assert found.transition.tolist() == [[0.75, 0.25], [0.0, 1.0]]
    empty = from_joint(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert empty.transition[1].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("transition", "prior"),
    [
        (torch.tensor([[0.5, 0.4], [0.0, 1.0]]), torch.tensor([0.5, 0.5])),
        (torch.tensor([[1.2, -0.2], [0.0, 1.0]]), torch.tensor([0.5, 0.5])),
        (torch.eye(2), torch.tensor([0.5, 0.6])),
    ],
)
def test_what_is_no_distribution_is_refused(transition: Tensor, prior: Tensor) -> None:
    with pytest.raises(ValueError, match="expected probabilities that sum to 1"):
        NoiseModel(transition=transition, prior=prior)
