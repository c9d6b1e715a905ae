"""Finds the classes that a split has left hardly a label, in the rows of a run."""

from collections.abc import Iterable, Mapping
from typing import Any

_RESCUED, _KEPT = "split/rescued/", "split/labeled_fraction/"


def starving(row: Mapping[str, Any]) -> list[str]:
    """Classes whose labels only the floor (`method.min_class_fraction`) kept, or that kept none.

    >>> starving({"split/rescued/fear": 3.0, "split/labeled_fraction/anger": 0.0})
    ['fear', 'anger']
    """
    rescued = [key.removeprefix(_RESCUED) for key in row if key.startswith(_RESCUED)]
    empty = [key.removeprefix(_KEPT) for key in row if key.startswith(_KEPT) and row[key] == 0]
    return list(dict.fromkeys(rescued + empty))


def first_starving(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The classes that starve in any row, with the first epoch in which they do."""
    first: dict[str, int] = {}
    for row in rows:
        for name in starving(row):
            first.setdefault(name, row["epoch"])
    return first
