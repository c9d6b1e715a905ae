"""The trials in the folder of a search: all that a resumed search knows of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_ray.core.errors import ConfigError
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.search.layout import DRAW, END, REFERENCE, REFERENCE_CONFIG

_PREFIX = "trial_"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTrial:
    """A trial that was started.

    Attributes:
        name: Its name, which is that of its folder.
        config: Its configuration as Tune passes it, with what Optuna drew.
        rows: Its rows, by ascending epoch.
        end: How it ended: `status`, `value` (its last value of the metric; `None` if it has none)
            and `retry` (whether a resumed search tries again); `None` if it did not end.
    """

    name: str
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    end: Mapping[str, Any] | None

    @property
    def number(self) -> int:
        """Its number, from 0; that of the reference is -1."""
        return int(self.config["trial"])

    @property
    def is_over(self) -> bool:
        """Whether a resumed search leaves it as it is."""
        return self.end is not None and not self.end["retry"]


def read_trials(search: Folder) -> list[StoredTrial]:
    """Read the trials of a search, ordered by number, the reference first.

    Raises:
        ConfigError: If a file cannot be read; names it.
    """
    trials = []
    for name in search.names():
        if name != REFERENCE and not name.startswith(_PREFIX):
            continue
        folder = search / name
        draw = _read(folder, DRAW)
        if draw is None:  # killed before its first file
            continue
        number = REFERENCE_CONFIG["trial"]
        if name != REFERENCE:
            number = int(name.removeprefix(_PREFIX)) - 1
        rows = JsonLinesTracker(folder).rows
        config = {**draw, "trial": number}
        trials.append(StoredTrial(name=name, config=config, rows=rows, end=_read(folder, END)))
    return sorted(trials, key=lambda trial: trial.number)


def _read(folder: Folder, name: str) -> dict[str, Any] | None:
    if not folder.exists(name):
        return None
    try:
        return dict(json.loads(folder.read_text(name)))
    except (ValueError, TypeError):
        raise ConfigError(
            f"{folder / name}: expected the JSON that the search wrote, got something else. Delete "
            f"the folder {folder}, and the trial is trained again"
        ) from None
