"""Names in the folder of a search, and how the rows of trials are compared."""

from collections.abc import Mapping, Sequence
from typing import Any

from fer_ray.config import RunConfig, Select
from fer_ray.search.space import SearchSpace, trial_params
from fer_ray.search.sweep import MetricMode

SEARCH = "search.yaml"
"""The space and the overrides that the search was started with."""
WARMUP = "warmup"
"""Warm-ups that trials share; deleted at the end of the search."""
FAILURE = "failure.json"
PARAMS = "params.json"
DRAW = "draw.json"
"""What Optuna drew for a trial; a resumed search gives it back to Optuna."""
END = "end.json"
"""How a trial ended, with its last value of the metric; without it, a trial goes on."""
DEFAULT = "trial_001"
"""Name of the trial with the default configuration, which is always the first."""
REFERENCE = "reference"
"""Name of the trial that trains the space's reference."""
REFERENCE_CONFIG: Mapping[str, Any] = {"trial": -1}
"""Its configuration for Tune: it has no sampled values."""
_WORST = {"max": -1.0, "min": 1e9}


def trial_name(config: Mapping[str, Any]) -> str:
    """Return the name of a configuration's trial, which is the name of its folder too."""
    return REFERENCE if is_reference(config) else f"trial_{config['trial'] + 1:03d}"


def is_reference(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration is that of the reference."""
    return bool(config["trial"] == REFERENCE_CONFIG["trial"])


def run_of(space: SearchSpace, config: Mapping[str, Any]) -> RunConfig:
    """Return the run of a configuration as Tune passes it.

    Raises:
        ConfigError: If a value does not fit the run.
    """
    if is_reference(config):
        assert space.reference is not None
        return space.reference
    return space.run_config(sampled(config))


def sampled(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampled values by dotted key, without the trial's number and Optuna's helpers.

    >>> sampled({"optim.epochs": 3, "u:optim.epochs": 0.5, "trial": 0})
    {'optim.epochs': 3}
    """
    return {key: value for key, value in trial_params(config).items() if key != "trial"}


def best_row(
    rows: Sequence[Mapping[str, Any]], metric: str, mode: MetricMode, select: Select = "best"
) -> Mapping[str, Any] | None:
    """Return the row by which a trial is compared with others; `None` if it has no value.

    It is the first with the best value of the metric, or the `last` one: that of the epoch whose
    networks are tested.
    """
    considered = rows[-1:] if select == "last" else rows
    scored = [row for row in considered if row.get(metric) is not None]
    sign = 1 if mode == "max" else -1
    return max(scored, key=lambda row: sign * float(row[metric]), default=None)


def worst_value(mode: MetricMode) -> float:
    """Return what an infeasible trial reports: a finite number worse than any value of a metric."""
    return _WORST[mode]
