import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_ray.core.label_noise import (
    FER2013_TRANSITION,
    corrupt_labels,
    long_tailed_counts,
    proportional_counts,
    symmetric_transition,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_labels_follow_the_transition() -> None:
    label = np.repeat(np.arange(7), 20_000)
    given_label = corrupt_labels(label, FER2013_TRANSITION, rng())
    counts = np.zeros((7, 7))
    np.add.at(counts, (label, given_label), 1)
    np.testing.assert_allclose(counts / 20_000, FER2013_TRANSITION, atol=0.015)


def test_identity_changes_nothing_and_the_seed_decides() -> None:
    label = rng().integers(0, 7, 500)
    assert np.array_equal(corrupt_labels(label, np.eye(7), rng()), label)
    once = corrupt_labels(label, FER2013_TRANSITION, rng(3))
    assert np.array_equal(once, corrupt_labels(label, FER2013_TRANSITION, rng(3)))
    assert not np.array_equal(once, corrupt_labels(label, FER2013_TRANSITION, rng(4)))


def test_a_class_that_is_always_wrong_is_never_kept() -> None:
    label = np.repeat(np.arange(4), 2_000)
    assert not (corrupt_labels(label, symmetric_transition(4, 1.0), rng()) == label).any()


def test_symmetric_rate_is_the_noise_itself() -> None:
    label = np.repeat(np.arange(7), 10_000)
    given_label = corrupt_labels(label, symmetric_transition(7, 0.3), rng())
    assert abs((given_label != label).mean() - 0.3) < 0.01


def test_fer2013_is_in_canonical_order() -> None:
    neutral, happiness, sadness, surprise, fear, disgust, anger = range(7)
    expected = {
        (neutral, neutral): 0.463,
        (neutral, sadness): 0.241,
        (happiness, happiness): 0.899,
        (sadness, fear): 0.236,
        (surprise, fear): 0.160,
        (fear, surprise): 0.111,
        (disgust, anger): 0.151,
        (anger, disgust): 0.025,
    }
    for (true, given_as), share in expected.items():
        assert FER2013_TRANSITION[true, given_as] == pytest.approx(share, abs=0.0015)
    np.testing.assert_allclose(FER2013_TRANSITION.sum(axis=1), 1, atol=1e-12)
    assert not FER2013_TRANSITION.flags.writeable


@pytest.mark.parametrize(
    ("transition", "message"),
    [
        (np.ones((2, 3)) / 3, r"square matrix, got shape \(2, 3\)"),
        (np.array([[1.0, 0.0], [0.5, 0.6]]), r"row 1: expected a sum of 1.*got 1\.1"),
        (np.array([[1.5, -0.5], [0.0, 1.0]]), r"row 0: expected probabilities >= 0"),
        (np.array([[1.0, 0.0], [np.nan, 1.0]]), r"row 1"),
    ],
)
def test_bad_transition_names_the_row(transition: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt_labels(np.array([0, 1]), transition, rng())


def test_label_without_a_row_is_named() -> None:
    with pytest.raises(ValueError, match=r"label\[1\]: expected a class in \[0, 3\).*got 3"):
        corrupt_labels(np.array([0, 3]), np.eye(3), rng())


@pytest.mark.parametrize(("num_classes", "rate"), [(1, 0.1), (3, -0.1), (3, 1.1)])
def test_bad_symmetric_noise(num_classes: int, rate: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        symmetric_transition(num_classes, rate)


@given(num_classes=st.integers(1, 20), extra=st.integers(0, 5_000), imbalance=st.floats(1.0, 200.0))
def test_long_tail(num_classes: int, extra: int, imbalance: float) -> None:
    counts = long_tailed_counts(num_classes + extra, num_classes, imbalance)
    assert counts.sum() == num_classes + extra
    assert counts.min() >= 1
    assert np.all(np.diff(counts) <= 0)


def test_long_tail_keeps_the_imbalance() -> None:
    counts = long_tailed_counts(100_000, 7, 50.0)
    assert counts[0] / counts[-1] == pytest.approx(50, rel=0.02)
    ratios = counts[1:] / counts[:-1]
    assert ratios.max() / ratios.min() < 1.02


@pytest.mark.parametrize(("num", "classes", "imbalance"), [(6, 7, 2), (9, 0, 2), (9, 3, 0.5)])
def test_bad_long_tail(num: int, classes: int, imbalance: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        long_tailed_counts(num, classes, float(imbalance))


def test_weights_must_be_positive() -> None:
    with pytest.raises(ValueError, match="weights: expected numbers > 0"):
        proportional_counts(10, np.array([1.0, 0.0]))
