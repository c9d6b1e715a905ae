"""Label noise and class imbalance with known truth. Pure: numpy only."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

_ROW_SUM_TOLERANCE = 1e-6

# Rows: FER+ majority; columns: FER2013 label; both angry, disgust, fear, happy, sad, surprise,
# neutral, the order of the published table.
_FER2013_TABLE = (
    (0.780, 0.025, 0.137, 0.008, 0.034, 0.010, 0.005),
    (0.151, 0.798, 0.034, 0.000, 0.008, 0.008, 0.000),
    (0.043, 0.004, 0.818, 0.006, 0.019, 0.111, 0.000),
    (0.012, 0.001, 0.012, 0.899, 0.006, 0.028, 0.042),
    (0.077, 0.021, 0.236, 0.002, 0.604, 0.006, 0.054),
    (0.031, 0.001, 0.160, 0.037, 0.010, 0.756, 0.006),
    (0.114, 0.003, 0.124, 0.036, 0.241, 0.019, 0.463),
)
_FER2013_TO_CANONICAL = (6, 3, 4, 5, 2, 1, 0)


def _fer2013_transition() -> Float64[np.ndarray, "7 7"]:
    """The table in canonical class order; rows, rounded when published, sum to one again."""
    order = np.array(_FER2013_TO_CANONICAL)
    table: np.ndarray = np.array(_FER2013_TABLE)[np.ix_(order, order)]
    table /= table.sum(axis=1, keepdims=True)
    table.setflags(write=False)
    return table


FER2013_TRANSITION: Float64[np.ndarray, "7 7"] = _fer2013_transition()
"""P(label given | true class) of FER2013, read-only.

