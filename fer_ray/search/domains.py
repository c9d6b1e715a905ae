"""What one parameter of a search may be: the distributions of W&B's sweep format.

Every domain maps the unit interval onto its values (`quantile`), so drawing, a default moved to the
nearest allowed value and a suggestion of Optuna's all speak of the same set of values. Kinds that
Optuna does not have are suggested as `u:<key>` in [0, 1] and mapped by the quantile.
"""

import bisect
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fer_ray.search.shapes import is_number

HELPER = "u:"
_MAX_GRID = 10_000


@runtime_checkable
class Trial(Protocol):
    """What is asked of an Optuna trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number in [low, high]."""
        ...

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """An integer in [low, high]."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        ...


class Domain(ABC):
    """The allowed values of one parameter and how likely they are."""

    @abstractmethod
    def quantile(self, u: float) -> Any:
        """The value below which a share `u` in [0, 1] lies; never decreasing in `u`."""

    @abstractmethod
    def position(self, value: Any) -> float:
        """A `u` in [0, 1] whose quantile is the allowed value `value`."""

    @abstractmethod
    def nearest(self, value: Any) -> Any:
        """The allowed value nearest to `value`; the median (or first) if it is no number."""

    @abstractmethod
    def grid_values(self) -> list[Any]:
        """All allowed values.

        Raises:
            ValueError: If there are too many to list.
        """

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw a value."""
        return self.quantile(float(rng.random()))

    def corners(self) -> list[Any]:
        """The extreme values; all of them for choices, which have no order."""
        return [self.quantile(0.0), self.quantile(1.0)]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Ask Optuna for a value."""
        return self.quantile(trial.suggest_float(HELPER + key, 0.0, 1.0))

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """What Optuna must be told (`enqueue_trial`) for `suggest` to give `value`."""
        return {HELPER + key: self.position(value)}


@dataclass(frozen=True)
class Constant(Domain):
    """One value, of any type; never shown to Optuna."""

    value: Any

    def quantile(self, u: float) -> Any:
        """The value."""
        return self.value

    def position(self, value: Any) -> float:
        """Anywhere."""
        return 0.5

    def nearest(self, value: Any) -> Any:
        """The value."""
        return self.value

    def grid_values(self) -> list[Any]:
        """The value alone."""
        return [self.value]

    def suggest(self, trial: Trial, key: str) -> Any:
        """The value; the trial is not asked."""
        return self.value

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """Nothing to tell."""
        return {}


@dataclass(frozen=True)
class Choice(Domain):
    """A list of values, equally likely unless `probabilities` says otherwise."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...] | None = None

    def _ends(self) -> list[float]:
        """Upper end of every value's share of the unit interval."""
        count = len(self.values)
        return list(itertools.accumulate(self.probabilities or [1 / count] * count))

    def quantile(self, u: float) -> Any:
        """The value whose share of the unit interval holds `u`."""
        return self.values[min(bisect.bisect_right(self._ends(), u), len(self.values) - 1)]

    def position(self, value: Any) -> float:
        """The middle of the value's share."""
        index = self.values.index(value)
        ends = [0.0, *self._ends()]
        return (ends[index] + ends[index + 1]) / 2

    def nearest(self, value: Any) -> Any:
        """The value itself, else the nearest number, else the first value."""
        if value in self.values:
            return self.values[self.values.index(value)]
        numbers = [known for known in self.values if is_number(known)]
        if is_number(value) and numbers:
            return min(numbers, key=lambda known: abs(known - value))
        return self.values[0]

    def grid_values(self) -> list[Any]:
        """The values in the order given."""
        return list(self.values)

    def corners(self) -> list[Any]:
        """All values."""
        return list(self.values)

    def suggest(self, trial: Trial, key: str) -> Any:
        """Optuna's own categorical; it knows no probabilities, these go by the quantile."""
        if self.probabilities is None:
            return trial.suggest_categorical(key, self.values)
        return super().suggest(trial, key)

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """The value itself where Optuna's categorical is asked."""
        return {key: value} if self.probabilities is None else super().point(key, value)


@dataclass(frozen=True)
class Integers(Domain):
    """Integers, both bounds included, equally likely."""

    low: int
    high: int

    def quantile(self, u: float) -> int:
        """Equal shares of the unit interval for all integers."""
        return min(self.low + math.floor(u * (self.high - self.low + 1)), self.high)

    def position(self, value: Any) -> float:
        """The middle of the integer's share."""
        return (int(value) - self.low + 0.5) / (self.high - self.low + 1)

    def nearest(self, value: Any) -> int:
        """Rounded and moved into the bounds."""
        if not is_number(value):
            return self.quantile(0.5)
        rounded: int = round(value)
        return min(max(rounded, self.low), self.high)

    def grid_values(self) -> list[Any]:
        """All integers."""
        check_grid_size(self.high - self.low + 1)
        return list(range(self.low, self.high + 1))

    def suggest(self, trial: Trial, key: str) -> int:
        """Optuna's own integers."""
        return trial.suggest_int(key, self.low, self.high)

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """The integer itself."""
        return {key: value}


def check_grid_size(count: int) -> None:
    """Refuse a grid that is too large to run.

    Raises:
        ValueError: If there are too many values.
    """
    if count > _MAX_GRID:
        raise ValueError(
            f"a grid of at most {_MAX_GRID} points, got {count}; widen q or give values"
        )
