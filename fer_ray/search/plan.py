"""A checked search that can start, and the file that says what it was started with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from fer_ray.config import RunConfig, needs_noise
from fer_ray.core.errors import ConfigError
from fer_ray.data import FaceData
from fer_ray.data.verified import noise_of
from fer_ray.record.claims import was_only_claimed
from fer_ray.record.storage import Folder
from fer_ray.record.wandb_library import WandbMode
from fer_ray.search.layout import SEARCH
from fer_ray.search.space import SearchSpace
from fer_ray.search.sweep import read_metric, read_target

_FORMAT = 4
"""Version of the files of a search; it changes when an older search cannot be resumed."""
_WORKERS = "workers.num_workers"
_DEFAULT_TRIALS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """A checked search that can start.

    Attributes:
        space: What is searched, with the overrides of the command line applied.
        overrides: These overrides, by dotted key.
        source: Content of the space's file.
        num_trials: Total number of trials.
        folder: Folder of the search.
        data: Data of every trial.
        wandb: Whether and how trials are recorded in W&B.
        is_resumed: Whether the folder holds a search to resume.
        shares_warmup: Whether trials that are equal up to their first split share their warm-up.
        concurrent: Number of trials at a time; `None`: as many as fit on the cluster at the start.
    """

    space: SearchSpace
    overrides: Mapping[str, Any]
    source: Mapping[str, Any]
    num_trials: int
    folder: Folder
    data: FaceData
    wandb: WandbMode
    is_resumed: bool
    shares_warmup: bool
    concurrent: int | None = None

    def save(self) -> None:
        """Write the file that says what the search was started with."""
        content = {
            "format": _FORMAT,
            "space": dict(self.source),
            "overrides": dict(self.overrides),
        }
        self.folder.write_text(SEARCH, yaml.safe_dump(content, sort_keys=False))


def load_search(
    folder: Folder, source: Mapping[str, Any], overrides: Mapping[str, Any], place: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the space and the overrides that a search was started with, to resume it.

    A search that was killed before it wrote anything is started with those of now.

    Args:
        folder: Folder of the search.
        source: Content of the space's file now; a resumed search must not change it.
        overrides: Overrides of the command line now. Those of the start may be left out but not
            changed.
        place: The space's file, for messages.

    Raises:
        ConfigError: If the folder holds no search, one of an older version, or another search.
    """
    if was_only_claimed(folder):
        return dict(source), dict(overrides)
    if not folder.exists(SEARCH):
        raise ConfigError(f"--resume: {folder} holds no search; start one without --resume")
    try:
        stored = yaml.safe_load(folder.read_text(SEARCH))
        is_whole = isinstance(stored, dict) and {"format", "space", "overrides"} <= stored.keys()
    except (yaml.YAMLError, UnicodeDecodeError):
        is_whole = False
    if not is_whole:
        raise ConfigError(
            f"--resume: {folder / SEARCH}: expected what the search was started with, got a file "
            "that is damaged or of an older version; start a new search"
        )
    if stored["format"] != _FORMAT:
        raise ConfigError(
            f"--resume: {folder} was started with another version of fer_ray, whose unfinished "
            "trials this version cannot resume; finish it with that version or start a new search"
        )
    if stored["space"] != json.loads(json.dumps(source)):
        raise ConfigError(
            f"--resume: {place} is not the space that {folder} was started with (see its "
            f"{SEARCH}); restore the file, or start a new search"
        )
    changed = {key for key in overrides if overrides[key] != stored["overrides"].get(key)}
    if changed:
        raise ConfigError(
            f"--resume: {', '.join(sorted(changed))} differs from what {folder} was started with; "
            "leave it out, or start a new search"
        )
    return stored["space"], stored["overrides"]


def measurable(
    source: Mapping[str, Any], overrides: Mapping[str, Any], data: FaceData, place: str
) -> dict[str, Any]:
    """Return the overrides, with another metric where the data cannot tell that of the space.

    Where too few labels are verified for a metric that needs them, trials are compared by the
    default metric.

    Args:
        source: Content of the space's file.
        overrides: Those of the command line; a metric that they ask for is not replaced, nor one
            with a target.
        data: Data of every trial.
        place: The space's file, for messages.

    Raises:
        ConfigError: If the metric of the space is none.
    """
    metric, _ = read_metric(source, place)
    is_fixed = "metric" in overrides or read_target(source, place) is not None
    if is_fixed or not needs_noise(metric) or noise_of(data) is not None:
        return dict(overrides)
    return {**overrides, "metric": RunConfig().metric, "mode": RunConfig().mode}


def count_trials(space: SearchSpace, requested: int | None) -> int:
    """Return the number of trials: as requested, else `run_cap`, else 12; at most a whole grid.

    Raises:
        ConfigError: If fewer than one is requested.
    """
    if requested is not None and requested < 1:
        raise ConfigError(f"--trials: expected at least 1, got {requested}")
    num_trials = requested or space.run_cap or _DEFAULT_TRIALS
    return min(num_trials, len(space.grid_points())) if space.search == "grid" else num_trials


def largest_run(space: SearchSpace) -> RunConfig:
    """Return the default run with as many workers as any trial may have."""
    params = space.default_params()
    if _WORKERS in params:
        params[_WORKERS] = max(space.parameters[_WORKERS].corners())
    return space.run_config(params)
