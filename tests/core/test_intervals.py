"""Intervals against SciPy, against resampled images, and where figures are 0 or 1."""

import numpy as np
import pytest
from scipy.stats import binom

from fer_ray.core.intervals import (
    confusion_intervals,
    paired_difference,
    separate_difference,
    wilson,
)


@pytest.mark.parametrize("recall", [0.5, 0.95])
def test_wilson_covers_as_often_as_it_says(recall: float) -> None:
    """With 30 images; a bootstrap covers 77 % of the recalls at 0.95."""
    found = [wilson(hits, 30) for hits in range(31)]
    covers = [one.low <= recall <= one.high for one in found]
    assert 0.92 < binom.pmf(np.arange(31), 30, recall)[covers].sum() < 0.98


def test_wilson_of_no_image_is_not_a_number() -> None:
    assert np.isnan(wilson(0, 0)).all()


def test_accuracy_and_macro_recall_of_a_matrix() -> None:
    confusion = np.array([[90, 10], [6, 4]])
    pair = confusion_intervals(confusion)
    assert pair.accuracy.value == pytest.approx(94 / 110)
    assert pair.macro_recall.value == pytest.approx((0.9 + 0.4) / 2)
    # The deviation of a mean of two shares: that of the small class rules.
    wide = 1.96 * np.sqrt(0.9 * 0.1 / 100 + 0.4 * 0.6 / 10) / 2
    assert pair.macro_recall.high - pair.macro_recall.low == pytest.approx(2 * wide, rel=0.1)
    assert pair.accuracy.high - pair.accuracy.low < pair.macro_recall.high - pair.macro_recall.low


def test_an_interval_equals_that_of_resampled_images() -> None:
    confusion = np.array([[35, 5], [8, 12]])
    label = np.repeat([0, 0, 1, 1], [35, 5, 8, 12])
    is_right = np.repeat([True, False, False, True], [35, 5, 8, 12])
    generator, drawn = np.random.default_rng(5), []
    for _ in range(4000):
        rows = [generator.choice(np.flatnonzero(label == k), (label == k).sum()) for k in (0, 1)]
        drawn.append(np.mean([is_right[one].mean() for one in rows]))
    expected = np.percentile(drawn, [2.5, 97.5])
    assert confusion_intervals(confusion).macro_recall[1:] == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("hits", [0, 30])
def test_a_figure_of_0_or_1_has_an_interval_with_width(hits: int) -> None:
    confusion = np.array([[hits, 30 - hits], [30 - hits, hits]])
    for value, low, high in confusion_intervals(confusion):
        assert value in (low, high)
        assert 0.01 < high - low < 0.2


def test_a_class_without_images_does_not_count() -> None:
    confusion = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 9]])
    assert confusion_intervals(confusion).macro_recall.value == pytest.approx(0.85)
    assert np.isnan(confusion_intervals(np.zeros((2, 2), dtype=int)).accuracy).all()


def test_a_paired_difference_is_that_of_the_figures_and_narrower() -> None:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 3, 600)
    theirs = generator.random(600) < 0.7
    ours = theirs ^ (generator.random(600) < 0.05)

    def matrix(is_right: np.ndarray) -> np.ndarray:
        answer = np.where(is_right, label, (label + 1) % 3)
        found = np.zeros((3, 3), dtype=np.int64)
        np.add.at(found, (label, answer), 1)
        return found

    paired = paired_difference(label, ours, theirs)
    separate = separate_difference(matrix(ours), matrix(theirs))
    for one, other in zip(paired, separate, strict=True):
        assert one.value == pytest.approx(other.value)
        assert one.low <= one.value <= one.high
        assert one.high - one.low < 0.6 * (other.high - other.low)


def test_equal_answers_differ_by_nothing() -> None:
    label, right = np.array([0, 1, 1]), np.array([True, False, True])
    assert paired_difference(label, right, right).macro_recall == (0.0, 0.0, 0.0)
