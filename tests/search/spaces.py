"""Search spaces that several tests use."""

from typing import Any

import pytest

from fer_ray.search.reading import parse_space
from fer_ray.search.space import SearchSpace

FEAR = "method.thresholds.fear"
CONDITIONAL: dict[str, Any] = {
    "method.penalty_weight": {"distribution": "log_uniform_values", "min": 0.1, "max": 10},
    "method.alpha": {"values": [1.0, 4.0]},
    FEAR: {"distribution": "q_uniform", "min": 0.2, "max": 0.8, "q": 0.1},
    "optim.momentum": {"distribution": "normal", "mu": 0.8, "sigma": 0.04},
    "method.name": {"values": ["cross_entropy", "co_divide", "dividemix"]},
}


def space_of(parameters: Any = None, **changes: Any) -> SearchSpace:
    """Read a random search of some parameters of co_divide; `changes` replace other keys."""
    default = {FEAR: {"min": 0.2, "max": 0.9}}
    raw = {"method": "random", "parameters": default if parameters is None else parameters}
    raw |= changes
    run = raw.get("run", {})
    if isinstance(run, dict):
        raw["run"] = {"method": "co_divide", **run}
    return parse_space(raw, "file")


def same(got: Any, expected: dict[str, Any]) -> bool:
    """Return whether two configurations are equal, floats within rounding."""
    return bool(got.keys() == expected.keys()) and all(
        got[key] == (pytest.approx(value) if isinstance(value, float) else value)
        for key, value in expected.items()
    )
