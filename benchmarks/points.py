"""Figures of saved predictions: operating points, the curve between them, paired intervals.

Pure NumPy. With predictions p and their mean m over the test images, an operating point multiplies
p by weights per class and answers the largest: p * prior / m answers as if the classes had the
shares `prior`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

EXPONENTS = tuple(np.round(np.linspace(-0.5, 1.5, 21), 2).tolist())
"""Points of the curve: prior ** exponent / m; 0 is the balanced point, 1 the natural one."""
_TINY = 1e-9


def answers(
    prob: Float[np.ndarray, "image class"], prior: Float[np.ndarray, " class"] | None
) -> Int[np.ndarray, " image"]:
    """Return the class answered for every image at an operating point.

    Args:
        prob: Predictions; rows sum to 1.
        prior: Positive shares of the classes, in any scale; `None` answers as trained.

    >>> prob = np.array([[0.6, 0.4], [0.8, 0.2]])
    >>> answers(prob, None), answers(prob, np.array([0.5, 0.5]))
    (array([0, 0]), array([1, 0]))
    """
    weight = 1.0 if prior is None else prior / np.maximum(prob.mean(axis=0), _TINY)
    answer: np.ndarray = (prob * weight).argmax(axis=1)
    return answer


def accuracy_and_recall(
    label: Int[np.ndarray, " image"], answer: Int[np.ndarray, " image"]
) -> tuple[float, float]:
    """Return the accuracy and the macro recall, over the classes that have images."""
    is_right = label == answer
    recalls = [is_right[label == number].mean() for number in np.unique(label)]
    return float(is_right.mean()), float(np.mean(recalls))


def curve(
    prob: Float[np.ndarray, "image class"],
    label: Int[np.ndarray, " image"],
    exponents: Sequence[float] = EXPONENTS,
) -> list[tuple[float, float]]:
    """Return accuracy and macro recall at `prior ** exponent`, where `prior` is that of `label`."""
    prior = shares(label, prob.shape[1])
    return [
        accuracy_and_recall(label, answers(prob, np.maximum(prior, _TINY) ** exponent))
        for exponent in exponents
    ]


def shares(label: Int[np.ndarray, " image"], num_classes: int) -> Float[np.ndarray, " class"]:
    """Return the share of every class; labels of -1 do not count."""
    counts = np.bincount(label[label >= 0], minlength=num_classes)
    result: np.ndarray = counts / counts.sum()
    return result


def bootstrap(
    label: Int[np.ndarray, " image"],
    hits: Mapping[str, Float[np.ndarray, " image"] | Bool[np.ndarray, " image"]],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    is_macro: bool = False,
) -> dict[str, Float[np.ndarray, " resample"]]:
    """Return the accuracy (or the macro recall) of every case on the same resamples of the images.

    The operating point is that of all images: only the images that are counted are resampled. A
    resample in which a class has no image averages over the other classes.

    Args:
        label: True labels.
        hits: By case, how often an image is answered right, in [0, 1]: the mean over seeds; or the
            difference of two such, in [-1, 1].
        num_resamples: Number of resamples.
        seed: Seed of the resamples.
        is_macro: Whether classes count the same, whatever their number of images.
    """
    generator = np.random.default_rng(seed)
    num, groups = len(label), _groups(label, is_macro=is_macro)
    parts: dict[str, list[float]] = {name: [] for name in hits}
    for _ in range(num_resamples):
        weight = np.bincount(generator.integers(num, size=num), minlength=num)
        size = weight @ groups
        for name, hit in hits.items():
            parts[name].append(_mean_of_groups((weight * hit) @ groups, size))
    return {name: np.array(values) for name, values in parts.items()}


def mean_hit(
    label: Int[np.ndarray, " image"], hit: Float[np.ndarray, " image"], *, is_macro: bool
) -> float:
    """Return what `bootstrap` resamples: the mean over images, or that of the classes' means."""
    groups = _groups(label, is_macro=is_macro)
    return _mean_of_groups(hit @ groups, groups.sum(axis=0))


def _groups(
    label: Int[np.ndarray, " image"], *, is_macro: bool
) -> Float[np.ndarray, "image group"]:
    """Which images are averaged before groups are: those of a class, or all."""
    return np.eye(label.max() + 1)[label] if is_macro else np.ones((len(label), 1))


def _mean_of_groups(right: np.ndarray, size: np.ndarray) -> float:
    """Mean over groups that have an image of their share of right answers."""
    return float((right[size > 0] / size[size > 0]).mean())


def interval(values: Float[np.ndarray, " resample"]) -> tuple[float, float]:
    """Return the middle 95 % of the resampled values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
