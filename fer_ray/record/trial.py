"""The state of a trial, as the table of a search shows it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fer_ray.record.text import Number

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
    """

    name: str
    status: TrialStatus
    epoch: int
    epochs: int
    metric: Number | None
    best: Number | None
    config: Mapping[str, Any]
    order: int

    @property
    def is_over(self) -> bool:
        """Whether the trial has ended."""
        return self.status not in ("pending", "running")

    @property
    def can_win(self) -> bool:
        """Whether the trial can be the best of the search."""
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
