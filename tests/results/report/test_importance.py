"""Which parameter matters, from how many trials on, and that the direction does not matter."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_ray.results.report.importance import MIN_TRIALS, importances, rate
from fer_ray.results.report.records import SearchFound, Tried
from tests.results.report.search_files import opened


def _tried(number: int, params: dict[str, Any], value: float | None, **changes: Any) -> Tried:
    trial = Tried(
        name=f"trial_{number:03d}",
        status="done",
        params=params,
        value=value,
        best_epoch=1,
        epochs=4,
        planned=4,
        seconds=1.0,
        failure="",
        curve=[],
        command="",
    )
    return replace(trial, **changes)


def _drawn(num: int) -> tuple[list[dict[str, Any]], list[float]]:
    """Trials whose value depends on the learning rate, and hardly on anything else."""
    rng = np.random.default_rng(0)
    params: list[dict[str, Any]] = [
        {
            "optim.learning_rate": float(10 ** rng.uniform(-3, 0)),
            "optim.name": str(rng.choice(["sgd", "adamw"])),
            "optim.batch_size": int(rng.integers(16, 64)),
        }
        for _ in range(num)
    ]
    values = [-float((np.log10(line["optim.learning_rate"]) + 1.5) ** 2) for line in params]
    return params, values


@pytest.fixture
def found(search: Path) -> SearchFound:
    return opened(search)


def test_the_parameter_that_decides_is_rated_first(found: SearchFound) -> None:
    params, values = _drawn(40)
    shares = rate(params, values, found)
    assert next(iter(shares)) == "optim.learning_rate"
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["optim.learning_rate"] > 0.6


def test_negating_metric_and_direction_keeps_the_ranking(found: SearchFound) -> None:
    params, values = _drawn(40)
    other = replace(found, mode="min")
    shares, negated = rate(params, values, found), rate(params, [-x for x in values], other)
    assert list(shares) == list(negated)
    assert list(shares.values()) == pytest.approx(list(negated.values()))


def test_too_few_trials_say_nothing(found: SearchFound) -> None:
    params, values = _drawn(MIN_TRIALS)
    trials = [_tried(*one) for one in zip(range(MIN_TRIALS), params, values, strict=True)]
    (whole,) = importances(replace(found, trials=trials))
    assert len(whole.shares) == 3
    (few,) = importances(replace(found, trials=trials[1:]))
    assert few.shares == {}
    assert few.reason == "3 parameters need at least 10 trials with a result, and there are 9"


def test_stopped_trials_count_and_failed_ones_do_not(found: SearchFound) -> None:
    params, values = _drawn(14)
    trials = [_tried(*one) for one in zip(range(14), params, values, strict=True)]
    trials[0] = replace(trials[0], status="failed", failure="OSError: x")
    trials[1] = replace(trials[1], status="stopped")
    trials[2] = replace(trials[2], value=None)
    (one,) = importances(replace(found, trials=trials))
    assert (one.num_done, one.num_stopped) == (11, 1)
    assert one.shares


def test_parameters_of_some_methods_are_rated_among_their_trials(found: SearchFound) -> None:
    params, values = _drawn(24)
    for number, line in enumerate(params):
        line["method.name"] = ("elr", "eac")[number % 2]
        line[("method.elr_weight", "method.flip_weight")[number % 2]] = number / 24
    trials = [_tried(*one) for one in zip(range(24), params, values, strict=True)]
    whole, elr, eac = importances(replace(found, trials=trials))
    assert "method.name" in whole.shares
    assert not {"method.elr_weight", "method.flip_weight"} & set(whole.shares)
    assert "method.elr_weight" in elr.shares
    assert "method.flip_weight" in eac.shares


def test_nothing_is_said_where_all_trials_are_equal(found: SearchFound) -> None:
    params, _ = _drawn(12)
    (one,) = importances(replace(found, trials=[_tried(i, p, 0.5) for i, p in enumerate(params)]))
    assert one.reason == "all of them have the same value"
