"""Parameters that are searched near another one: a level, and how far others lie from it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fer_ray.search.continuous import Real
from fer_ray.search.domains import Domain


@dataclass(frozen=True)
class Near(Domain):
    """Values near that of another parameter, the level: seven thresholds are one and its offsets.

    Offsets are shares of the level's range, on its scale, so that they are factors where it is
    logarithmic. Values stay inside the level's bounds.

    Attributes:
        level: The level's dotted key.
        domain: The level's values.
        spread: Largest offset, in (0, 1].
        center: Where the level lies in its range, in [0, 1]; a trial's own once `given` its values.
    """

    level: str
    domain: Real
    spread: float
    center: float = 0.5

    def given(self, params: Mapping[str, Any]) -> "Near":
        """Return the values near the level that a trial has; unchanged if the level is fixed."""
        if self.level not in params:
            return self
        level = self.domain.nearest(params[self.level])
        return replace(self, center=self.domain.position(level))

    def quantile(self, u: float) -> float:
        """Return the value at an offset of `spread * (2 u - 1)`."""
        place = self.center + self.spread * (2 * u - 1)
        return self.domain.quantile(min(max(place, 0.0), 1.0))

    def position(self, value: Any) -> float:
        """Return the `u` of the value, 0 or 1 if it is further away than `spread`."""
        offset = self.domain.position(value) - self.center
        return min(max(0.5 + offset / (2 * self.spread), 0.0), 1.0)

    def nearest(self, value: Any) -> float:
        """Return the nearest value that is not further from the level than `spread`."""
        return self.quantile(self.position(self.domain.nearest(value)))

    def corners(self) -> list[Any]:
        """Return the level's bounds, which a value may reach together with its level."""
        return self.domain.corners()

    def grid_values(self) -> list[Any]:
        """Refuse to list values that depend on another parameter.

        Raises:
            ValueError: Always.
        """
        raise ValueError("a grid needs values of its own, got a spread around another parameter")


def is_near(raw: object) -> bool:
    """Return whether a parameter of a file is searched near another one."""
    return isinstance(raw, Mapping) and "around" in raw


def parse_near(raw: Mapping[str, Any], domains: Mapping[str, Domain]) -> Near:
    """Read `{around: method.thresholds.default, spread: 0.25}`.

    Args:
        raw: Content of the file.
        domains: The parameters with values of their own, by dotted key.

    Raises:
        ValueError: If a key is missing or unknown, or a value does not fit.
    """
    if set(raw) != {"around", "spread"}:
        raise ValueError(f"needs the keys around and spread, got {', '.join(map(str, raw))}")
    level, spread = raw["around"], raw["spread"]
    domain = domains.get(level) if isinstance(level, str) else None
    if not isinstance(domain, Real):
        raise ValueError(
            f"needs around to be the dotted key of a continuous parameter of this file, got {level}"
        )
    if type(spread) not in (int, float) or not 0 < spread <= 1:
        raise ValueError(f"needs a spread in (0, 1], a share of the level's range, got {spread!r}")
    return Near(level, domain, float(spread))
