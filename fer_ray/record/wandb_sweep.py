"""A search as a sweep of Weights & Biases: created once, joined by its trials, stopped at the end.

What W&B knows of a search is kept in its folder, so that a resumed search goes on with the same
sweep, and one that was recorded offline can become a sweep later.
"""

import io
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text
from fer_ray.record.wandb_library import (
    WandbMode,
    run_wandb,
    server_answers,
    wandb_library,
)
from fer_ray.record.wandb_run import UNSENT, WandbPlace
from fer_ray.record.wandb_values import without_secrets

logger = logging.getLogger(__name__)

SWEEP = "wandb.json"
"""What W&B knows of a search."""
_TIMEOUT_S = 30.0
_SYNC_TIMEOUT_S = 3600.0
_NAMES = ("WANDB_PROJECT", "WANDB_ENTITY")


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbSearch:
    """What W&B knows of a search.

    Attributes:
        mode: How its runs are recorded.
        place: Project, entity and, once there is one, sweep.
        config: The sweep's configuration.
        url: The sweep's page; `None` without a sweep.
        runs: Ids of the trials' runs, by trial.
        is_stopped: Whether the sweep has been stopped.
        is_sent: Whether the result of the search is on the server.
    """

    mode: WandbMode
    place: WandbPlace
    config: Mapping[str, Any]
    url: str | None = None
    runs: Mapping[str, str]
    is_stopped: bool = False
    is_sent: bool = False

    @property
    def path(self) -> str:
        """The sweep as W&B's commands take it: `entity/project/sweep`."""
        place = self.place
        return "/".join(part for part in (place.entity, place.project, place.sweep) if part)

    def write(self, folder: Folder) -> None:
        """Write it into the folder of its search."""
        folder.write_text(SWEEP, json.dumps(asdict(self), indent=2) + "\n")


def read_sweep(folder: Folder) -> WandbSearch | None:
    """Read what W&B knows of the search in a folder; `None` if it knows nothing."""
    if not folder.exists(SWEEP):
        return None
    raw = json.loads(folder.read_text(SWEEP))
    return WandbSearch(**{**raw, "place": WandbPlace(**raw["place"])})


def begin_sweep(
    folder: Folder,
    config: Mapping[str, Any],
    mode: WandbMode,
    place: WandbPlace,
    timeout_s: float = _TIMEOUT_S,
) -> WandbSearch:
    """Make a search that starts or goes on a sweep; a resumed one keeps the sweep that it has.

    If the server cannot be reached, one warning says so, and the runs are recorded offline.

    Args:
        folder: The search's folder.
        config: The sweep's configuration.
        mode: How the user wants runs to be recorded.
        place: Project and entity.
        timeout_s: Seconds to wait for the server.
    """
    known = read_sweep(folder)
    search = known or WandbSearch(mode=mode, place=place, config=without_secrets(config), runs={})
    search = replace(search, mode=mode, is_stopped=False)
    is_new = search.place.sweep is None and not search.runs
    if mode == "online" and is_new and config["parameters"]:
        created = _created(search) if server_answers(timeout_s) else None
        search = created or replace(search, mode="offline")
    if known is not None or mode != "disabled":
        search.write(folder)
    return search


def end_sweep(folder: Folder, timeout_s: float = 2 * _TIMEOUT_S) -> WandbSearch | None:
    """Stop the sweep of a search that is over, which keeps all of its runs.

    Returns:
        What W&B knows of the search; `None` if it knows nothing.
    """
    search = read_sweep(folder)
    if search is None or search.place.sweep is None or search.is_stopped:
        return search
    try:
        run_wandb(["sweep", "--stop", search.path], timeout_s)
    except OSError as error:
        command = f"wandb sweep --stop {search.path}"
        logger.warning("W&B did not stop the sweep (%s); do it with: %s", error, command)
        return search
    search = replace(search, is_stopped=True)
    search.write(folder)
    return search


def send_search(folder: Folder, directory: Path, timeout_s: float = _TIMEOUT_S) -> WandbSearch:
    """Send the runs of a search that are only on disk, and make it a sweep if it is none yet.

    What has been sent is not sent again.

    Args:
        folder: The search's folder.
        directory: Where W&B's local files are, in `wandb/`.
        timeout_s: Seconds to wait for the server's answer.

    Raises:
        OSError: If W&B cannot be reached, or does not take the runs or the sweep.
    """
    search = read_sweep(folder)
    if search is None:
        raise OSError(f"{folder} holds no {SWEEP}: it was recorded with --wandb disabled")
    if not server_answers(timeout_s):
        raise OSError("W&B cannot be reached")
    unsent = unsent_runs(directory)
    if unsent:
        run_wandb(["sync", "--include-online", *map(str, unsent)], _SYNC_TIMEOUT_S)
    if search.place.sweep is None:
        created = _created(search, sorted(search.runs.values()))
        if created is None:
            raise OSError("W&B did not create the sweep")
        search = created
        search.write(folder)
    return search


def unsent_runs(directory: Path) -> list[Path]:
    """Return the folders of runs that the server has not, or not whole, oldest first."""
    folders = [*(directory / "wandb").glob("offline-run-*")]
    folders += [marker.parent for marker in (directory / "wandb").glob(f"run-*/{UNSENT}")]
    waiting = [folder for folder in folders if not any(folder.glob("*.wandb.synced"))]
    return sorted(waiting, key=lambda folder: folder.name.removeprefix("offline-"))


def _created(search: WandbSearch, runs: Sequence[str] = ()) -> WandbSearch | None:
    """Create the sweep; `None`, and a warning, if W&B does not."""
    place, said = search.place, io.StringIO()
    try:
        with _own_environment() as found, redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # W&B's, about its own settings
            sweep = wandb_library().sweep(
                dict(search.config),
                project=place.project,
                entity=place.entity,
                prior_runs=list(runs) or None,
            )
            project, entity = (found(name) for name in _NAMES)
    except Exception as error:
        logger.warning("W&B did not create a sweep (%s); recording offline", error_text(error))
        return None
    url = re.search(r"Sweep URL: (\S+)", said.getvalue())
    known = WandbPlace(project or place.project, entity or place.entity, sweep)
    return replace(search, place=known, url=url[1] if url else None)


@contextmanager
def _own_environment() -> Iterator[Any]:
    """Undo what W&B does to the process when it creates a sweep: it sets project and entity."""
    before = {name: os.environ.get(name) for name in _NAMES}
    try:
        yield os.environ.get
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
