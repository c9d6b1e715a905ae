"""Finds the classes that a split has left hardly a label, in the rows of a run."""

from collections.abc import Iterable, Mapping
from typing import Any

_RESCUED = "split/rescued/"


def starving(row: Mapping[str, Any]) -> list[str]:
    """Classes whose labels only the floor (`method.min_class_fraction`) kept.

    A class that keeps none is no sign: `peer_posterior` teaches posteriors in place of labels.

    >>> starving({"split/rescued/fear": 3.0, "split/labeled_fraction/anger": 0.0})
    ['fear']
    """
    return [key.removeprefix(_RESCUED) for key in row if key.startswith(_RESCUED)]


def first_starving(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The classes that starve in any row, with the first epoch in which they do."""
    first: dict[str, int] = {}
    for row in rows:
        for name in starving(row):
            first.setdefault(name, row["epoch"])
    return first
