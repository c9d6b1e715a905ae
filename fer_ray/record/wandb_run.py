"""Runs of Weights & Biases, online or on disk.

This is the only module that imports the library, and it does so when a run needs it. Once a run is
open, no problem with W&B stops the training.
"""

import logging
import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from fer_ray.record.rows import plain
from fer_ray.record.text import error_text
from fer_ray.record.trackers import NullTracker
from fer_ray.record.wandb_values import image_value, row_values

logger = logging.getLogger(__name__)

WandbMode = Literal["offline", "online", "disabled"]
_OTHER_MODES: dict[str, WandbMode] = {"dryrun": "offline", "run": "online", "shared": "online"}
_MAX_ID = 64


class WandbTracker:
    """One W&B run; after the first error it logs one warning and takes no more rows.

    Attributes:
        mode: Whether the run is online or only on disk; pass it to `open_wandb` for the next run,
            so that a server which did not answer is not asked again.
        url: The run's page; `None` if the run is offline.
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
        self.mode, self.url = mode, run.url
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
            self._run.log(row_values(_wandb(), row, self._class_names), step=step, commit=True)
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
                images = {name: image_value(_wandb(), png) for name, png in pictures.items()}
                self._run.log({"epoch": self._last_epoch, **images})
            self._run.summary.update(plain(summary or {}))
            self._run.finish(exit_code=int(failed))
            self._run = None

    @contextmanager
    def _without_raising(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            logger.warning(
                "W&B did not take %s (%s); the run continues without it. Send what W&B has with: "
                "wandb sync --include-online %s",
                what,
                error_text(error),
                shlex.quote(str(self._folder)),
            )
            self._run = None


def wandb_mode(requested: WandbMode | None = None) -> WandbMode:
    """What W&B should do: as requested, else as `WANDB_MODE` says, else online if there is a key.

    Args:
        requested: What the command line asks for.

    Raises:
        ValueError: `WANDB_MODE` is not a mode.
    """
    if requested:
        return requested
    value = os.environ.get("WANDB_MODE", "")
    modes: dict[str, WandbMode] = {mode: mode for mode in get_args(WandbMode)} | _OTHER_MODES
    if value:
        if value not in modes:
            raise ValueError(f"WANDB_MODE: expected one of {', '.join(modes)}, got {value!r}")
        return modes[value]
    try:
        return "online" if _wandb().login(prompt=False, verify=False) else "offline"
    except Exception as error:
        logger.warning("W&B: the API key cannot be used (%s); recording offline", error_text(error))
        return "offline"


def open_wandb(
    trial: str,
    *,
    group: str,
    mode: WandbMode,
    directory: Path,
    class_names: Sequence[str],
    config: Mapping[str, Any],
    project: str = "fer_ray",
    job_type: str = "train",
    resume: bool = False,
    timeout_s: float = 30.0,
) -> WandbTracker | NullTracker:
    """Open a W&B run; if the server cannot be reached, the run is recorded offline.

    Several runs may be open in one process.

    Args:
        trial: Name of the run.
        group: Name of the search, or of the run if it belongs to none.
        mode: See `wandb_mode`.
        directory: Local directory; files go to `wandb/` inside it.
        class_names: Names of the classes, in label order.
        config: Nested configuration of the run.
        project: W&B project.
        job_type: Kind of run, to filter by.
        resume: Continue the run of the same trial and group; otherwise it is replaced.
        timeout_s: Seconds to wait for the server, at the start and at the end.
    """
    if mode == "disabled":
        return NullTracker()
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "project": project,
        "group": group,
        "job_type": job_type,
        "name": trial,
        "id": run_id(group, trial),
        "config": plain(config),
        "dir": str(directory),
    }
    if mode == "online" and _server_answers(timeout_s):
        try:
            run = _init(timeout_s, **options, mode="online", resume="allow" if resume else None)
            return WandbTracker(run, class_names, mode="online")
        except Exception as error:
            logger.warning("W&B did not open %s (%s); recording offline", trial, error_text(error))
            options["id"] = f"{options['id']}-offline"  # W&B keeps an id once it has been used
    return WandbTracker(_init(timeout_s, **options, mode="offline"), class_names, mode="offline")


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


def _wandb() -> ModuleType:
    """The library, without its own messages unless the user asked for them."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def _server_answers(timeout_s: float) -> bool:
    """Ask before a run is opened, because W&B cannot close one whose server did not answer."""
    try:
        if not _wandb().login(prompt=False, verify=False):
            logger.warning("W&B: there is no API key (`wandb login` sets one); recording offline")
            return False
        _wandb().Api(timeout=math.ceil(timeout_s))
    except Exception as error:
        logger.warning("W&B: the server refused access (%s); recording offline", error_text(error))
        return False
    return True


def _init(timeout_s: float, **options: Any) -> Any:
    wandb = _wandb()
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        x_disable_stats=True,
        x_save_requirements=False,
        init_timeout=timeout_s,
        finish_timeout=timeout_s,
        finish_timeout_raises=True,
    )
    return wandb.init(**options, reinit="create_new", settings=settings)
