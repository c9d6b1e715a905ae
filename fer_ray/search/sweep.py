"""Reads the parts of a W&B sweep file other than distributions: keys, metric, caps, parameters."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fer_ray.config import RunConfig, check_metric
from fer_ray.core.errors import ConfigError
from fer_ray.search.shapes import is_number

Search = Literal["random", "grid", "bayes"]
MetricMode = Literal["max", "min"]

_FOR_WANDB = ("apiVersion", "kind", "program", "project", "entity", "command", "controller")
_KEYS = (
    *("name", "description", "run", "method", "metric", "run_cap", "early_terminate"),
    *("parameters", "reference", *_FOR_WANDB),
)
_GOALS: dict[str, MetricMode] = {"maximize": "max", "minimize": "min"}
_SEARCHES: dict[str, Search] = {"random": "random", "grid": "grid", "bayes": "bayes"}


@dataclass(frozen=True)
class EarlyTerminate:
    """When weak trials are stopped: `hyperband` in W&B's format, ASHA in Ray.

    Attributes:
        min_iter: Number of epochs before which no trial is stopped, at least 1; `None` until the
            warm-ups of the space are known (see `fer_ray.search.rungs`).
        eta: Every rung keeps one trial in `eta`; above 1.
    """

    min_iter: int | None
    eta: float = 3.0


def check_keys(raw: Iterable[Any], known: Iterable[str], place: str) -> None:
    """Refuse unknown keys.

    Raises:
        ConfigError: If there is one; names it, and the nearest known key or all known keys.
    """
    known = list(known)
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys are {', '.join(known)}"
            raise ConfigError(f"{place}: {key}: unknown key; {hint}")


def check_top_level(raw: Mapping[Any, Any], place: str) -> None:
    """Refuse a file that is not a sweep.

    Raises:
        ConfigError: If a key is unknown, a section is not a section, or nothing is searched.
    """
    check_keys(raw, _KEYS, place)
    for key in ("run", "parameters"):
        if not isinstance(raw.get(key, {}), Mapping):
            raise ConfigError(f"{place}: {key}: expected a section of keys, got {raw[key]!r}")
    if not raw.get("parameters"):
        raise ConfigError(f"{place}: parameters: expected at least one parameter, got none")


def read_search(raw: Mapping[str, Any], place: str) -> Search:
    """Read how values are chosen.

    Raises:
        ConfigError: If `method` is not random, grid or bayes.
    """
    search = raw.get("method")
    if not isinstance(search, str) or search not in _SEARCHES:
        raise ConfigError(
            f"{place}: method: expected random, grid or bayes, got {search!r}; the method to train "
            "with goes under run.method.name"
        )
    return _SEARCHES[search]


def read_metric(raw: Mapping[str, Any], place: str) -> tuple[str, MetricMode]:
    """Read the metric and whether its largest or smallest value is best.

    Without a section `metric`, the metric is that of a default run, and the largest value is best.

    Raises:
        ConfigError: If the metric is not of the validation set, or the goal is missing or unknown.
    """
    for key in ("metric", "mode"):
        if key in raw.get("run", {}):
            raise ConfigError(
                f"{place}: run.{key}: expected beside `run`, as metric: {{name: ..., goal: ...}}"
            )
    metric = raw.get("metric", {"name": RunConfig().metric, "goal": "maximize"})
    if not isinstance(metric, Mapping):
        raise ConfigError(f"{place}: metric: expected {{name: ..., goal: ...}}, got {metric!r}")
    check_keys(metric, ("name", "goal"), f"{place}: metric")
    name, goal = metric.get("name"), metric.get("goal")
    try:
        check_metric(str(name))
    except ValueError as error:
        raise ConfigError(f"{place}: metric.name: {error}") from None
    if not isinstance(goal, str) or goal not in _GOALS:
        raise ConfigError(f"{place}: metric.goal: expected maximize or minimize, got {goal!r}")
    return str(name), _GOALS[goal]


def read_run_cap(raw: Mapping[str, Any], place: str) -> int | None:
    """Read the number of trials; `None` if the file does not say.

    Raises:
        ConfigError: If it is not a whole number of at least 1.
    """
    cap = raw.get("run_cap")
    if cap is None or (type(cap) is int and cap >= 1):
        return cap
    raise ConfigError(f"{place}: run_cap: expected a whole number of at least 1, got {cap!r}")


def read_early_terminate(raw: Mapping[str, Any], place: str) -> EarlyTerminate | None:
    """Read when trials are stopped early; `None` if the file does not say.

    Raises:
        ConfigError: If the type is not hyperband, or a number is missing or out of range.
    """
    stop, where = raw.get("early_terminate"), f"{place}: early_terminate"
    if stop is None:
        return None
    if not isinstance(stop, Mapping) or stop.get("type") != "hyperband":
        got = stop.get("type") if isinstance(stop, Mapping) else stop
        raise ConfigError(
            f"{where}.type: expected {{type: hyperband, min_iter: 4, eta: 3}}, got {got!r}"
        )
    check_keys(stop, ("type", "min_iter", "eta"), where)
    min_iter, eta = stop.get("min_iter"), stop.get("eta", 3)
    if min_iter is not None and (type(min_iter) is not int or min_iter < 1):
        raise ConfigError(
            f"{where}.min_iter: expected a whole number of epochs of at least 1, or nothing; "
            f"got {min_iter!r}"
        )
    if not is_number(eta) or eta <= 1:
        raise ConfigError(f"{where}.eta: expected a number above 1, got {eta!r}")
    return EarlyTerminate(min_iter, float(eta))


def flat_parameters(raw: Mapping[Any, Any], place: str, prefix: str = "") -> dict[str, Any]:
    """Return parameters by dotted key, from W&B's nested form or from dotted keys.

    Args:
        raw: The section `parameters`.
        place: The file, for messages.
        prefix: Dotted key of `raw` with a dot at its end, if it is nested.

    Raises:
        ConfigError: If a key is not text, is given in both forms, or mixes both kinds of content.
    """
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        dotted = f"{prefix}{key}"
        where = f"{place}: parameters.{dotted}"
        if not isinstance(key, str) or not all(dotted.split(".")):
            raise ConfigError(f"{where}: expected a dotted key such as optim.epochs, got {key!r}")
        found = {dotted: value}
        if isinstance(value, Mapping) and "parameters" in value:
            inner = value["parameters"]
            if len(value) > 1 or not isinstance(inner, Mapping) or not inner:
                raise ConfigError(
                    f"{where}: expected `parameters` alone, with keys below it, got {dict(value)}"
                )
            found = flat_parameters(inner, place, f"{dotted}.")
        for name in found.keys() & flat.keys():
            raise ConfigError(
                f"{place}: parameters.{name}: expected once, got both a dotted and a nested key"
            )
        flat |= found
    return flat
