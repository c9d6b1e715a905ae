"""How far a run is ahead of another, and how sure that is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fer_ray.core.intervals import (
    Interval,
    Pair,
    confusion_intervals,
    paired_difference,
    separate_difference,
)
from fer_ray.core.operating_points import POINTS
from fer_ray.results.report.records import CHOSEN, Answers, Trained

Measure = Literal["accuracy", "macro_recall"]
MEASURES: tuple[Measure, ...] = ("accuracy", "macro_recall")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Ours minus theirs.

    Attributes:
        other: Name of the other.
        points: By operating point.
        is_paired: Whether image by image; else the two were resampled separately.
    """

    other: str
    points: Mapping[str, Pair]
    is_paired: bool


def compare(ours: Answers, theirs: Answers, other: str) -> Comparison:
    """Compare two runs on the test set, image by image where both kept their predictions."""
    is_paired = (
        ours.label is not None
        and theirs.label is not None
        and np.array_equal(ours.label, theirs.label)
    )
    points = {}
    for point in (CHOSEN, *POINTS):
        right = ours.is_right(point), theirs.is_right(point)
        if is_paired and ours.label is not None and right[0] is not None and right[1] is not None:
            points[point] = paired_difference(ours.label, right[0], right[1])
        else:
            points[point] = separate_difference(ours.confusion[point], theirs.confusion[point])
    return Comparison(other=other, points=points, is_paired=is_paired)


def validation_pair(run: Trained) -> Pair:
    """Accuracy and macro recall on validation, in the epoch that is shown."""
    return confusion_intervals(validation_confusion(run))


def validation_confusion(run: Trained) -> np.ndarray:
    """int64 [given class, answered class]: of the validation images in the epoch that is shown."""
    return np.array(run.shown_row["val/confusion"], dtype=np.int64)


def judged_by(metric: str) -> tuple[str, Measure]:
    """The operating point and the figure of a test that are nearest to a metric of validation.

    >>> judged_by("val/corrected/natural/accuracy"), judged_by("val/loss")
    (('natural', 'accuracy'), ('chosen', 'macro_recall'))
    """
    parts = metric.split("/")
    point = next((name for name in POINTS if name in parts), CHOSEN)
    return point, "accuracy" if parts[-1] == "accuracy" else "macro_recall"


def standing(difference: Interval) -> Literal["ahead", "behind", "level", "unknown"]:
    """Whether an interval leaves open who is ahead.

    >>> standing(Interval(0.1, 0.02, 0.2)), standing(Interval(0.1, -0.02, 0.2))
    ('ahead', 'level')
    """
    if not math.isfinite(difference.value):
        return "unknown"
    if difference.low > 0:
        return "ahead"
    return "behind" if difference.high < 0 else "level"
