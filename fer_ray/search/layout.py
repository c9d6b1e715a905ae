"""What a search's folder holds, by name, and how its rows are judged."""

from collections.abc import Mapping, Sequence
from typing import Any

from fer_ray.record.storage import Folder
from fer_ray.search.space import trial_params
from fer_ray.search.sweep import MetricMode

SEARCH = "search.yaml"
"""The space and the overrides that the search was begun with."""
TRAIN_RUNS = "train_runs"
"""Ray Train's own folders, of trials with several workers."""
WARMUP = "warmup"
"""Warm-ups that trials share, while the search runs."""
FAILURE = "failure.json"
PARAMS = "params.json"
TRAIN_NAME = "train"
_WORST = {"max": -1.0, "min": 1e9}


def trial_name(config: Mapping[str, Any]) -> str:
    """The name of the trial that a configuration belongs to; its folder has it too."""
    return f"trial_{config['trial'] + 1:03d}"


def sampled(config: Mapping[str, Any]) -> dict[str, Any]:
    """What was sampled, by dotted key, without the trial's number and Optuna's helpers.

    >>> sampled({"optim.epochs": 3, "u:optim.epochs": 0.5, "trial": 0})
    {'optim.epochs': 3}
    """
    return {key: value for key, value in trial_params(config).items() if key != "trial"}


def checkpoints_of(search: Folder, trial: str) -> Folder:
    """Where a trial's checkpoints lie: in its own folder, or in that of its Train run."""
    nested = search / TRAIN_RUNS / trial / TRAIN_NAME
    return nested if nested.exists() else search / trial


def best_row(
    rows: Sequence[Mapping[str, Any]], metric: str, mode: MetricMode
) -> Mapping[str, Any] | None:
    """The row with the best value of a metric, the first of equals; `None` if none has one."""
    scored = [row for row in rows if row.get(metric) is not None]
    sign = 1 if mode == "max" else -1
    return max(scored, key=lambda row: sign * float(row[metric]), default=None)


def worst_value(mode: MetricMode) -> float:
    """What an infeasible trial reports: worse than any value of a metric can be."""
    return _WORST[mode]
