"""Quantiles and distribution functions of continuous distributions, and helpers for numbers."""

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

Number = int | float
_TAIL = 1e-6
"""Share cut off at each unbounded end: beyond 4.75 standard deviations of a normal distribution."""


@dataclass(frozen=True)
class Shape:
    """A distribution of `scipy.stats`.

    Attributes:
        name: Its name in `scipy.stats`, such as `loguniform`.
        args: Its positional parameters there.
    """

    name: Literal["uniform", "loguniform", "norm", "lognorm"]
    args: tuple[float, ...]

    def ppf(self, u: float) -> float:
        """Return the value below which a share `u` in [0, 1] lies; finite at 0 and 1 too."""
        if self.name in ("norm", "lognorm"):
            u = min(max(u, _TAIL), 1 - _TAIL)
        return float(_frozen(self.name, self.args).ppf(u))

    def cdf(self, value: float) -> float:
        """Return the share below `value`."""
        return float(_frozen(self.name, self.args).cdf(value))


@functools.cache
def _frozen(name: str, args: tuple[float, ...]) -> Any:
    from scipy import stats  # here, because a trial's process does not need it

    return getattr(stats, name)(*args)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; booleans are not numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def tidy(value: float) -> float:
    """Round to twelve significant digits, so that 3 * 0.1 is 0.3.

    >>> tidy(3 * 0.1)
    0.3
    """
    return float(f"{value:.12g}")
