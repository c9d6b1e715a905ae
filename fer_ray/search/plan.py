"""A search that has been checked and can start; what a search was begun with, on file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.data import FaceData
from fer_ray.record.storage import Folder
from fer_ray.record.wandb_run import WandbMode
from fer_ray.search.layout import SEARCH
from fer_ray.search.space import SearchSpace

_FORMAT = 2
"""Of what Tune pickles beside it: another layout of this package is another format."""
_WORKERS = "workers.num_workers"
_DEFAULT_TRIALS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """A search that has been checked and can start.

    Attributes:
        space: What is searched, with the overrides of the command line in it.
        overrides: Those overrides.
        source: The space as its file has it.
        num_trials: Trials in all.
        folder: Where everything goes.
        data: The data of every trial.
        wandb: Whether and how trials are recorded in W&B.
        is_resumed: Whether the folder holds a search to go on with.
        shares_warmup: Whether trials that agree up to their first split train it once.
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

    def remember(self) -> None:
        """Write down what the search is begun with."""
        content = {
            "format": _FORMAT,
            "space": dict(self.source),
            "overrides": dict(self.overrides),
        }
        self.folder.write_text(SEARCH, yaml.safe_dump(content, sort_keys=False))


def remembered(
    folder: Folder, source: Mapping[str, Any], overrides: Mapping[str, Any], place: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The space and the overrides that a search was begun with.

    Args:
        folder: Of the search.
        source: The space as the command line has it now; a resumed search may not change it.
        overrides: Likewise; what was given at the beginning may be left out.
        place: The space's file, for messages.

    Raises:
        ConfigError: If the folder holds no search, one of an older version, or another one.
    """
    if not folder.exists(SEARCH):
        raise ConfigError(f"--resume: {folder} holds no search; start one without --resume")
    stored = yaml.safe_load(folder.read_text(SEARCH))
    if stored.get("format") != _FORMAT:
        raise ConfigError(
            f"--resume: {folder} was begun with another version of fer_ray, whose unfinished "
            "trials this one cannot continue; finish it with that version, or start a new search"
        )
    if stored["space"] != json.loads(json.dumps(source)):
        raise ConfigError(
            f"--resume: {place} is not the space that {folder} was begun with, kept in its "
            f"{SEARCH}; start a new search for a new space"
        )
    changed = {key for key in overrides if overrides[key] != stored["overrides"].get(key)}
    if changed:
        raise ConfigError(
            f"--resume: {', '.join(sorted(changed))} differs from what {folder} was begun with; "
            "leave it out, or start a new search"
        )
    return stored["space"], stored["overrides"]


def count_trials(space: SearchSpace, asked: int | None) -> int:
    """How many trials: as asked, else the file's `run_cap`, else 12; no more than a grid has.

    Raises:
        ConfigError: If `asked` is below 1.
    """
    if asked is not None and asked < 1:
        raise ConfigError(f"--trials: at least 1, got {asked}")
    num_trials = asked or space.run_cap or _DEFAULT_TRIALS
    return min(num_trials, len(space.grid_points())) if space.search == "grid" else num_trials


def largest_run(space: SearchSpace) -> RunConfig:
    """The default run, with as many workers as any trial may have."""
    params = space.default_params()
    if _WORKERS in params:
        params[_WORKERS] = max(space.parameters[_WORKERS].corners())
    return space.run_config(params)
