"""Reads a search space: what is fixed stands under `run`, what is searched under `parameters`.

A key that no run has, or a value that no run can have, ends here, before anything is started.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.errors import ConfigError
from fer_ray.core.yaml_input import load_yaml
from fer_ray.search.conditions import METHOD_KEY, check_methods, has_key
from fer_ray.search.distributions import parse_domain
from fer_ray.search.domains import Domain
from fer_ray.search.space import SearchSpace
from fer_ray.search.sweep import (
    check_top_level,
    flat_parameters,
    read_early_terminate,
    read_metric,
    read_run_cap,
    read_search,
)


def load_space(path: Path | str, overrides: Mapping[str, Any] | None = None) -> SearchSpace:
    """Read a search space from a file; see `parse_space`.

    Raises:
        ConfigError: If the file cannot be read, is not YAML, or says something that no run can do.
    """
    return parse_space(load_yaml(Path(path)), str(path), overrides)


def parse_space(
    raw: Mapping[str, Any], place: str, overrides: Mapping[str, Any] | None = None
) -> SearchSpace:
    """Read a search space and try its corners.

    Args:
        raw: A W&B sweep configuration with our `run`.
        place: Where it comes from, for messages.
        overrides: Dotted keys of the run that are fixed; such a key is not searched any more.

    Raises:
        ConfigError: If it says something that no run can do; one paragraph with the dotted key.
    """
    check_top_level(raw, place)
    fixed = overrides or {}
    metric, mode = read_metric(raw, place)
    judged = {"metric": fixed.get("metric", metric), "mode": fixed.get("mode", mode)}
    run = with_overrides(_with_section(raw.get("run", {})), {**fixed, **judged})
    every = flat_parameters(raw["parameters"], place)
    searched = {key: value for key, value in every.items() if key not in fixed}
    parameters = {
        key: parse_domain(value, f"{place}: parameters.{key}") for key, value in searched.items()
    }
    check_methods(parameters, run, place)
    default_method = _default_method(run, parameters)
    space = SearchSpace(
        name=str(raw.get("name") or Path(place).stem),
        place=place,
        bases=_bases(run, parameters, default_method, place),
        default_method=default_method,
        search=read_search(raw, place),
        **judged,
        run_cap=read_run_cap(raw, place),
        early_terminate=read_early_terminate(raw, place),
        parameters=parameters,
        source={**raw, "parameters": searched},
    )
    _check_corners(space)
    if space.search == "grid":
        space.grid_points()
    return space


def _with_section(run: Mapping[str, Any]) -> dict[str, Any]:
    """The run with its method as a section, where it is one word."""
    method = run.get("method")
    return {**run, "method": {"name": method}} if isinstance(method, str) else dict(run)


def _default_method(run: Mapping[str, Any], parameters: Mapping[str, Domain]) -> str:
    """The method that a run has without a search, or the nearest one that is searched."""
    section = run.get("method", {})
    named = section.get("name") if isinstance(section, Mapping) else None
    named = RunConfig().method.label if named is None else named
    return str(parameters[METHOD_KEY].nearest(named) if METHOD_KEY in parameters else named)


def _bases(
    run: Mapping[str, Any], parameters: Mapping[str, Domain], default_method: str, place: str
) -> dict[str, RunConfig]:
    """The run of every method; a field that a method does not have is left out of its run.

    Raises:
        ConfigError: If no run can be made of what the file fixes.
    """
    section = run.get("method", {})
    try:
        if METHOD_KEY not in parameters:
            return {default_method: RunConfig.from_dict(run)}
        fixed = section if isinstance(section, Mapping) else {}
        bases = {}
        for method in parameters[METHOD_KEY].grid_values():
            own = {key: x for key, x in fixed.items() if has_key(method, f"method.{key}")}
            bases[method] = RunConfig.from_dict({**run, "method": {**own, "name": method}})
        return bases
    except ConfigError as error:
        raise ConfigError(f"{place}: run: {error}") from None


def _check_corners(space: SearchSpace) -> None:
    """Build the run of every extreme value, alone and in pairs, all else at its default."""
    for method in space.methods:
        named = {METHOD_KEY: method} if METHOD_KEY in space.parameters else {}
        defaults = space.default_params(method)
        for key, value in defaults.items():
            _try(space, named, {key: value})
        _try(space, defaults, {})
        ends = [
            (key, value)
            for key, domain in space.active(method).items()
            for value in ([] if key == METHOD_KEY else domain.corners())
        ]
        for end in ends:
            _try(space, defaults, dict([end]))
        for first, second in itertools.combinations(ends, 2):
            if first[0] != second[0]:
                _try(space, defaults, dict([first, second]))


def _try(space: SearchSpace, params: Mapping[str, Any], blamed: Mapping[str, Any]) -> None:
    try:
        space.run_config({**params, **blamed})
    except ConfigError as error:
        what = " with ".join(f"parameters.{key}={value!r}" for key, value in blamed.items())
        raise ConfigError(f"{space.place}: {what or 'the default values'}: {error}") from None
