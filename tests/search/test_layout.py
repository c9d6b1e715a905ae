"""Names of trials, and how their rows are compared."""

import math
from typing import Any

import pytest

from fer_ray.search.layout import best_row, trial_name, worst_value
from fer_ray.search.sweep import MetricMode

ROWS: list[dict[str, Any]] = [
    {"epoch": 1, "val/loss": None, "val/accuracy": 0.1},
    {"epoch": 2, "val/loss": 1.5, "val/accuracy": 0.4},
    {"epoch": 3, "val/loss": 0.5, "val/accuracy": 0.4},
    {"epoch": 4, "val/loss": 0.5, "val/accuracy": 0.3},
    {"epoch": 5},
]


@pytest.mark.parametrize(
    ("metric", "mode", "epoch"),
    [("val/loss", "min", 3), ("val/loss", "max", 2), ("val/accuracy", "max", 2)],
)
def test_the_best_row_is_the_first_with_the_best_value(
    metric: str, mode: MetricMode, epoch: int
) -> None:
    found = best_row(ROWS, metric, mode)
    assert found is not None
    assert found["epoch"] == epoch


@pytest.mark.parametrize(("metric", "mode"), [("val/loss", "max"), ("val/accuracy", "max")])
def test_runs_that_keep_the_last_epoch_are_compared_there(metric: str, mode: MetricMode) -> None:
    assert best_row(ROWS[:4], metric, mode, "last") == ROWS[3]
    assert best_row(ROWS, metric, mode, "last") is None


def test_without_a_value_there_is_no_best_row() -> None:
    assert best_row([{"epoch": 1, "val/loss": None}], "val/loss", "min") is None
    assert best_row([], "val/loss", "min") is None


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 14.0])
def test_nothing_is_worse_than_the_worst_value(value: float) -> None:
    assert worst_value("max") < value < worst_value("min")
    assert math.isfinite(worst_value("min"))


def test_trials_are_counted_from_one() -> None:
    assert trial_name({"trial": 0}) == "trial_001"
    assert trial_name({"trial": 1233}) == "trial_1234"
