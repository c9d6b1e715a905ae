"""How sure a figure is: 95 % intervals of recalls, of accuracy and macro recall, of differences.

They say how far a figure would move with other images of the same kind. They know nothing of what
another seed of the training would change.

All but `wilson` are percentile bootstraps with a fixed seed, stratified by the true class: every
resample has as many images of each class as the data. Within a class only the number of hits
counts, so it is drawn from its binomial distribution, which is exact and takes milliseconds.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

NUM_RESAMPLES = 10_000
_LEVEL = 0.95


class Interval(NamedTuple):
    """A figure and the bounds of its interval; NaN where there are no images."""

    value: float
    low: float
    high: float


class Pair(NamedTuple):
    """The same for accuracy and for macro recall."""

    accuracy: Interval
    macro_recall: Interval


def wilson(hits: int, num: int) -> Interval:
    """The share of hits among `num` images with its Wilson score interval.

    It keeps its level for few images and for shares near 0 and 1, where a bootstrap has no width
    (Brown, Cai and DasGupta 2001, https://doi.org/10.1214/ss/1009213286).

    >>> [round(x, 3) for x in wilson(30, 30)]
    [1.0, 0.886, 1.0]
    """
    from scipy.stats import binomtest

    if num == 0:
        return Interval(np.nan, np.nan, np.nan)
    bounds = binomtest(hits, num).proportion_ci(_LEVEL, method="wilson")
    return Interval(hits / num, float(bounds.low), float(bounds.high))


def confusion_intervals(confusion: Int[np.ndarray, "class class"]) -> Pair:
    """Accuracy and macro recall of a confusion matrix; rows are true classes."""
    hits, num = np.diag(confusion), confusion.sum(axis=1)
    return _pair(_recalls(hits, num), _drawn(hits, num, np.random.default_rng(0)), num)


def separate_difference(
    ours: Int[np.ndarray, "class class"], theirs: Int[np.ndarray, "class class"]
) -> Pair:
    """Ours minus theirs, from two confusion matrices alone.

    They are resampled separately, as if each had images of its own. For the same images this is too
    wide, because what is hard for one is mostly hard for the other.
    """
    generator = np.random.default_rng(0)
    num = ours.sum(axis=1)
    figures = [(np.diag(matrix), matrix.sum(axis=1)) for matrix in (ours, theirs)]
    value = _recalls(*figures[0]) - _recalls(*figures[1])
    drawn = _drawn(*figures[0], generator) - _drawn(*figures[1], generator)
    return _pair(value, drawn, num)


def paired_difference(
    label: Int[np.ndarray, " image"],
    ours: Bool[np.ndarray, " image"],
    theirs: Bool[np.ndarray, " image"],
) -> Pair:
    """Ours minus theirs on the same images.

    Args:
        label: True classes.
        ours: Whether our answer is right.
        theirs: Whether theirs is.
    """
    generator = np.random.default_rng(0)
    size = int(label.max(initial=-1)) + 1
    num = np.bincount(label, minlength=size)
    gained = np.bincount(label[ours & ~theirs], minlength=size)
    lost = np.bincount(label[theirs & ~ours], minlength=size)
    drawn = np.full((NUM_RESAMPLES, size), np.nan)
    for number in np.flatnonzero(num):
        cells = np.array([gained[number], lost[number], 0]) / num[number]
        cells[2] = 1 - cells[:2].sum()
        counts = generator.multinomial(num[number], cells, size=NUM_RESAMPLES)
        drawn[:, number] = (counts[:, 0] - counts[:, 1]) / num[number]
    return _pair(_recalls(gained, num) - _recalls(lost, num), drawn, num)


def _recalls(
    hits: Int[np.ndarray, " class"], num: Int[np.ndarray, " class"]
) -> Float[np.ndarray, " class"]:
    shares = np.full(len(num), np.nan)
    np.divide(hits, num, out=shares, where=num > 0)
    return shares


def _drawn(
    hits: Int[np.ndarray, " class"],
    num: Int[np.ndarray, " class"],
    generator: np.random.Generator,
) -> Float[np.ndarray, "resample class"]:
    """Resampled recalls; NaN for a class without images.

    A class with no hit or no miss is drawn as if half an image were otherwise: resamples of 30 hits
    in 30 images would all have 30.
    """
    is_extreme = (hits == 0) | (hits == num)
    prob = np.where(is_extreme, (hits + 0.5) / (num + 1), hits / np.maximum(num, 1))
    counts = generator.binomial(num, prob, size=(NUM_RESAMPLES, len(num)))
    shares = np.full(counts.shape, np.nan)
    np.divide(counts, num, out=shares, where=num > 0)
    return shares


def _pair(
    recall: Float[np.ndarray, " class"],
    drawn: Float[np.ndarray, "resample class"],
    num: Int[np.ndarray, " class"],
) -> Pair:
    """Accuracy and macro recall of recalls, over the classes with images."""
    has_images = num > 0
    if not has_images.any():
        nothing = Interval(np.nan, np.nan, np.nan)
        return Pair(nothing, nothing)
    found = []
    for weight in (num[has_images] / num.sum(), np.full(has_images.sum(), 1 / has_images.sum())):
        value = float(recall[has_images] @ weight)
        low, high = np.percentile(drawn[:, has_images] @ weight, [2.5, 97.5])
        found.append(Interval(value, min(value, float(low)), max(value, float(high))))
    return Pair(*found)
