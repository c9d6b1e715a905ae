"""The W&B runs of a search's trials, in the driver."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_ray.config import RunConfig
from fer_ray.record.storage import Folder
from fer_ray.record.trackers import Tracker
from fer_ray.record.wandb_library import WandbMode
from fer_ray.record.wandb_run import WandbTracker, open_wandb
from fer_ray.record.wandb_sweep import read_sweep
from fer_ray.search.layout import REFERENCE, trial_name

# Names of the trials of this process that were stopped on their pages of W&B. Tune restores its
# callbacks and its rules for stopping apart from each other, so they have no object in common.
_STOPPED: set[str] = set()


def was_stopped(trial: str) -> bool:
    """Return whether a trial was stopped on its page of W&B."""
    return trial in _STOPPED


def stop_rule(trial_id: str, result: Mapping[str, Any]) -> bool:
    """Return whether Tune is to end a trial now, because it was stopped on its page of W&B."""
    del trial_id
    config = result.get("config")
    return bool(_STOPPED) and config is not None and was_stopped(trial_name(config))


class WandbTrials:
    """Opens the runs of trials as runs of the search's sweep, and keeps their ids in its folder.

    Attributes:
        mode: How runs are recorded.
    """

    def __init__(
        self, folder: Folder, directory: Path, class_names: tuple[str, ...], mode: WandbMode
    ) -> None:
        """Read what W&B knows of the search.

        Args:
            folder: The search's folder.
            directory: Local directory for W&B's files.
            class_names: Names of the classes, in label order.
            mode: How runs are recorded, if W&B knows nothing of the search.
        """
        self._folder, self._directory, self._names = folder, directory, class_names
        self._search = read_sweep(folder)
        # The mode of this command, also if it resumes another.
        self.mode = self._search.mode if self._search is not None else mode

    def open(self, name: str, run: RunConfig, *, resume: bool) -> Tracker:
        """Open the run of a trial; that of the reference belongs to no sweep.

        The reference has none of the values that are searched, and would be one more line in W&B's
        parallel coordinates.
        """
        place, search = None, self._search
        if search is not None:
            place = replace(search.place, sweep=None) if name == REFERENCE else search.place
        tracker = open_wandb(
            name,
            search=self._folder.name,
            mode=self.mode,
            directory=self._directory,
            class_names=self._names,
            config=run.to_dict(),
            place=place,
            job_type="reference" if name == REFERENCE else "trial",
            resume=resume,
            on_stop=functools.partial(_STOPPED.add, name),
        )
        if isinstance(tracker, WandbTracker):
            self.mode = tracker.mode  # a server that did not answer is not tried again
            if search is not None and name != REFERENCE:
                runs = {**search.runs, name: tracker.id}
                self._search = replace(search, mode=tracker.mode, runs=runs)
                self._search.write(self._folder)
        return tracker
