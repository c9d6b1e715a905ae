"""Runs of Weights & Biases, online or on disk.

Once a run is open, no problem with W&B stops the training.
"""

import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fer_ray.record.rows import plain
from fer_ray.record.scratch import libraries_in_scratch
from fer_ray.record.text import error_text
from fer_ray.record.trackers import NullTracker
from fer_ray.record.wandb_library import PROJECT, WandbMode, server_answers, wandb_library
from fer_ray.record.wandb_values import image_value, row_values, without_secrets

logger = logging.getLogger(__name__)

UNSENT = "unsent"
"""File in W&B's folder of a run that the server did not take whole."""
_MAX_ID = 64


class WandbTracker:
    """One W&B run; after the first error it logs one warning and takes no more rows.

    Attributes:
        mode: Whether the run is online or only on disk; pass it to `open_wandb` for the next run,
            so that a server which did not answer is not asked again.
        url: The run's page; `None` if the run is offline.
        id: The run's id.
        has_failed: Whether W&B has not taken something.
    """

    def __init__(
        self, run: Any, class_names: Sequence[str], *, mode: WandbMode = "offline"
    ) -> None:
        """Take a run that is open.

        Args:
            run: The `wandb.Run`.
            class_names: Names of the classes, in label order.
            mode: How the run was opened.
        """
        self._run, self._class_names = run, tuple(class_names)
        self.mode, self.url, self.id = mode, run.url, str(run.id)
        self.has_failed = False
        self._folder = Path(run.dir).parent
        self._last_epoch = run.summary.get("epoch", 0) if run.resumed else 0
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")

    def log(self, row: Mapping[str, Any]) -> None:
        """Send a row; skip epochs that the run already has, since W&B cannot replace them."""
        if self._run is None or row["epoch"] <= self._last_epoch:
            return
        with self._without_raising("a row"):
            # A resumed run reports step 0 before its first row.
            step = max(int(row["epoch"]), self._run.step, self._run.starting_step)
            values = row_values(wandb_library(), row, self._class_names)
            self._run.log(values, step=step, commit=True)
            self._last_epoch = row["epoch"]

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        """Send pictures and summary and wait, for a limited time, until everything is sent."""
        if self._run is None:
            return
        with self._without_raising("the end of the run"):
            if pictures:
                images = {name: image_value(wandb_library(), png) for name, png in pictures.items()}
                self._run.log({"epoch": self._last_epoch, **images})
            self._run.summary.update(plain(summary or {}))
            self._run.finish(exit_code=int(failed))
            self._run = None

    def artifact(self, kind: str, files: Mapping[str, bytes]) -> None:
        """Send files as an artifact of this run, such as its `model`.

        Args:
            kind: W&B's type of the artifact, and the end of its name.
            files: Contents by name; nothing is sent if there are none.
        """
        if self._run is None or not files:
            return
        with self._without_raising(f"the artifact {kind}"):
            artifact = wandb_library().Artifact(run_id(self._run.id, kind), type=kind)
            for name, content in files.items():
                with artifact.new_file(name, mode="wb") as file:
                    file.write(content)
            self._run.log_artifact(artifact)

    @contextmanager
    def _without_raising(self, what: str) -> Iterator[None]:
        try:
            with libraries_in_scratch():
                yield
        except Exception as error:
            logger.warning(
                "W&B did not take %s (%s); the run continues without it. Send what W&B has with: "
                "wandb sync --include-online %s",
                what,
                error_text(error),
                shlex.quote(str(self._folder)),
            )
            self._run, self.has_failed = None, True
            with suppress(OSError):
                (self._folder / UNSENT).touch()


@dataclass(frozen=True, slots=True)
class WandbPlace:
    """Where runs go.

    Attributes:
        project: The project.
        entity: The team or user; `None` for that of the API key.
        sweep: Id of the sweep that the runs belong to; `None` for none.
    """

    project: str = PROJECT
    entity: str | None = None
    sweep: str | None = None


