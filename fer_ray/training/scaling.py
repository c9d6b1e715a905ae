"""Strong and weak scaling of a run: what is trained, and how the epochs compare."""

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
# After fewer steps the networks keep very different numbers of labels, in turn, and one worker
# waits for the other.
_WARMUP_STEPS, _MOST_WARMUP = 220, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement.

    Attributes:
        scaling: Whether the batch stays (`strong`) or grows with the workers (`weak`).
        num_workers: Ranks.
        batch_size: Labelled images a step, over all ranks.
        images_per_s: Images drawn for training over the seconds of the whole epoch; the median of
            the epochs measured.
        efficiency: `images_per_s` over `num_workers` times that of one worker (of the fewest
            workers measured, if one was not).
        share: Of an epoch of rank zero, in [0, 1], by part: `input` reads images and makes views,
            `communication` waits for gradients and statistics once the backward is done, `split`
            gathers losses, divides and hands the split on, `compute` is all the rest.
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
    """The run of every point, checked; its warm-up is as short as the training images allow.

    Args:
        run: What is measured.
        num_images: Training images.
        workers: Numbers of workers.
        num_epochs: Epochs measured, after warm-up.
        scalings: Which scalings.

    Raises:
        ConfigError: If a number of workers or epochs is no such number, or does not fit the run.
    """
    counts = sorted(set(workers))
    if counts[0] < 1:
        raise ConfigError(f"--workers: at least 1 each, got {counts[0]}")
    if num_epochs < 1:
        raise ConfigError(f"--epochs: at least 1, got {num_epochs}")
    # One more: in the first epoch after warm-up much happens for the first time.
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
    """The medians of the measured epochs, compared with the fewest workers."""
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
    """Shares of one epoch by part; they add up to 1."""
    whole = row["time/epoch_s"]
    share = {
        "communication": row["time/communication_s"] / whole,
        "split": row["time/division_s"] / whole,
        "input": row["time/input_s"] / whole,
    }
    return {"compute": 1 - sum(share.values()), **share}
