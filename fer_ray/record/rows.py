"""The rows of a run in a file of JSON lines, and values as strict JSON."""

import json
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from fer_ray.record.storage import Folder
from fer_ray.record.trackers import NullTracker

logger = logging.getLogger(__name__)


class JsonLinesTracker(NullTracker):
    """A file with a line of strict JSON per epoch; numbers that are not finite are null.

    Every row replaces the whole file, so that a reader never sees half a line.

    Attributes:
        rows: The rows in the file, by ascending epoch.
    """

    def __init__(self, folder: Folder, name: str = "metrics.jsonl") -> None:
        """Read the rows that the file already has.

        Args:
            folder: The run's folder.
            name: Name of the file.
        """
        self._folder, self._name = folder, name
        self.rows: list[dict[str, Any]] = []
        if folder.exists(name):
            self.rows = _read_rows(folder.read_text(name), place=str(folder / name))

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row; rows of the same epoch and of later epochs are dropped first."""
        self.rows = [old for old in self.rows if old["epoch"] < row["epoch"]]
        self.rows.append(plain(row))
        self._write()

    def log_history(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add the rows that are missing and replace those of the same epoch."""
        merged = {row["epoch"]: row for row in self.rows}
        merged |= {row["epoch"]: plain(row) for row in rows}
        self.rows = [merged[epoch] for epoch in sorted(merged)]
        self._write()

    def _write(self) -> None:
        lines = [json.dumps(row, allow_nan=False) + "\n" for row in self.rows]
        self._folder.write_text(self._name, "".join(lines))


def plain(value: Any) -> Any:
    """The same value in the types of strict JSON; numbers that are not finite become None.

    >>> plain({"val/recall/fear": float("nan"), "split/histogram": (1, 2.5)})
    {'val/recall/fear': None, 'split/histogram': [1, 2.5]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy and PyTorch
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _read_rows(text: str, *, place: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            rows.append(dict(json.loads(line)))
        except ValueError:
            logger.warning("%s: line %d is broken; it and later lines are ignored", place, number)
            break
    return rows