def place_of(source: Mapping[str, Any]) -> WandbPlace:
    """Return the project and entity of the environment, else of a file, else the usual ones.

    Args:
        source: Content of the file of a search, with the keys `project` and `entity` of a sweep.
    """
    project = os.environ.get("WANDB_PROJECT") or source.get("project") or PROJECT
    return WandbPlace(project, os.environ.get("WANDB_ENTITY") or source.get("entity"))


def agents_run() -> str | None:
    """Return the id that an agent of W&B has given to the run of this process; `None` if none."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def open_wandb(
    trial: str,
    *,
    search: str,
    mode: WandbMode,
    directory: Path,
    class_names: Sequence[str],
    config: Mapping[str, Any],
    place: WandbPlace | None = None,
    job_type: str = "train",
    resume: bool = False,
    on_stop: Callable[[], None] | None = None,
    timeout_s: float = 30.0,
) -> WandbTracker | NullTracker:
    """Open a W&B run; if the server cannot be reached, the run is recorded offline.

    Several runs may be open in one process. Runs are not grouped, because W&B shows a group as one
    line, their mean. In a process that an agent of W&B has started, the run is the agent's.

    Args:
        trial: Name of the run.
        search: Name of the search, or of the run if it belongs to none; the first part of its id.
        mode: See `wandb_mode`.
        directory: Local directory; files go to `wandb/` inside it.
        class_names: Names of the classes, in label order.
        config: Nested configuration of the run; keys in the addresses of stores are masked.
        place: Project, entity and sweep.
        job_type: Kind of run, to filter by.
        resume: Continue the run of the same trial and search; otherwise it is replaced.
        on_stop: Called, in another thread, when the run is stopped on its page; by default the
            process is interrupted.
        timeout_s: Seconds to wait for the server, at the start and at the end.
    """
    if mode == "disabled":
        return NullTracker()
    directory.mkdir(parents=True, exist_ok=True)
    place = place or place_of({})
    options: dict[str, Any] = {
        "job_type": job_type,
        "config": without_secrets({"search": search, **plain(config)}),
        "dir": str(directory),
    }
    if agents_run() is None:
        own = {"project": place.project, "entity": place.entity, "name": trial}
        options |= own | {"id": run_id(search, trial)}
    settings = {"sweep_id": place.sweep, "stop_fn": on_stop}
    settings = {key: value for key, value in settings.items() if value is not None}
    if mode == "online" and server_answers(timeout_s):
        try:
            online = {**options, "mode": "online", "resume": "allow" if resume else None}
            return WandbTracker(_init(timeout_s, settings, **online), class_names, mode="online")
        except Exception as error:
            logger.warning("W&B did not open %s (%s); recording offline", trial, error_text(error))
            if "id" in options:  # W&B keeps an id once it has been used
                options["id"] = f"{options['id']}-offline"
    return WandbTracker(_init(timeout_s, settings, **options, mode="offline"), class_names)


def run_id(group: str, trial: str) -> str:
    """An id in characters that W&B accepts: always the same for a trial of a search.

    >>> run_id("fear thresholds", "trial_07")
    'fear-thresholds-trial_07'
    """
    name = f"{group}-{trial}"
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    if len(clean) <= _MAX_ID:
        return clean
    return f"{clean[: _MAX_ID - 9]}-{sha256(name.encode()).hexdigest()[:8]}"


def sync_hint(directory: Path) -> str:
    """One line for the user: where the offline runs are and how to send them."""
    folder = shlex.quote(str(directory / "wandb"))
    return f"W&B runs are offline; send them with: wandb sync {folder}/offline-run-*"


def _init(timeout_s: float, more: Mapping[str, Any], **options: Any) -> Any:
    wandb = wandb_library()
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        x_disable_meta=True,  # it would hold the command line, which may hold keys of a store
        x_disable_stats=True,
        x_save_requirements=False,
        init_timeout=timeout_s,
        finish_timeout=timeout_s,
        finish_timeout_raises=True,
        **more,
    )
    with libraries_in_scratch():
        return wandb.init(**options, reinit="create_new", settings=settings)
