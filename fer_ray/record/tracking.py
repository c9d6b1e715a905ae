"""Where the rows of a run go: a file of JSON lines, Weights & Biases, both, or nowhere.

A row is one flat dict per epoch. W&B is loaded only by the functions that need it, and trouble
with it after a run is open never reaches the training.
"""

import json
import logging
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from fer_ray.record.storage import Folder

logger = logging.getLogger(__name__)

WandbMode = Literal["offline", "online", "disabled"]
_OTHER_MODES: dict[str, WandbMode] = {"dryrun": "offline", "run": "online", "shared": "online"}
_MAX_ID = 64


@runtime_checkable
class Tracker(Protocol):
    """Takes a row per epoch, and the end of the run."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Take the row of one epoch; an epoch that comes again is a resumed run's."""
        ...

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        """Close: no row comes after.

        Args:
            failed: The run ended with an error.
            summary: Final figures, nested as the caller likes.
            pictures: PNG images by name.
        """
        ...


class NullTracker:
    """Keeps nothing."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Ignore the row."""

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        """Do nothing."""


class FanOut:
    """Several trackers as one; the rows go to each in order, and all are finished."""

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self.trackers = tuple(trackers)

    def log(self, row: Mapping[str, Any]) -> None:
        """Pass the row to each tracker."""
        for tracker in self.trackers:
            tracker.log(row)

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        """Finish each tracker, also when one before it raises."""
        with ExitStack() as stack:
            for tracker in reversed(self.trackers):
                stack.callback(tracker.finish, failed=failed, summary=summary, pictures=pictures)


class JsonLinesTracker(NullTracker):
    """A file with a line of strict JSON per epoch; what is not a finite number is null.

    The file is replaced as a whole with every row, so that a reader never sees half a line.

    Attributes:
        rows: The rows on file, by ascending epoch.
    """

    def __init__(self, folder: Folder, name: str = "metrics.jsonl") -> None:
        self._folder, self._name = folder, name
        self.rows: list[dict[str, Any]] = []
        if folder.exists(name):
            self.rows = _read_rows(folder.read_text(name), place=str(folder / name))

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row; rows of the same and of later epochs are dropped first."""
        self.rows = [old for old in self.rows if old["epoch"] < row["epoch"]]
        self.rows.append(plain(row))
        self._write()

    def log_history(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Fill in rows that are missing and replace those that are there."""
        merged = {row["epoch"]: row for row in self.rows}
        merged |= {row["epoch"]: plain(row) for row in rows}
        self.rows = [merged[epoch] for epoch in sorted(merged)]
        self._write()

    def _write(self) -> None:
        lines = [json.dumps(row, allow_nan=False) + "\n" for row in self.rows]
        self._folder.write_text(self._name, "".join(lines))


