"""Reads the parts of a W&B sweep file other than distributions: keys, metric, caps, parameters."""

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from fer_ray.config import RunConfig, check_metric
from fer_ray.core.errors import ConfigError
from fer_ray.search.shapes import is_number

Search = Literal["random", "grid", "bayes"]
MetricMode = Literal["max", "min"]

_TEXTS = ("apiVersion", "kind", "program", "project", "entity", "description")
FOR_AGENTS = ("program", "command", "controller", "apiVersion", "kind")
"""Keys that `wandb sweep` and `wandb agent` read, and a search of this package does not need."""
OWN_KEYS = ("run", "reference", "margin")
"""Keys of this package, which W&B does not know."""
_KEYS = (
    *("name", *OWN_KEYS, "method", "metric", "run_cap", "early_terminate", "parameters"),
    *("command", "controller", *_TEXTS),
)
_REFUSED = {
    "job": "it is for W&B Launch, and trials run on Ray. Leave it out",
    "image_uri": "it is for W&B Launch, and trials run on Ray. Leave it out",
    "metrics": "a search has one metric. Write metric: {name: ..., goal: ...}",
    "scheduler": "Ray Tune schedules the trials. Leave it out, or write early_terminate",
    "settings": "they are for W&B's own agents. Leave it out",
}
_NOT_IMPUTED = "a trial that fails has no value here, and the search goes on. Leave it out"
_GOALS: dict[str, MetricMode] = {"maximize": "max", "minimize": "min"}
_SEARCHES: dict[str, Search] = {"random": "random", "grid": "grid", "bayes": "bayes"}


def check_keys(
    raw: Iterable[Any],
    known: Iterable[str],
    place: str,
    refused: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuse unknown keys.

    Args:
        raw: The keys of a section.
        known: Those that are read.
        place: The section, for messages.
        refused: Keys of W&B that are not, and why.

    Raises:
        ConfigError: If there is one; names it, and the nearest known key or all known keys.
    """
    known = list(known)
    for key in raw:
        if key in refused:
            raise ConfigError(f"{place}: {key}: not for a search of fer_ray: {refused[key]}")
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys are {', '.join(known)}"
            raise ConfigError(f"{place}: {key}: unknown key; {hint}")


def check_top_level(raw: Mapping[Any, Any], place: str) -> None:
    """Refuse a file that is not a sweep.

    Raises:
        ConfigError: If a key is unknown, a section is not a section, or nothing is searched.
    """
    check_keys(raw, _KEYS, place, _REFUSED)
    for key in _TEXTS:
        if not isinstance(raw.get(key, ""), str):
            raise ConfigError(f"{place}: {key}: expected text, got {raw[key]!r}")
    command = raw.get("command", [])
    if not isinstance(command, list) or not all(isinstance(x, str | int | float) for x in command):
        raise ConfigError(
            f"{place}: command: expected a list of words, such as ['${{env}}', python, -m, "
            f"fer_ray.train, '${{args_no_hyphens}}'], got {command!r}"
        )
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
    Without a goal, a loss is minimized, which is W&B's default.

    Raises:
        ConfigError: If the metric is not of the validation set, or the goal is missing or unknown.
    """
    for key in ("metric", "mode"):
        if key in raw.get("run", {}):
            raise ConfigError(
                f"{place}: run.{key}: expected beside `run`, as metric: {{name: ..., goal: ...}}"
            )
    metric = _metric_section(raw, place)
    name = str(metric.get("name"))
    try:
        check_metric(name)
    except ValueError as error:
        raise ConfigError(f"{place}: metric.name: {error}") from None
    if "goal" not in metric and not name.endswith("loss"):
        raise ConfigError(
            f"{place}: metric.goal: expected maximize or minimize, got nothing, which is minimize "
            f"for W&B and would search for the worst {name}. Write goal: maximize"
        )
    goal = metric.get("goal", "minimize")
    if not isinstance(goal, str) or goal not in _GOALS:
        raise ConfigError(f"{place}: metric.goal: expected maximize or minimize, got {goal!r}")
    return name, _GOALS[goal]


def read_target(raw: Mapping[str, Any], place: str) -> float | None:
    """Read the value of the metric at which no trial is started any more; `None` for no such value.

    Raises:
        ConfigError: If it is not a number.
    """
    target = _metric_section(raw, place).get("target")
    if target is None or is_number(target):
        return target
    raise ConfigError(f"{place}: metric.target: expected a number, got {target!r}")


def _metric_section(raw: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    metric = raw.get("metric", {"name": RunConfig().metric, "goal": "maximize"})
    if not isinstance(metric, Mapping):
        raise ConfigError(f"{place}: metric: expected {{name: ..., goal: ...}}, got {metric!r}")
    refused = dict.fromkeys(("impute", "impute_while_running"), _NOT_IMPUTED)
    check_keys(metric, ("name", "goal", "target"), f"{place}: metric", refused)
    return metric


def read_run_cap(raw: Mapping[str, Any], place: str) -> int | None:
    """Read the number of trials; `None` if the file does not say.

    Raises:
        ConfigError: If it is not a whole number of at least 1.
    """
    cap = raw.get("run_cap")
    if cap is None or (type(cap) is int and cap >= 1):
        return cap
    raise ConfigError(f"{place}: run_cap: expected a whole number of at least 1, got {cap!r}")


def read_margin(raw: Mapping[str, Any], place: str) -> float:
    """Read by how many standard errors the best trial must be ahead of the first; 0 by default.

    Raises:
        ConfigError: If it is not a number of at least 0.
    """
    margin = raw.get("margin", 0)
    if is_number(margin) and margin >= 0:
        return float(margin)
    raise ConfigError(
        f"{place}: margin: expected a number of standard errors, 0 or more, got {margin!r}"
    )


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
