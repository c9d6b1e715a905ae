"""A trial of a search: where its loop runs, and which resources it reserves."""

import functools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune

from fer_ray.config import DataConfig, RunConfig
from fer_ray.data import FaceData
from fer_ray.on_ray.cluster import DRIVER
from fer_ray.on_ray.trainer import PERMANENT_ERRORS, RunFailedError, fit_on_workers, quiet_ray
from fer_ray.record.storage import Folder
from fer_ray.search.layout import (
    TRAIN_NAME,
    TRAIN_RUNS,
    WARMUP,
    is_reference,
    run_of,
    trial_name,
    worst_value,
)
from fer_ray.search.space import SearchSpace
from fer_ray.training.finish import newest_checkpoint
from fer_ray.training.runtime import Save, open_run_data, train_run
from fer_ray.training.warmup import SharedWarmup

FAILURE_KEY = "failure"
"""Key of a reported result that says why the trial failed."""


class TuneRuntime:
    """A trial with one worker: the loop runs inside the Tune trial, which keeps the checkpoints."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        """Open the newest checkpoint on file; a driver that was killed may not have known of it."""
        if not any(name.startswith("checkpoint_") for name in self._folder.names()):
            yield None
            return
        with tempfile.TemporaryDirectory() as scratch:
            yield newest_checkpoint(self._folder, Path(scratch))

    def report(self, row: Mapping[str, Any], save: Save) -> None:
        """Report the row and its checkpoint to Tune."""
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder))
            tune.report(dict(row), checkpoint=tune.Checkpoint.from_directory(folder))


def run_trial(
    config: Mapping[str, Any], *, space: SearchSpace, folder: Folder, shares_warmup: bool = True
) -> None:
    """Train one trial; a permanent error is reported as the worst value and not retried.

    Args:
        config: Configuration as Tune passes it.
        space: The search space.
        folder: Folder of the search.
        shares_warmup: Whether trials share their warm-ups.
    """
    run = run_of(space, config)
    name = trial_name(config)
    shared = folder / WARMUP if shares_warmup and not is_reference(config) else None
    epoch = 0
    quiet_ray()

    def report_row(row: Mapping[str, Any], checkpoint: str) -> None:
        nonlocal epoch
        epoch = row["epoch"]
        with tempfile.TemporaryDirectory() as marker:
            Path(marker, "train_checkpoint.txt").write_text(checkpoint, encoding="utf-8")
            tune.report(dict(row), checkpoint=tune.Checkpoint.from_directory(marker))

    try:
        if run.workers.num_workers == 1:
            warmup = SharedWarmup(shared, run) if shared is not None else None
            data = _open_once(run.data)
            train_run(run, TuneRuntime(folder / name), data=data, warmup=warmup)
        else:
            fit_on_workers(
                run,
                name=TRAIN_NAME,
                storage=folder / TRAIN_RUNS / name,
                on_report=report_row,
                warmup=shared,
            )
    except PERMANENT_ERRORS as error:
        _report_failure(run, type(error).__name__, str(error))
    except RunFailedError as error:
        _report_failure(run, error.kind, str(error))


@functools.lru_cache(maxsize=1)
def _open_once(config: DataConfig) -> FaceData:
    """Open the data of a trial; the next trial in the same process reuses them."""
    return open_run_data(RunConfig(data=config))


def _report_failure(run: RunConfig, kind: str, message: str) -> None:
    failure = {"kind": kind, "message": message}
    # In the last epoch, so that no scheduler stops the trial before its failure is known.
    tune.report(
        {"epoch": run.optim.epochs, run.metric: worst_value(run.mode), FAILURE_KEY: failure}
    )


def trial_resources(
    config: Mapping[str, Any], *, space: SearchSpace, drivers: float
) -> tune.PlacementGroupFactory:
    """Return what Tune reserves for a trial: the loop's resources, or those of a driver.

    Args:
        config: Configuration as Tune passes it.
        space: The search space.
        drivers: Amount of the resource `trial_driver` in the cluster.
    """
    workers = run_of(space, config).workers
    gpus = workers.gpus_per_worker
    assert gpus != "auto"
    if workers.num_workers == 1:
        own = {"CPU": workers.cpus_per_worker, **({"GPU": gpus} if gpus else {})}
    else:
        own = {DRIVER: 1.0} if drivers else {"CPU": 0.01}
    return tune.PlacementGroupFactory([own])
