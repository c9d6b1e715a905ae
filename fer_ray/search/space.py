"""A checked search space: its configurations, its defaults and their runs."""

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer_ray.config import RunConfig, Select
from fer_ray.core.errors import ConfigError
from fer_ray.methods.base import SplitMethod
from fer_ray.search.conditions import METHOD_KEY, has_key, lookup
from fer_ray.search.domains import HELPER, Domain, Trial, check_grid_size
from fer_ray.search.early_terminate import EarlyTerminate
from fer_ray.search.near import Near
from fer_ray.search.sweep import OWN_KEYS, MetricMode, Search

_WARMUP_KEY = "method.warmup_epochs"


@dataclass(frozen=True)
class SearchSpace:
    """A checked search space: what is fixed, what is searched, and how.

    If `method.name` is searched, a method's field is active only in trials whose method has it. In
    other trials, a value that `run` fixes for it is left out too.

    Attributes:
        name: Name of the search; by default the file's stem.
        place: The file, for messages.
        bases: The fixed part of the run, for every method that trials may have.
        default_method: The method of the first trial.
        search: How values are chosen.
        metric: The metric that is optimised; a `val/...` key.
        mode: Whether the largest or the smallest metric is best.
        run_cap: Number of trials; `None` if the file does not say.
        early_terminate: When trials are stopped early; `None` for never.
        parameters: What is searched, by dotted key of the run.
        source: Content of the file, for W&B: it cannot search one parameter near another, so both
            have the same distribution there.
        reference: A run of another method to compare the best trial with; `None` for none.
        target: Value of the metric at which no trial is started any more; `None` for none.
        margin: By how many standard errors the best trial must be ahead of the first one, which has
            the default configuration, to be taken for it.
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
    reference: RunConfig | None = None
    target: float | None = None
    margin: float = 0.0

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a configuration: the values of the active parameters by dotted key."""
        return self._choose(lambda _, domain: domain.sample(rng))

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Ask an Optuna trial for a configuration; serves as a define-by-run function.

        Ray's OptunaSearch adds every suggestion that it sees, among them the `u:<key>` of mapped
        parameters; `trial_params` removes these.
        """
        return self._choose(lambda key, domain: domain.suggest(trial, key))

    def default_params(self, method: str | None = None) -> dict[str, Any]:
        """Return the values of a run without a search, moved to the nearest allowed values.

        Args:
            method: One of `methods`; by default `default_method`.
        """
        method = method or self.default_method
        run, params = self.bases[method], dict[str, Any]()
        for key, domain in self.active(method).items():
            value = _value(run, key, domain)
            params[key] = method if key == METHOD_KEY else domain.given(params).nearest(value)
        return params

    def default_point(self) -> dict[str, Any]:
        """Return the default configuration for `enqueue_trial` and `points_to_evaluate`."""
        return self._point(self.default_params())

    def grid_points(self) -> list[dict[str, Any]]:
        """Return all combinations of the active parameters, the default configuration first.

        Raises:
            ConfigError: If a parameter is continuous or there are too many combinations.
        """
        points = [point for method in self.methods for point in self._grid(method)]
        default = self.default_params()
        return [default, *(point for point in points if point != default)]

    def run_config(self, params: Mapping[str, Any]) -> RunConfig:
        """Build the run of a configuration; what `params` leaves out has the fixed value.

        Raises:
            ConfigError: If a value does not fit the run.
        """
        values = trial_params(params)
        method = values.get(METHOD_KEY, self.default_method)
        if method not in self.bases:
            raise ConfigError(f"{METHOD_KEY}: expected {' or '.join(self.bases)}, got {method!r}")
        return self.bases[method].with_values(values)

    def fixed(self, values: Mapping[str, Any]) -> "SearchSpace":
        """Return the same search with some values fixed, by dotted key, and no longer searched.

        Raises:
            ConfigError: If a value does not fit the run.
        """
        return replace(
            self,
            bases={method: run.with_values(values) for method, run in self.bases.items()},
            reference=self.reference and self.reference.with_values(values),
            parameters={key: x for key, x in self.parameters.items() if key not in values},
        )

    def to_wandb_sweep(self) -> dict[str, Any]:
        """Return the sweep as W&B reads it: parameters by dotted key, without our own sections."""
        known = (key for key in self.source if key not in OWN_KEYS)
        return {key: copy.deepcopy(self.source[key]) for key in known}

    @property
    def select(self) -> Select:
        """The epoch at which trials are compared."""
        return self.bases[self.default_method].select

    @property
    def methods(self) -> list[str]:
        """The methods that trials may have."""
        return list(self.bases)

    def active(self, method: str) -> dict[str, Domain]:
        """Return the parameters that trials of a method have, those that others need first."""

        def rank(item: tuple[str, Domain]) -> tuple[bool, bool]:
            return item[0] != METHOD_KEY, isinstance(item[1], Near)

        ordered = sorted(self.parameters.items(), key=rank)
        if METHOD_KEY not in self.parameters:
            return dict(ordered)
        return {key: domain for key, domain in ordered if has_key(method, key)}

    def _choose(self, choose: Callable[[str, Domain], Any]) -> dict[str, Any]:
        """Choose a value for every active parameter; first the method, on which they depend."""
        params: dict[str, Any] = {}
        if METHOD_KEY in self.parameters:
            params[METHOD_KEY] = choose(METHOD_KEY, self.parameters[METHOD_KEY])
        for key, domain in self.active(params.get(METHOD_KEY, self.default_method)).items():
            if key != METHOD_KEY:
                params[key] = choose(key, domain.given(params))
        return params

    def _point(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return what Optuna has to be given so that `suggest` returns a configuration."""
        point: dict[str, Any] = {}
        for key, value in params.items():
            point |= self.parameters[key].given(params).point(key, value)
        return point

    def _grid(self, method: str) -> list[dict[str, Any]]:
        """Return all combinations of one method's parameters."""
        values: dict[str, list[Any]] = {}
        for key, domain in self.active(method).items():
            try:
                values[key] = [method] if key == METHOD_KEY else domain.grid_values()
                check_grid_size(math.prod(map(len, values.values())))
            except ValueError as error:
                raise ConfigError(f"{self.place}: parameters.{key}: {error}") from None
        rows = itertools.product(*values.values())
        return [dict(zip(values, row, strict=True)) for row in rows]


def _value(run: RunConfig, key: str, domain: Domain) -> Any:
    """Return a run's value at a dotted key; a warm-up in epochs if epochs are searched."""
    in_epochs = all(isinstance(corner, int) for corner in domain.corners())
    if key == _WARMUP_KEY and in_epochs and isinstance(run.method, SplitMethod):
        return run.method.num_warmup(run.optim.epochs)
    return lookup(run.to_dict(), key)


def trial_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration without Optuna's helpers.

    >>> trial_params({"optim.momentum": 0.9, "u:optim.momentum": 0.5})
    {'optim.momentum': 0.9}
    """
    return {key: value for key, value in config.items() if not key.startswith(HELPER)}
