"""Ranges of fields: written beside the default, checked whenever a dataclass is made."""

import math
from dataclasses import field, fields
from typing import Any

_INTERVAL = "interval"


def bounded(default: Any, interval: str) -> Any:
    """A dataclass field with a default and a range.

    Args:
        default: Its default.
        interval: `[0, 1)`, `(0, inf)` and so on: square brackets include the end.
    """
    return field(default=default, metadata={_INTERVAL: interval})


def interval_of(item: Any) -> str:
    """The interval of a dataclass field; empty if it has none."""
    return str(item.metadata.get(_INTERVAL, ""))


def check_bounds(instance: Any) -> None:
    """Check all numbers of a dataclass against their ranges; words and None are not compared.

    Raises:
        ValueError: Naming the field, its range and the value.
    """
    for item in fields(instance):
        value, interval = getattr(instance, item.name), interval_of(item)
        if interval and isinstance(value, int | float) and not _holds(interval, value):
            raise ValueError(f"{item.name}: {in_words(interval)}, got {value}")


def in_words(interval: str) -> str:
    """An interval as errors and docs say it.

    >>> in_words("[0, 1)"), in_words("[1, inf)"), in_words("(-inf, 0)")
    ('in [0, 1)', 'at least 1', 'below 0')
    """
    low, high = _ends(interval)
    if math.isinf(high):
        return f"{'at least' if interval[0] == '[' else 'above'} {low:g}"
    if math.isinf(low):
        return f"{'at most' if interval[-1] == ']' else 'below'} {high:g}"
    return f"in {interval}"


def _ends(interval: str) -> tuple[float, float]:
    low, high = map(float, interval[1:-1].split(","))
    return low, high


def _holds(interval: str, value: int | float) -> bool:
    low, high = _ends(interval)
    is_above = value >= low if interval[0] == "[" else value > low
    return is_above and (value <= high if interval[-1] == "]" else value < high)
