"""The state of a trial, as the table of a search shows it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fer_ray.record.text import Number, metric_text

TrialStatus = Literal["pending", "running", "stopped", "done", "failed", "infeasible"]

# In the order in which the states are counted.
STYLE: dict[TrialStatus, str] = {
    "running": "bold cyan",
    "done": "green",
    "stopped": "yellow",
    "failed": "bold red",
    "infeasible": "magenta",
    "pending": "dim",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """The newest state of a trial.

    Attributes:
        name: Its name.
        status: What it does, or how it ended.
        epoch: Epochs done.
        epochs: Epochs planned.
        metric: The metric after the last epoch.
        best: The trial's best value of the metric so far.
        config: Sampled hyperparameters, flat with dotted keys.
        order: Grows over all trials with every change of a status.
        is_reference: Whether it is what the others are compared with, and none of them.
    """

    name: str
    status: TrialStatus
    epoch: int
    epochs: int
    metric: Number | None
    best: Number | None
    config: Mapping[str, Any]
    order: int
    is_reference: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the trial has ended."""
        return self.status not in ("pending", "running")

    @property
    def can_win(self) -> bool:
        """Whether the trial can be the best of the search."""
        return self.has_result and not self.is_reference

    @property
    def has_result(self) -> bool:
        """Whether what the trial reaches counts."""
        return self.status not in ("failed", "infeasible")

    @property
    def progress(self) -> float:
        """Share of the trial that is over, in [0, 1]."""
        return 1.0 if self.is_over else min(1.0, self.epoch / max(1, self.epochs))

    @property
    def epochs_text(self) -> str:
        """Epochs done of epochs planned, such as `3/12`."""
        return f"{self.epoch}/{self.epochs}"


def best_value(trials: Iterable[Trial], mode: Literal["max", "min"]) -> Number | None:
    """The best finite value of the trials that can win; `None` if there is none."""
    values = [trial.best for trial in trials if trial.can_win and trial.best is not None]
    finite = [value for value in values if math.isfinite(value)]
    pick = max if mode == "max" else min
    return pick(finite, default=None)


def lead_text(best: Number, reference: Trial | None, mode: Literal["max", "min"]) -> str:
    """How far the best value is from the reference's; nothing as long as that has no value.

    >>> lead_text(0.5, None, "max")
    ''
    """
    if reference is None or not reference.has_result:
        return ""
    if reference.best is None or not math.isfinite(reference.best):
        return ""
    ahead = best - reference.best if mode == "max" else reference.best - best
    so_far = "" if reference.is_over else " so far"
    where = "ahead of" if ahead > 0 else "behind"
    distance = f"{metric_text(abs(ahead))} {where}" if ahead else "level with"
    return f"{distance} the reference{so_far}"
