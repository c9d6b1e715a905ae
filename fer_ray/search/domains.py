"""Domains: the values that one parameter of a search may take, and how likely they are.

Every domain maps the unit interval onto its values (`quantile`). Random draws, defaults moved to
the nearest allowed value, and Optuna's suggestions therefore use the same set of values.
Distributions that Optuna does not have are suggested as `u:<key>` in [0, 1] and mapped by the
quantile.
"""

import bisect
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fer_ray.search.shapes import is_number

HELPER = "u:"
_MAX_GRID = 10_000


@runtime_checkable
class Trial(Protocol):
    """The methods of an Optuna trial that domains call."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number in [low, high]."""
        ...

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""
        ...


class Domain(ABC):
    """The allowed values of one parameter, and how likely they are."""

    def given(self, params: Mapping[str, Any]) -> "Domain":
        """Return the values that are allowed in a trial with these other values; here, all."""
        del params
        return self

    @abstractmethod
    def quantile(self, u: float) -> Any:
        """Return the value below which a share `u` in [0, 1] lies; it never decreases with `u`."""

    @abstractmethod
    def position(self, value: Any) -> float:
        """Return a `u` in [0, 1] whose quantile is the allowed value `value`."""

    @abstractmethod
    def nearest(self, value: Any) -> Any:
        """Return the nearest allowed value; the median or the first if `value` is no number."""

    @abstractmethod
    def grid_values(self) -> list[Any]:
        """Return all allowed values.

        Raises:
            ValueError: If there are too many to list.
        """

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw a value."""
        return self.quantile(float(rng.random()))

    def corners(self) -> list[Any]:
        """Return the extreme values; all values of choices, which have no order."""
        return [self.quantile(0.0), self.quantile(1.0)]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Ask an Optuna trial for a value."""
        return self.quantile(trial.suggest_float(HELPER + key, 0.0, 1.0))

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """Return what Optuna's `enqueue_trial` needs, so that `suggest` returns `value`."""
        return {HELPER + key: self.position(value)}


@dataclass(frozen=True)
class Constant(Domain):
    """One value of any type; Optuna does not know it."""

    value: Any

    def quantile(self, u: float) -> Any:
        """Return the value."""
        return self.value

    def position(self, value: Any) -> float:
        """Return 0.5; every `u` gives the value."""
        return 0.5

    def nearest(self, value: Any) -> Any:
        """Return the value."""
        return self.value

    def grid_values(self) -> list[Any]:
        """Return the value alone."""
        return [self.value]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Return the value without asking the trial."""
        return self.value

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """Return nothing, because Optuna does not know the parameter."""
        return {}


@dataclass(frozen=True)
class Choice(Domain):
    """A list of values, equally likely without `probabilities`."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...] | None = None

    def _ends(self) -> list[float]:
        """Return the upper end of every value's share of the unit interval."""
        count = len(self.values)
        return list(itertools.accumulate(self.probabilities or [1 / count] * count))

    def quantile(self, u: float) -> Any:
        """Return the value whose share of the unit interval contains `u`."""
        return self.values[min(bisect.bisect_right(self._ends(), u), len(self.values) - 1)]

    def position(self, value: Any) -> float:
        """Return the middle of the value's share."""
        index = self.values.index(value)
        ends = [0.0, *self._ends()]
        return (ends[index] + ends[index + 1]) / 2

    def nearest(self, value: Any) -> Any:
        """Return the value itself; else the nearest number; else the first value."""
        if value in self.values:
            return self.values[self.values.index(value)]
        numbers = [known for known in self.values if is_number(known)]
        if is_number(value) and numbers:
            return min(numbers, key=lambda known: abs(known - value))
        return self.values[0]

    def grid_values(self) -> list[Any]:
        """Return the values in the given order."""
        return list(self.values)

    def corners(self) -> list[Any]:
        """Return all values."""
        return list(self.values)

    def suggest(self, trial: Trial, key: str) -> Any:
        """Use Optuna's categorical distribution, or the quantile if there are probabilities."""
        if self.probabilities is None:
            return trial.suggest_categorical(key, self.values)
        return super().suggest(trial, key)

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """Return the value itself if Optuna's categorical distribution is used."""
        return {key: value} if self.probabilities is None else super().point(key, value)


@dataclass(frozen=True)
class Integers(Domain):
    """Equally likely integers; both bounds are included."""

    low: int
    high: int

    def quantile(self, u: float) -> int:
        """Return the integer whose share contains `u`; all shares are equal."""
        return min(self.low + math.floor(u * (self.high - self.low + 1)), self.high)

    def position(self, value: Any) -> float:
        """Return the middle of the integer's share."""
        return (int(value) - self.low + 0.5) / (self.high - self.low + 1)

    def nearest(self, value: Any) -> int:
        """Return the value rounded and moved into the bounds; the median if it is not a number."""
        if not is_number(value):
            return self.quantile(0.5)
        rounded: int = round(value)
        return min(max(rounded, self.low), self.high)

    def grid_values(self) -> list[Any]:
        """Return all integers."""
        check_grid_size(self.high - self.low + 1)
        return list(range(self.low, self.high + 1))

    def suggest(self, trial: Trial, key: str) -> int:
        """Use Optuna's integers."""
        return trial.suggest_int(key, self.low, self.high)

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """Return the integer itself."""
        return {key: value}


def check_grid_size(count: int) -> None:
    """Refuse a grid that is too large to run.

    Raises:
        ValueError: If there are too many points.
    """
    if count > _MAX_GRID:
        raise ValueError(
            f"expected a grid of at most {_MAX_GRID} points, got {count}; raise q or list values"
        )
