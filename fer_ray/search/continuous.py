"""Continuous domains: numbers between two bounds, and multiples of a step between them."""

from dataclasses import dataclass
from typing import Any, Literal

from fer_ray.search.domains import Domain, Trial, check_grid_size
from fer_ray.search.shapes import Number, Shape, is_number, tidy


@dataclass(frozen=True)
class Real(Domain):
    """A number between two bounds.

    Attributes:
        shape: The distribution of the values.
        low: Smallest value.
        high: Largest value.
        native: Optuna's own distribution of this shape; `None` if it has none.
    """

    shape: Shape
    low: float
    high: float
    native: Literal["linear", "log"] | None = None

    def quantile(self, u: float) -> float:
        """Return the shape's quantile, rounded to twelve digits and moved into the bounds."""
        return min(max(tidy(self.shape.ppf(u)), self.low), self.high)

    def position(self, value: Any) -> float:
        """Return the share of values below `value`."""
        return self.shape.cdf(float(value))

    def nearest(self, value: Any) -> float:
        """Return the value moved into the bounds; the median if it is not a number."""
        if not is_number(value):
            return self.quantile(0.5)
        return min(max(float(value), self.low), self.high)

    def grid_values(self) -> list[Any]:
        """Refuse to list the values of a continuous domain.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "a grid needs values, int_uniform or q_uniform, got a continuous distribution; "
            "use one of these, or method: random or bayes"
        )

    def suggest(self, trial: Trial, key: str) -> float:
        """Ask Optuna for a float, from its own distribution if it has one."""
        if self.native is None:
            return float(super().suggest(trial, key))
        return trial.suggest_float(key, self.low, self.high, log=self.native == "log")

    def point(self, key: str, value: Any) -> dict[str, Any]:
        """Return the number itself if Optuna has the distribution."""
        return super().point(key, value) if self.native is None else {key: value}


@dataclass(frozen=True)
class Quantized(Domain):
    """Multiples of `q`, from `first * q` to `last * q`; integers if `q` is an integer."""

    shape: Shape
    q: Number
    first: int
    last: int

    def quantile(self, u: float) -> Number:
        """Return the multiple of `q` that is nearest to the shape's quantile."""
        return self.nearest(self.shape.ppf(u))

    def position(self, value: Any) -> float:
        """Return the share of values below `value`."""
        return self.shape.cdf(float(value))

    def nearest(self, value: Any) -> Number:
        """Return the nearest multiple inside the bounds; the median if it is not a number."""
        if not is_number(value):
            return self.quantile(0.5)
        return self._multiple(min(max(round(value / self.q), self.first), self.last))

    def grid_values(self) -> list[Any]:
        """Return all multiples inside the bounds."""
        check_grid_size(self.last - self.first + 1)
        return [self._multiple(count) for count in range(self.first, self.last + 1)]

    def _multiple(self, count: int) -> Number:
        return count * self.q if isinstance(self.q, int) else tidy(count * self.q)
