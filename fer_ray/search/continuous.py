"""Numbers between two bounds, and multiples of a step between them."""

from dataclasses import dataclass
from typing import Any, Literal

from fer_ray.search.domains import Domain, Trial, check_grid_size
from fer_ray.search.shapes import Number, Shape, is_number, tidy


@dataclass(frozen=True)
class Real(Domain):
    """A number between two bounds; `native` says how Optuna knows the shape, if it does."""

    shape: Shape
    low: float
    high: float
    native: Literal["linear", "log"] | None = None

    def quantile(self, u: float) -> float:
        """The shape's quantile, rounded to twelve digits, inside the bounds."""
        return min(max(tidy(self.shape.ppf(u)), self.low), self.high)

    def position(self, value: Any) -> float:
        """The share below the value."""
        return self.shape.cdf(float(value))

    def nearest(self, value: Any) -> float:
        """Moved into the bounds."""
        if not is_number(value):
            return self.quantile(0.5)
        return min(max(float(value), self.low), self.high)

    def grid_values(self) -> list[Any]:
        """Refused.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "a grid needs values, int_uniform or q_uniform, got a continuous distribution; "
            "or search with method: random or bayes"
        )

    def suggest(self, trial: Trial, key: str) -> float:
        """Optuna's own floats where it has the distribution."""
        if self.native is None:
            return float(super().suggest(trial, key))
        return trial.suggest_float(key, self.low, self.high, log=self.native == "log")

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """The number itself where Optuna is asked for it."""
        return super().point(key, value) if self.native is None else {key: value}


@dataclass(frozen=True)
class Quantized(Domain):
    """Multiples of `q`, from `first * q` to `last * q`; integers if `q` is one."""

    shape: Shape
    q: Number
    first: int
    last: int

    def quantile(self, u: float) -> Number:
        """The multiple of `q` nearest to the shape's quantile."""
        return self.nearest(self.shape.ppf(u))

    def position(self, value: Any) -> float:
        """The share below the value."""
        return self.shape.cdf(float(value))

    def nearest(self, value: Any) -> Number:
        """The nearest multiple inside the bounds."""
        if not is_number(value):
            return self.quantile(0.5)
        return self._multiple(min(max(round(value / self.q), self.first), self.last))

    def grid_values(self) -> list[Any]:
        """All multiples inside the bounds."""
        check_grid_size(self.last - self.first + 1)
        return [self._multiple(count) for count in range(self.first, self.last + 1)]

    def _multiple(self, count: int) -> Number:
        return count * self.q if isinstance(self.q, int) else tidy(count * self.q)
