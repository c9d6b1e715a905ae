"""A search space that has been checked: configurations, defaults, runs. Knows nothing of Ray."""

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.search.conditions import METHOD_KEY, has_key, lookup
from fer_ray.search.domains import HELPER, Domain, Trial, check_grid_size
from fer_ray.search.sweep import (
    EarlyTerminate,
    MetricMode,
    Search,
)


@dataclass(frozen=True)
class SearchSpace:
    """What is fixed, what is searched and how.

    If `method.name` is searched, a field of the methods is active only in the trials whose method
    has it; elsewhere what `run` says of it is left out, too.

    Attributes:
        name: Of the search; the file's stem if it gives none.
        place: The file, for messages.
        bases: The run of every method that trials may have, as it is without a search.
        default_method: The method of the first trial.
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
    bases: Mapping[str, RunConfig]
    default_method: str
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
        method = method or self.default_method
        base = self.bases[method].to_dict()
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
        method = values.get(METHOD_KEY, self.default_method)
        if method not in self.bases:
            raise ConfigError(f"{METHOD_KEY}: expected {' or '.join(self.bases)}, got {method!r}")
        return self.bases[method].with_values(values)

    def fixed(self, values: Mapping[str, Any]) -> "SearchSpace":
        """The same search with some values fixed, by dotted key; they are not searched any more.

        Raises:
            ConfigError: If a value does not fit the run.
        """
        return replace(
            self,
            bases={method: run.with_values(values) for method, run in self.bases.items()},
            parameters={key: x for key, x in self.parameters.items() if key not in values},
        )

    def to_wandb_sweep(self) -> dict[str, Any]:
        """The file as W&B reads it: without `run`, all parameters by dotted key."""
        return {key: copy.deepcopy(value) for key, value in self.source.items() if key != "run"}

    @property
    def methods(self) -> list[str]:
        """The methods that trials may have."""
        return list(self.bases)

    def active(self, method: str) -> dict[str, Domain]:
        """The parameters that trials of a method have, `method.name` first."""
        ordered = sorted(self.parameters.items(), key=lambda item: item[0] != METHOD_KEY)
        if METHOD_KEY not in self.parameters:
            return dict(ordered)
        return {key: domain for key, domain in ordered if has_key(method, key)}

    def _choose(self, choose: Callable[[str, Domain], Any]) -> dict[str, Any]:
        """Choose a value for every active parameter; the method first, as it decides which are."""
        params: dict[str, Any] = {}
        if METHOD_KEY in self.parameters:
            params[METHOD_KEY] = choose(METHOD_KEY, self.parameters[METHOD_KEY])
        for key, domain in self.active(params.get(METHOD_KEY, self.default_method)).items():
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


def trial_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration, without the helpers that Optuna was asked for.

    >>> trial_params({"optim.momentum": 0.9, "u:optim.momentum": 0.5})
    {'optim.momentum': 0.9}
    """
    return {key: value for key, value in config.items() if not key.startswith(HELPER)}
