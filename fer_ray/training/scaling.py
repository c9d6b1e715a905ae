"""Strong and weak scaling of a run: which runs are trained, and how their epochs compare."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError

Scaling = Literal["strong", "weak"]
SCALINGS: tuple[Scaling, ...] = ("strong", "weak")
PARTS = ("compute", "communication", "split", "input")
# After fewer steps, the two networks keep very different numbers of labels, so that one worker
# waits for the other.
_WARMUP_STEPS, _MOST_WARMUP = 220, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement.

    Attributes:
        scaling: Whether the batch stays the same (`strong`) or grows with the workers (`weak`).
        num_workers: Number of ranks.
        batch_size: Labelled images per step, over all ranks.
        images_per_s: Training images drawn, divided by the seconds of the whole epoch; the median
            of the epochs measured.
        efficiency: `images_per_s` per worker, relative to the same scaling with the fewest workers
            measured.
        share: Share of rank zero's epoch by part, in [0, 1]: `input` reads images and makes views,
            `communication` waits for gradients and statistics after the backward pass, `split`
            gathers losses, splits and sends the split, `compute` is everything else.
    """

    scaling: Scaling
    num_workers: int
    batch_size: int
    images_per_s: float
    efficiency: float
    share: Mapping[str, float]


def make_cases(
    run: RunConfig,
    num_images: int,
    *,
    workers: Sequence[int],
    num_epochs: int,
    scalings: Sequence[Scaling],
) -> list[tuple[Scaling, RunConfig]]:
    """Make the run of every point and check it. Few images need more epochs of warm-up.

    Args:
        run: The run to measure.
        num_images: Number of training images.
        workers: Numbers of workers to measure.
        num_epochs: Number of epochs to measure, after the warm-up.
        scalings: The kinds of scaling to measure.

    Returns:
        The scaling and the run of every point.

    Raises:
        ConfigError: If a number of workers or epochs is below 1 or does not fit the run.
    """
    counts = sorted(set(workers))
    if counts[0] < 1:
        raise ConfigError(f"--workers: expected at least 1 each, got {counts[0]}")
    if num_epochs < 1:
        raise ConfigError(f"--epochs: expected at least 1, got {num_epochs}")
    # One more, because the first epoch after warm-up does much for the first time and is slower.
    values: dict[str, Any] = {"optim.epochs": 1 + num_epochs}
    if hasattr(run.method, "warmup_epochs"):
        steps = max(1, num_images // run.optim.batch_size)
        warmup = min(_MOST_WARMUP, math.ceil(_WARMUP_STEPS / steps))
        values = {"method.warmup_epochs": warmup, "optim.epochs": warmup + 1 + num_epochs}
    cases: list[tuple[Scaling, RunConfig]] = []
    for scaling in scalings:
        for num in counts:
            batch_size = run.optim.batch_size * (num if scaling == "weak" else 1)
            own = {"workers.num_workers": num, "optim.batch_size": batch_size}
            cases.append((scaling, run.with_values({**values, **own})))
    return cases


def make_point(
    scaling: Scaling, run: RunConfig, rows: Sequence[Mapping[str, Any]], before: Sequence[Point]
) -> Point:
    """Make a point from the medians of the measured epochs.

    Args:
        scaling: Kind of scaling.
        run: The run that was measured.
        rows: The rows of the measured epochs.
        before: The points measured so far; the first of the same scaling is the one to compare to.
    """
    shares = [_shares(row) for row in rows]
    speed = statistics.median(row["time/images_per_s"] for row in rows)
    num = run.workers.num_workers
    first = next((point for point in before if point.scaling == scaling), None)
    alone = first.images_per_s / first.num_workers if first else speed / num
    return Point(
        scaling=scaling,
        num_workers=num,
        batch_size=run.optim.batch_size,
        images_per_s=speed,
        efficiency=speed / (num * alone),
        share={part: statistics.median(share[part] for share in shares) for part in PARTS},
    )


def _shares(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of each part in one epoch; they add up to 1."""
    whole = row["time/epoch_s"]
    share = {
        "communication": row["time/communication_s"] / whole,
        "split": row["time/division_s"] / whole,
        "input": row["time/input_s"] / whole,
    }
    return {"compute": 1 - sum(share.values()), **share}
