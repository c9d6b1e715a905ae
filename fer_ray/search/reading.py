"""Reads a search space: `run` holds what is fixed, `parameters` what is searched.

Unknown keys, and values that no run can have, are refused here, before anything starts.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.errors import ConfigError
from fer_ray.core.yaml_input import load_yaml
from fer_ray.search.conditions import METHOD_KEY, check_methods, has_key
from fer_ray.search.distributions import parse_domain
from fer_ray.search.domains import Domain
from fer_ray.search.early_terminate import read_early_terminate
from fer_ray.search.near import Near, is_near, parse_near
from fer_ray.search.reference import read_reference
from fer_ray.search.rungs import with_first_rung
from fer_ray.search.space import SearchSpace
from fer_ray.search.sweep import (
    check_top_level,
    flat_parameters,
    read_margin,
    read_metric,
    read_run_cap,
    read_search,
    read_target,
)


def load_space(path: Path | str, overrides: Mapping[str, Any] | None = None) -> SearchSpace:
    """Read a search space from a file; see `parse_space`.

    Raises:
        ConfigError: If the file cannot be read, is not YAML, or allows a run that is not valid.
    """
    return parse_space(load_yaml(Path(path)), str(path), overrides)


def parse_space(
    raw: Mapping[str, Any], place: str, overrides: Mapping[str, Any] | None = None
) -> SearchSpace:
    """Read a search space, and check it by building the runs of its extreme values.

    Args:
        raw: A W&B sweep configuration with an additional section `run`.
        place: Where it comes from, for messages.
        overrides: Fixed values by dotted key; these keys are no longer searched.

    Raises:
        ConfigError: If it allows a run that is not valid; one paragraph with the dotted key.
    """
    check_top_level(raw, place)
    fixed = overrides or {}
    metric, mode = read_metric(raw, place)
    optimised = {"metric": fixed.get("metric", metric), "mode": fixed.get("mode", mode)}
    run = with_overrides(_with_section(raw.get("run", {})), {**fixed, **optimised})
    every = flat_parameters(raw["parameters"], place)
    searched = {key: value for key, value in every.items() if key not in fixed}
    domains = _domains(every, fixed, place)
    parameters = {key: domains[key] for key in searched}
    check_methods(parameters, run, place)
    default_method = _default_method(run, parameters)
    space = SearchSpace(
        name=str(raw.get("name") or Path(place).stem),
        place=place,
        bases=_bases(run, parameters, default_method, place),
        default_method=default_method,
        search=read_search(raw, place),
        **optimised,
        run_cap=read_run_cap(raw, place),
        early_terminate=read_early_terminate(raw, place),
        target=read_target(raw, place),
        margin=read_margin(raw, place),
        parameters=parameters,
        source={
            **raw,
            "parameters": {
                key: every[value["around"]] if is_near(value) else value
                for key, value in searched.items()
            },
        },
    )
    _check_corners(space)
    space = replace(with_first_rung(space), reference=read_reference(raw, space))
    if space.search == "grid":
        space.grid_points()
    return space


def _domains(raw: Mapping[str, Any], fixed: Mapping[str, Any], place: str) -> dict[str, Domain]:
    """Read all parameters; those that are searched near another one come after it.

    Raises:
        ConfigError: If one is not valid; names it.
    """
    domains = {
        key: parse_domain(value, f"{place}: parameters.{key}")
        for key, value in raw.items()
        if not is_near(value)
    }
    own = dict(domains)
    for key, value in raw.items():
        if is_near(value):
            try:
                domains[key] = parse_near(value, own).given(fixed)
            except ValueError as error:
                raise ConfigError(f"{place}: parameters.{key}: {error}") from None
    return domains


def _with_section(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run with its method as a section, also if it is given as one word."""
    method = run.get("method")
    return {**run, "method": {"name": method}} if isinstance(method, str) else dict(run)


def _default_method(run: Mapping[str, Any], parameters: Mapping[str, Domain]) -> str:
    """Return the method that a run has without a search, or the nearest of the searched ones."""
    section = run.get("method", {})
    named = section.get("name") if isinstance(section, Mapping) else None
    named = RunConfig().method.label if named is None else named
    return str(parameters[METHOD_KEY].nearest(named) if METHOD_KEY in parameters else named)


def _bases(
    run: Mapping[str, Any], parameters: Mapping[str, Domain], default_method: str, place: str
) -> dict[str, RunConfig]:
    """Build the run of every method; fields that a method does not have are left out.

    Raises:
        ConfigError: If the fixed values do not make a valid run.
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
    """Build the run of every extreme value, alone and in pairs, with the others at defaults."""
    for method in space.methods:
        named = {METHOD_KEY: method} if METHOD_KEY in space.parameters else {}
        for key, domain in space.active(method).items():
            if isinstance(domain, Near) and not has_key(method, domain.level):
                raise ConfigError(
                    f"{space.place}: parameters.{key}: needs around to be a key of every method "
                    f"that has this one; {method} has no {domain.level}"
                )
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
