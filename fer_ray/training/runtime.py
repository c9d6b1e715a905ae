"""Trains a run in any runtime: a plain process, a Tune trial, or Ray Train workers."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from fer_ray.config import RunConfig, needs_noise
from fer_ray.core.errors import ConfigError
from fer_ray.data import FaceData, noise_of, open_data
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import Save, load_checkpoint
from fer_ray.training.checkpoints import Checkpoints
from fer_ray.training.loop import fit
from fer_ray.training.operating_point import read_priors
from fer_ray.training.saving import Saver
from fer_ray.training.state import new_networks, new_state
from fer_ray.training.warmup import SharedWarmup


@runtime_checkable
class Runtime(Protocol):
    """Where a run's rows and checkpoints go, and where it starts from."""

    def checkpoint(self) -> AbstractContextManager[Path | None]:
        """Open the folder to resume from; it is `None` if there is none."""
        ...

    def write(self, epoch: int, save: Save) -> None:
        """Write the checkpoint of an epoch, on rank zero; perhaps in a thread of its own."""
        ...

    def report(self, row: Mapping[str, Any]) -> None:
        """Take an epoch's row, on every rank."""
        ...


class ProcessRuntime:
    """A plain process: keeps the newest checkpoint in `folder` and passes rows to `log`."""

    def __init__(
        self, folder: Path, log: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self._folder = folder
        self._log = log

    def checkpoint(self) -> AbstractContextManager[Path | None]:
        """Open the newest checkpoint; it is `None` if there is none."""
        return Checkpoints(Folder(self._folder), keep=1).newest()

    def write(self, epoch: int, save: Save) -> None:
        """Save a checkpoint, then delete the old one, so that one of them survives a kill."""
        Checkpoints(Folder(self._folder), keep=1).write(epoch, save)

    def report(self, row: Mapping[str, Any]) -> None:
        """Pass the row on."""
        if self._log is not None:
            self._log(row)


def train_run(
    run: RunConfig,
    runtime: Runtime,
    *,
    data: FaceData | None = None,
    warmup: SharedWarmup | None = None,
    may_overlap: bool = True,
) -> None:
    """Train a run to its last epoch, starting from the runtime's checkpoint; on every rank.

    Args:
        run: What to train.
        runtime: Where the run starts from, and where rows and checkpoints go.
        data: The run's data, if they are open already.
        warmup: Warm-up epochs that other runs may have trained. They are reported as this run's
            own; only `time/*` differs, which is that of the run that trained them.
        may_overlap: Whether a row may be reported while its epoch's checkpoint is written.

    Raises:
        CheckpointError: If a checkpoint cannot be written.
        DataError: If the data cannot be opened.
        ValueError: If the checkpoint cannot be loaded.
        EmptySplitError, FloatingPointError, MixtureError: See `loop.fit`.
    """
    device = use_device(run)
    data = open_run_data(run) if data is None else data
    state = new_state(run, data, device)

    with runtime.checkpoint() as folder:
        if folder is not None:
            load_checkpoint(state, folder)
    with Saver(runtime.write, may_overlap=may_overlap) as saver:

        def report(row: Mapping[str, Any]) -> None:
            if run.checkpoint.is_due(state.epoch, run.optim.epochs):
                saver.save(state, run, row["time/epoch_s"])
            runtime.report(row)

        if warmup is not None:
            for name in warmup.after(state.epoch):
                with warmup.open(name) as folder:
                    load_checkpoint(state, folder)
                report(state.history[-1])
        for row in fit(run, data, device, state):
            if warmup is not None:
                warmup.keep(state)
            report(row)


def use_device(run: RunConfig) -> torch.device:
    """Return the device of this process; on a CPU, set the number of threads too."""
    assert run.workers.gpus_per_worker != "auto", "call resolve_gpus first"
    if run.workers.gpus_per_worker:
        return torch.device("cuda", torch.cuda.current_device())
    torch.set_num_threads(max(1, int(run.workers.cpus_per_worker)))
    return torch.device("cpu")


def open_run_data(run: RunConfig, *, refresh: bool = False) -> FaceData:
    """Open the data of a run; `refresh` prepares them again even if the cache has them.

    Raises:
        DataError: If they cannot be opened.
    """
    return open_data(**asdict(run.data), refresh=refresh)


def resolve_gpus(run: RunConfig, num_gpus: float) -> RunConfig:
    """Replace `workers.gpus_per_worker: auto`: 1 if there is a GPU for every worker, else 0."""
    if run.workers.gpus_per_worker != "auto":
        return run
    gpus = 1.0 if num_gpus >= run.workers.num_workers else 0.0
    return replace(run, workers=replace(run.workers, gpus_per_worker=gpus))


def check_run(run: RunConfig, data: FaceData) -> None:
    """Check the settings of a run that depend on its data.

    Raises:
        ConfigError: If the method, the metric or the prior names a class that the data do not have,
            or the metric or the prior needs verified labels and there are none, or the file of
            weights cannot be used.
    """
    if run.model.weights not in (None, "torchvision"):
        new_networks(run, data, torch.device("cpu"))  # before any worker starts
    try:
        run.method.check_classes(data.class_names)
    except ValueError as error:
        raise ConfigError(f"method.{error}") from None
    prefix = "val/recall/"
    if run.metric.startswith(prefix) and run.metric.removeprefix(prefix) not in data.class_names:
        raise ConfigError(
            f"metric: expected {prefix} and one of {', '.join(data.class_names)}; got {run.metric}"
        )
    noise = noise_of(data)
    read_priors(run, data, noise)
    if noise is None and needs_noise(run.metric):
        raise ConfigError(
            f"metric: {run.metric} needs random verified labels, which tell how labels are wrong, "
            "and this data set has none or too few; give some (data.verified), or take "
            "val/natural/accuracy or val/macro_recall"
        )