Rows are true classes, columns given labels, both neutral, happiness, sadness, surprise, fear,
disgust, anger. Measured on the 24,941 Training images of FER2013 (Goodfellow et al. 2013,
arXiv:1307.0414) for which the ten annotators of FER+ (Barsoum et al. 2016, arXiv:1608.01041) agree
on one of the seven classes by majority; that majority is taken as the truth. Weighted by FER+'s
class counts it is 32.0 % noise; of neutral faces 54 % carry another label.
"""


def corrupt_labels(
    label: Int[np.ndarray, " sample"],
    transition: Float[np.ndarray, "true given"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, " sample"]:
    """Draw for every true label the label an annotator would give.

    Args:
        label: True classes in [0, num_classes).
        transition: P(given | true); row i is the distribution of the labels given to class i.
        rng: Source of randomness; one uniform number per sample is drawn.

    Raises:
        ValueError: If `transition` is not square and row-stochastic, or a label has no row in it.

    >>> swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> corrupt_labels(np.array([0, 0, 1]), swap, np.random.default_rng(0))
    array([1, 1, 0])
    """
    _check_transition(transition)
    num_classes = len(transition)
    outside = np.flatnonzero((label < 0) | (label >= num_classes))
    if outside.size:
        raise ValueError(
            f"label[{outside[0]}]: expected a class in [0, {num_classes}), the rows of the "
            f"transition matrix, got {label[outside[0]]}"
        )
    cumulative = np.cumsum(transition, axis=1, dtype=np.float64)
    cumulative /= cumulative[:, -1:]  # rounding must leave no gap below one
    draw = rng.random(len(label))
    given: np.ndarray = (draw[:, None] >= cumulative[label]).sum(axis=1, dtype=np.int64)
    return given


def _check_transition(transition: np.ndarray) -> None:
    """Refuse a matrix whose rows are not distributions.

    Raises:
        ValueError: Naming the first bad row.
    """
    if transition.ndim != 2 or transition.shape[0] != transition.shape[1] or not transition.size:
        raise ValueError(f"transition: expected a square matrix, got shape {transition.shape}")
    for i, row in enumerate(transition):
        if not np.all(np.isfinite(row)) or row.min() < 0:
            raise ValueError(f"transition row {i}: expected probabilities >= 0, got {row.tolist()}")
        if abs(row.sum() - 1) > _ROW_SUM_TOLERANCE:
            raise ValueError(
                f"transition row {i}: expected a sum of 1 (each row is the distribution of the "
                f"labels given to class {i}), got {row.sum():.6g}; divide the row by its sum"
            )


def symmetric_transition(
    num_classes: int, rate: float
) -> Float64[np.ndarray, "num_classes num_classes"]:
    """Every label is wrong with probability `rate`, evenly among the *other* classes.

    The true class is never drawn as the wrong one, so `rate` is the noise itself. (Papers that
    draw from all classes call "rate" what is here `rate * num_classes / (num_classes - 1)`.)

    Raises:
        ValueError: If there are fewer than two classes or `rate` is outside [0, 1].

    >>> symmetric_transition(3, 0.5).tolist()
    [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    """
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2, got {num_classes}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: expected a share in [0, 1], got {rate}")
    transition = np.full((num_classes, num_classes), rate / (num_classes - 1))
    np.fill_diagonal(transition, 1 - rate)
    return transition


def pair_transition(
    num_classes: int, flips: Mapping[tuple[int, int], float]
) -> Float64[np.ndarray, "num_classes num_classes"]:
    """Labels go astray along given pairs only: asymmetric noise.

    Args:
        num_classes: How many classes there are.
        flips: Probability in [0, 1] that (true class, given label) happens; of different classes.

    Raises:
        ValueError: If a pair's classes are the same or unknown, or the flips of a class do not
            leave a probability for its right label.

    >>> pair_transition(2, {(0, 1): 0.25}).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """
    transition = np.eye(num_classes)
    for (true, given), rate in flips.items():
        if true == given or not (0 <= true < num_classes and 0 <= given < num_classes):
            raise ValueError(f"flip {true} -> {given}: expected two classes below {num_classes}")
        transition[true, given] += rate
        transition[true, true] -= rate
        if rate < 0 or transition[true, true] < 0:
            raise ValueError(f"flips of class {true}: expected rates >= 0 that sum to at most 1")
    return transition


def proportional_counts(
    num: int, weights: Float[np.ndarray, " num_classes"]
) -> Int64[np.ndarray, " num_classes"]:
    """Share `num` images out in proportion to `weights`, at least one each.

    Largest remainders: the counts sum to `num` exactly, the earlier class wins a tie. A class that
    would get none is given one of the largest class's.

    Raises:
        ValueError: If a weight is not positive or there are fewer images than classes.

    >>> proportional_counts(10, np.array([2.0, 1.0, 1.0]))
    array([5, 3, 2])
    """
    if not (weights.size and np.all(np.isfinite(weights)) and np.all(weights > 0)):
        raise ValueError(f"weights: expected numbers > 0, got {weights.tolist()}")
    if num < len(weights):
        raise ValueError(f"num: expected at least one image for {len(weights)} classes, got {num}")
    share = num * weights / weights.sum()
    counts: np.ndarray = np.floor(share).astype(np.int64)
    order = np.argsort(counts - share, kind="stable")
    counts[order[: num - counts.sum()]] += 1
    for i in np.flatnonzero(counts == 0):
        counts[np.flatnonzero(counts == counts.max())[-1]] -= 1
        counts[i] = 1
    return counts


def long_tailed_counts(
    num: int, num_classes: int, imbalance: float
) -> Int64[np.ndarray, " num_classes"]:
    """Images per class that fall off exponentially and sum to `num`.

    The first class has about `imbalance` times the images of the last (Cui et al. 2019,
    arXiv:1901.05555, section 5.1: n_i proportional to mu**i).

    Raises:
        ValueError: If `imbalance` < 1, there is no class, or there are fewer images than classes.

    >>> long_tailed_counts(70, 3, 4.0)
    array([40, 20, 10])
    """
    if num_classes < 1:
        raise ValueError(f"num_classes: expected at least 1, got {num_classes}")
    if not 1 <= imbalance < np.inf:
        raise ValueError(
            f"imbalance: expected largest class over smallest class >= 1, got {imbalance}"
        )
    exponent = np.arange(num_classes) / max(num_classes - 1, 1)
    return proportional_counts(num, np.power(float(imbalance), -exponent))


def long_tailed_rows(
    label: Int[np.ndarray, " sample"], imbalance: float, rng: np.random.Generator
) -> Int64[np.ndarray, " kept"]:
    """Rows to keep so that classes fall off exponentially, by rank of their frequency.

    The most frequent class is kept whole, the r-th of C has at most imbalance^(-r / (C - 1)) of its
    images, and none fewer than one (Cui et al. 2019, arXiv:1901.05555, section 5.1).

    Args:
        label: Classes >= 0.
        imbalance: Largest over smallest class, at least 1; more where a class has too few already.
        rng: Chooses the rows.

    Raises:
        ValueError: If `imbalance` < 1.

    >>> rows = long_tailed_rows(np.repeat([0, 1], 8), 4.0, np.random.default_rng(0))
    >>> np.bincount(np.repeat([0, 1], 8)[rows])
    array([8, 2])
    """
    if not 1 <= imbalance < np.inf:
        raise ValueError(
            f"imbalance: expected largest class over smallest class >= 1, got {imbalance}"
        )
    classes, count = np.unique(label, return_counts=True)
    order = np.argsort(-count, kind="stable")
    kept = []
    for rank, place in enumerate(order):
        share = imbalance ** (-rank / max(len(classes) - 1, 1))
        num = min(int(count[place]), max(1, round(float(count.max()) * share)))
        kept.append(rng.permutation(np.flatnonzero(label == classes[place]))[:num])
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)
