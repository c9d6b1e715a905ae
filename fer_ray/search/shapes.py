"""Continuous distributions, as quantile and distribution function. Pure."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from scipy.special import betainc, betaincinv, ndtr, ndtri

Number = int | float
_TAIL = 1e-6  # 4.75 standard deviations of a normal distribution.


@runtime_checkable
class Shape(Protocol):
    """A continuous distribution."""

    def ppf(self, u: float) -> float:
        """The value below which a share `u` lies."""
        ...

    def cdf(self, value: float) -> float:
        """The share below `value`."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Equally likely between two bounds."""

    low: float
    high: float

    def ppf(self, u: float) -> float:
        """Linear between the bounds."""
        return self.low + u * (self.high - self.low)

    def cdf(self, value: float) -> float:
        """Linear between the bounds, 0 and 1 outside."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


@dataclass(frozen=True)
class Normal:
    """A normal distribution without its outermost tails."""

    mu: float
    sigma: float

    def ppf(self, u: float) -> float:
        """Finite at 0 and 1."""
        return self.mu + self.sigma * float(ndtri(min(max(u, _TAIL), 1 - _TAIL)))

    def cdf(self, value: float) -> float:
        """The normal distribution function."""
        return float(ndtr((value - self.mu) / self.sigma))


@dataclass(frozen=True)
class Beta:
    """A beta distribution on [0, 1] without its outermost tails."""

    a: float
    b: float

    def ppf(self, u: float) -> float:
        """The inverse of the regularised incomplete beta function."""
        return float(betaincinv(self.a, self.b, min(max(u, _TAIL), 1 - _TAIL)))

    def cdf(self, value: float) -> float:
        """The regularised incomplete beta function."""
        return float(betainc(self.a, self.b, min(max(value, 0.0), 1.0)))


@dataclass(frozen=True)
class Log:
    """A distribution whose logarithm has the distribution `log`."""

    log: Uniform | Normal

    def ppf(self, u: float) -> float:
        """The exponential of the logarithm's quantile."""
        return math.exp(self.log.ppf(u))

    def cdf(self, value: float) -> float:
        """The share below the logarithm of a positive value."""
        return self.log.cdf(math.log(value)) if value > 0 else 0.0


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def tidy(value: float) -> float:
    """Round to twelve significant digits, so that 3 * 0.1 is 0.3.

    >>> tidy(3 * 0.1)
    0.3
    """
    return float(f"{value:.12g}")