class WandbTracker:
    """One W&B run; the first thing that goes wrong is reported in one line and is the last.

    Attributes:
        mode: Whether the run is online or only on disk; hand it to the next run's `open_wandb`,
            so that a server which did not answer is not asked again.
        url: The run's page, when there is one.
    """

    def __init__(
        self, run: Any, class_names: Sequence[str], *, mode: WandbMode = "offline"
    ) -> None:
        self._run, self._class_names = run, tuple(class_names)
        self.mode, self.url = mode, run.url
        self._folder = Path(run.dir).parent
        self._last_epoch = run.summary.get("epoch", 0) if run.resumed else 0
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")

    def log(self, row: Mapping[str, Any]) -> None:
        """Send a row; epochs the run already has are skipped, since W&B cannot replace them."""
        if self._run is None or row["epoch"] <= self._last_epoch:
            return
        with self._harmless("a row"):
            # a resumed run reports step 0 before its first row
            step = max(int(row["epoch"]), self._run.step, self._run.starting_step)
            self._run.log(_wandb_row(row, self._class_names), step=step, commit=True)
            self._last_epoch = row["epoch"]

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        """Send pictures and summary and wait, for a bounded time, until everything is sent."""
        with self._harmless("the end of the run"):
            if self._run is None:
                return
            if pictures:
                images = {name: _wandb_image(png) for name, png in pictures.items()}
                self._run.log({"epoch": self._last_epoch, **images})
            self._run.summary.update(plain(summary or {}))
            self._run.finish(exit_code=int(failed))
            self._run = None

    @contextmanager
    def _harmless(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            logger.warning(
                "W&B did not take %s (%s); going on without it. Send what it kept with: %s %s",
                what,
                _reason(error),
                "wandb sync --include-online",
                shlex.quote(str(self._folder)),
            )
            self._run = None


def wandb_mode(requested: WandbMode | None = None) -> WandbMode:
    """What W&B should do: as asked, else as `WANDB_MODE` says, else online if there is a key.

    Args:
        requested: What the user asked for on the command line.

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
        logger.warning("W&B: the API key cannot be used (%s); recording offline", _reason(error))
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
    """Open a W&B run; when the server cannot be had, the run is recorded offline.

    Many runs may be open in one process.

    Args:
        trial: Name of the run.
        group: Name of the search, or of the run when it stands alone.
        mode: See `wandb_mode`.
        directory: Local directory; files go to `wandb/` inside it.
        class_names: Names of the classes, in label order.
        config: Nested configuration of the run.
        project: W&B project.
        job_type: Kind of run, to filter by.
        resume: Go on with the run of the same trial and group; otherwise it is replaced.
        timeout_s: How long to wait for the server, at the start and at the end.
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
            logger.warning("W&B did not open %s (%s); recording offline", trial, _reason(error))
            options["id"] = f"{options['id']}-offline"  # W&B keeps the first id taken
    return WandbTracker(_init(timeout_s, **options, mode="offline"), class_names, mode="offline")


def run_id(group: str, trial: str) -> str:
    """The same id for the same trial of the same search, in characters W&B accepts.

    >>> run_id("fear thresholds", "trial_07")
    'fear-thresholds-trial_07'
    """
    name = f"{group}-{trial}"
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    if len(clean) <= _MAX_ID:
        return clean
    return f"{clean[: _MAX_ID - 9]}-{sha256(name.encode()).hexdigest()[:8]}"


def sync_hint(directory: Path) -> str:
    """One line for the user: where offline runs lie and how to send them."""
    folder = directory / "wandb"
    return (
        f"W&B runs are offline; send them with: wandb sync {shlex.quote(str(folder))}/offline-run-*"
    )


def plain(value: Any) -> Any:
    """The same value in what strict JSON knows; numbers that are not finite become None.

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
            logger.warning("%s: line %d is broken; reading stops before it", place, number)
            break
    return rows


def _wandb() -> Any:
    """The library, told to be quiet unless the user said otherwise."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def _server_answers(timeout_s: float) -> bool:
    """Ask before a run is opened: W&B cannot take a run back whose server did not answer."""
    try:
        if not _wandb().login(prompt=False, verify=False):
            logger.warning("W&B: there is no API key (`wandb login` sets one); recording offline")
            return False
        _wandb().Api(timeout=math.ceil(timeout_s))
    except Exception as error:
        logger.warning("W&B: the server did not let us in (%s); recording offline", _reason(error))
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


def _wandb_row(row: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    """Scalars as they are, the confusion matrix and the histograms as W&B's own charts."""
    wandb = _wandb()
    values = {key: value.item() if hasattr(value, "item") else value for key, value in row.items()}
    sent = {key: value for key, value in values.items() if isinstance(value, int | float)}
    if counts := row.get("val/confusion"):
        sent["val/confusion"] = _wandb_confusion(counts, class_names)
    if histogram := row.get("split/histogram"):
        for network, heights in enumerate(histogram["counts"]):
            bars = wandb.Histogram(np_histogram=(heights, histogram["edges"]))
            sent[f"split/histogram/network_{network}"] = bars
    for statistic, networks in (row.get("split/mixture") or {}).items():
        for network, components in enumerate(networks):
            for side, value in zip(("low", "high"), components, strict=True):
                sent[f"split/mixture/network_{network}/{statistic}_{side}"] = value
    return sent


def _wandb_confusion(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> Any:
    wandb = _wandb()
    columns = ["Actual", "Predicted", "nPredictions"]
    cells = [
        [actual, predicted, int(count)]
        for actual, line in zip(class_names, counts, strict=True)
        for predicted, count in zip(class_names, line, strict=True)
    ]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=columns, data=cells),
        {column: column for column in columns},
        {"title": "Validation images: true class against prediction"},
    )


def _wandb_image(png: bytes) -> Any:
    from PIL import Image

    return _wandb().Image(Image.open(BytesIO(png)))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
