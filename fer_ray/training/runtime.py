"""One loop, several runtimes: a plain process, a Tune trial, Train workers."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.data import FaceData, open_data
from fer_ray.training.checkpoint import load_checkpoint, save_checkpoint
from fer_ray.training.distributed import rank
from fer_ray.training.loop import fit
from fer_ray.training.state import new_state
from fer_ray.training.warmup import SharedWarmup

Save = Callable[[Path], None]


@runtime_checkable
class Runtime(Protocol):
    """Where a run's rows and checkpoints go, and where it starts from."""

    def checkpoint(self) -> AbstractContextManager[Path | None]:
        """The folder to resume from, if there is one."""
        ...

    def report(self, row: Mapping[str, Any], save: Save) -> None:
        """Take an epoch's row; `save` writes a checkpoint into an empty folder (rank zero only)."""
        ...


class ProcessRuntime:
    """A plain process: the newest checkpoint under `folder`, rows to a function."""

    def __init__(
        self, folder: Path, log: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self._folder = folder
        self._log = log

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        """The newest complete checkpoint."""
        found = sorted(self._folder.glob("epoch_*"))
        yield found[-1] if found else None

    def report(self, row: Mapping[str, Any], save: Save) -> None:
        """Save beside the old checkpoint, then drop it: a kill leaves one of the two whole."""
        if rank() == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            for torn in self._folder.glob(".new-*"):  # of a process that was killed as it saved
                shutil.rmtree(torn)
            fresh = Path(tempfile.mkdtemp(dir=self._folder, prefix=".new-"))
            save(fresh)
            old = sorted(self._folder.glob("epoch_*"))
            fresh.rename(self._folder / f"epoch_{row['epoch']:04d}")
            for folder in old:
                shutil.rmtree(folder)
        if self._log is not None:
            self._log(row)


def train_run(
    run: RunConfig,
    runtime: Runtime,
    *,
    data: FaceData | None = None,
    warmup: SharedWarmup | None = None,
) -> None:
    """Train a run to its last epoch, from where `runtime` says; on every rank.

    Args:
        run: What to train.
        runtime: Where rows and checkpoints go.
        data: Its data, if they are open already.
        warmup: Where warm-ups of other runs may lie. Their epochs are reported as this run's own,
            with rows that are the same but for `time/*`, which are those of the run that trained.

    Raises:
        DataError: If the data cannot be opened.
        EmptySplitError, FloatingPointError, MixtureError: See `loop.fit`.
    """
    device = use_device(run)
    data = open_run_data(run) if data is None else data
    state = new_state(run, data, device)

    def save(folder: Path) -> None:
        save_checkpoint(state, run, folder)

    with runtime.checkpoint() as folder:
        if folder is not None:
            load_checkpoint(state, folder)
    if warmup is not None:
        for name in warmup.after(state.epoch):
            with warmup.open(name) as folder:
                load_checkpoint(state, folder)
            runtime.report(state.history[-1], save)
    for row in fit(run, data, device, state):
        if warmup is not None:
            warmup.keep(state)
        runtime.report(row, save)


def use_device(run: RunConfig) -> torch.device:
    """The device of this process; on a CPU also its number of threads."""
    assert run.workers.gpus_per_worker != "auto", "resolve_gpus comes first"
    if run.workers.gpus_per_worker:
        return torch.device("cuda", torch.cuda.current_device())
    torch.set_num_threads(max(1, int(run.workers.cpus_per_worker)))
    return torch.device("cpu")


def open_run_data(run: RunConfig, *, refresh: bool = False) -> FaceData:
    """Open the data of a run, prepared anew if `refresh` says so.

    Raises:
        DataError: If they cannot be opened.
    """
    return open_data(**asdict(run.data), refresh=refresh)


def resolve_gpus(run: RunConfig, num_gpus: float) -> RunConfig:
    """Put a number where `workers.gpus_per_worker` is `auto`: one GPU a worker if they suffice."""
    if run.workers.gpus_per_worker != "auto":
        return run
    gpus = 1.0 if num_gpus >= run.workers.num_workers else 0.0
    return replace(run, workers=replace(run.workers, gpus_per_worker=gpus))


def check_run(run: RunConfig, data: FaceData) -> None:
    """Check what of a run depends on its data.

    Raises:
        ConfigError: If the method or the metric names a class that the data do not have.
    """
    try:
        run.method.check_classes(data.class_names)
    except ValueError as error:
        raise ConfigError(f"method.{error}") from None
    prefix = "val/recall/"
    if run.metric.startswith(prefix) and run.metric.removeprefix(prefix) not in data.class_names:
        raise ConfigError(
            f"metric: {run.metric} is not reported; the classes are {', '.join(data.class_names)}"
        )
