"""A search space: a W&B sweep file whose keys lead into the run. Knows nothing of Ray.

What is fixed stands under `run`, what is searched under `parameters`; a key that no run has, or a
value that no run can have, ends here, before anything is started.
"""

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.errors import ConfigError
from fer_ray.core.yaml_input import load_yaml
from fer_ray.search.conditions import METHOD_KEY, check_methods, has_key, lookup
from fer_ray.search.distributions import parse_domain
from fer_ray.search.domains import HELPER, Domain, Trial, check_grid_size
from fer_ray.search.sweep import (
    EarlyTerminate,
    MetricMode,
    Search,
    check_top_level,
    flat_parameters,
    read_early_terminate,
    read_metric,
    read_run_cap,
    read_search,
)


@dataclass(frozen=True)
class SearchSpace:
    """What is fixed, what is searched and how.

    If `method.name` is searched, a field of the methods is active only in the trials whose method
    has it; elsewhere what `run` says of it is left out, too.

    Attributes:
        name: Of the search; the file's stem if it gives none.
        place: The file, for messages.
        run: What is fixed, nested.
        search: How values are chosen.
        metric: What is best; a `val/...` key.
        mode: Whether the best metric is the largest or the smallest.
        run_cap: Number of trials, if the file says.
        early_terminate: When trials are stopped early, if at all.
        parameters: What is searched, by dotted key into the run.
        source: The file's content, for W&B.
    """

    name: str
    place: str
    run: Mapping[str, Any]
    search: Search
    metric: str
    mode: MetricMode
    run_cap: int | None
    early_terminate: EarlyTerminate | None
    parameters: Mapping[str, Domain]
    source: Mapping[str, Any]

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a configuration: values of the active parameters by dotted key."""
        return self._choose(lambda _, domain: domain.sample(rng))

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Ask an Optuna trial for a configuration: a define-by-run function as it stands.

        Ray's OptunaSearch adds what it overheard, the `u:<key>` of mapped parameters among it;
        `trial_params` takes them out again.
        """
        return self._choose(lambda key, domain: domain.suggest(trial, key))

    def default_params(self, method: str | None = None) -> dict[str, Any]:
        """What a run has without a search, every active parameter at the nearest allowed value.

        Args:
            method: One of `methods`; by default the one that a run has without a search.
        """
        method = method or self._default_method
        base = with_overrides(self._bases[method], {METHOD_KEY: method})
        return {
            key: method if key == METHOD_KEY else domain.nearest(lookup(base, key))
            for key, domain in self.active(method).items()
        }

    def default_point(self) -> dict[str, Any]:
        """The default configuration as `study.enqueue_trial` and `points_to_evaluate` want it."""
        point: dict[str, Any] = {}
        for key, value in self.default_params().items():
            point |= self.parameters[key].point(key, value)
        return point

    def grid_points(self) -> list[dict[str, Any]]:
        """All combinations of the active parameters, the default configuration first.

        Raises:
            ConfigError: If a parameter is continuous or the combinations are too many to run.
        """
        points = [point for method in self.methods for point in self._grid(method)]
        default = self.default_params()
        return [default, *(point for point in points if point != default)]

    def run_config(self, params: Mapping[str, Any]) -> RunConfig:
        """The run of one configuration; what `params` leaves out is as `run` says.

        Raises:
            ConfigError: If a value does not fit the run.
        """
        values = trial_params(params)
        method = values.get(METHOD_KEY, self._default_method)
        if method not in self._bases:
            raise ConfigError(f"{METHOD_KEY}: expected {' or '.join(self.methods)}, got {method!r}")
        return RunConfig.from_dict(with_overrides(self._bases[method], values))

    def to_wandb_sweep(self) -> dict[str, Any]:
        """The file as W&B reads it: without `run`, all parameters by dotted key."""
        return {key: copy.deepcopy(value) for key, value in self.source.items() if key != "run"}

    @property
    def methods(self) -> list[str]:
        """The methods that trials may have."""
        if METHOD_KEY in self.parameters:
            return self.parameters[METHOD_KEY].grid_values()
        return [self._default_method]

    def active(self, method: str) -> dict[str, Domain]:
        """The parameters that trials of a method have, `method.name` first."""
        ordered = sorted(self.parameters.items(), key=lambda item: item[0] != METHOD_KEY)
        if METHOD_KEY not in self.parameters:
            return dict(ordered)
        return {key: domain for key, domain in ordered if has_key(method, key)}

    @property
    def _default_method(self) -> str:
        section = self.run.get("method", {})
        named = section.get("name") if isinstance(section, Mapping) else None
        if named is None:
            named = RunConfig().to_dict()["method"]["name"]
        domain = self.parameters.get(METHOD_KEY)
        return str(named if domain is None else domain.nearest(named))

    @cached_property
    def _bases(self) -> dict[str, dict[str, Any]]:
        """The resolved run of every method, nested."""
        bases = {}
        for method in self.methods:
            run = with_overrides(self.run, {"metric": self.metric, "mode": self.mode})
            section = run.get("method", {})
            if METHOD_KEY in self.parameters:
                fixed = section if isinstance(section, Mapping) else {}
                run["method"] = {
                    key: value for key, value in fixed.items() if has_key(method, f"method.{key}")
                } | {"name": method}
            bases[method] = RunConfig.from_dict(run).to_dict()
        return bases

    def _choose(self, choose: Callable[[str, Domain], Any]) -> dict[str, Any]:
        """A value for every active parameter; the method is chosen first, for it decides which."""
        params: dict[str, Any] = {}
        if METHOD_KEY in self.parameters:
            params[METHOD_KEY] = choose(METHOD_KEY, self.parameters[METHOD_KEY])
        for key, domain in self.active(params.get(METHOD_KEY, self._default_method)).items():
            if key != METHOD_KEY:
                params[key] = choose(key, domain)
        return params

    def _grid(self, method: str) -> list[dict[str, Any]]:
        """All combinations of a method."""
        values: dict[str, list[Any]] = {}
        for key, domain in self.active(method).items():
            try:
                values[key] = [method] if key == METHOD_KEY else domain.grid_values()
                check_grid_size(math.prod(map(len, values.values())))
            except ValueError as error:
                raise ConfigError(f"{self.place}: parameters.{key}: {error}") from None
        rows = itertools.product(*values.values())
        return [dict(zip(values, row, strict=True)) for row in rows]


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
    run = dict(raw.get("run", {}))
    if isinstance(run.get("method"), str):
        run["method"] = {"name": run["method"]}
    every = flat_parameters(raw["parameters"], place)
    searched = {key: value for key, value in every.items() if key not in fixed}
    space = SearchSpace(
        name=str(raw.get("name") or Path(place).stem),
        place=place,
        run=with_overrides(run, fixed),
        search=read_search(raw, place),
        metric=fixed.get("metric", metric),
        mode=fixed.get("mode", mode),
        run_cap=read_run_cap(raw, place),
        early_terminate=read_early_terminate(raw, place),
        parameters={
            key: parse_domain(value, f"{place}: parameters.{key}")
            for key, value in searched.items()
        },
        source={**raw, "parameters": searched},
    )
    check_methods(space.parameters, space.run, place)
    _check_corners(space)
    if space.search == "grid":
        space.grid_points()
    return space


def trial_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration, without the helpers that Optuna was asked for.

    >>> trial_params({"optim.momentum": 0.9, "u:optim.momentum": 0.5})
    {'optim.momentum': 0.9}
    """
    return {key: value for key, value in config.items() if not key.startswith(HELPER)}


def _check_corners(space: SearchSpace) -> None:
    """Build the run of every extreme value, alone and in pairs, all else at its default."""
    try:
        methods = list(space._bases)
    except ConfigError as error:
        raise ConfigError(f"{space.place}: run: {error}") from None
    for method in methods:
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
