"""A trial of a search: where its loop runs, and which resources it reserves."""

import functools
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ray import tune

from fer_ray.config import DataConfig, RunConfig
from fer_ray.data import FaceData
from fer_ray.on_ray.cluster import DRIVER
from fer_ray.on_ray.lost import LOST
from fer_ray.on_ray.trainer import PERMANENT_ERRORS, RunFailedError, fit_on_workers, quiet_ray
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.search.layout import WARMUP, is_reference, run_of, trial_name, worst_value
from fer_ray.search.space import SearchSpace
from fer_ray.training.checkpoint import Save
from fer_ray.training.checkpoints import Checkpoints
from fer_ray.training.finish import CHECKPOINTS, unlogged_rows
from fer_ray.training.runtime import open_run_data, train_run
from fer_ray.training.warmup import SharedWarmup

FAILURE_KEY = "failure"
"""Key of a reported result that says why the trial failed."""


class TuneRuntime:
    """A trial with one worker: the loop runs inside the Tune trial."""

    def __init__(self, folder: Folder, known: int) -> None:
        """Train in the folder of a trial; Tune needs no row up to epoch `known`."""
        self._checkpoints, self._known = Checkpoints(folder / CHECKPOINTS), known

    def checkpoint(self) -> AbstractContextManager[Path | None]:
        """Open the newest checkpoint in the trial's folder."""
        return self._checkpoints.newest()

    def write(self, epoch: int, save: Save) -> None:
        """Write the checkpoint into the trial's folder."""
        self._checkpoints.write(epoch, save)

    def report(self, row: Mapping[str, Any]) -> None:
        """Report the row to Tune, if it is new."""
        if row["epoch"] > self._known:
            tune.report(dict(row))


def run_trial(
    config: Mapping[str, Any], *, space: SearchSpace, folder: Folder, shares_warmup: bool = True
) -> None:
    """Train one trial; a permanent error is reported as the worst value and not retried.

    Lost workers are an error that Tune knows, and retries.

    Args:
        config: Configuration as Tune passes it.
        space: The search space.
        folder: Folder of the search.
        shares_warmup: Whether trials share their warm-ups.
    """
    run = run_of(space, config)
    own = folder / trial_name(config)
    shared = folder / WARMUP if shares_warmup and not is_reference(config) else None
    may_overlap = space.early_terminate is None  # else a trial may be stopped after any row
    quiet_ray()
    try:
        known = known_epoch(own)
        if run.workers.num_workers == 1:
            for row in unlogged_rows(known, own / CHECKPOINTS):
                tune.report(row)
            warmup = SharedWarmup(shared, run) if shared is not None else None
            train_run(
                run,
                TuneRuntime(own, known),
                data=_open_once(run.data),
                warmup=warmup,
                may_overlap=may_overlap,
            )
        else:
            fit_on_workers(
                run,
                folder=own,
                known=known,
                on_report=lambda row: tune.report(dict(row)),
                warmup=shared,
                may_overlap=may_overlap,
            )
    except PERMANENT_ERRORS as error:
        _report_failure(run, type(error).__name__, str(error))
    except RunFailedError as error:
        if error.kind == LOST:  # Tune starts the trial again
            raise
        _report_failure(run, error.kind, str(error))


def known_epoch(folder: Folder) -> int:
    """Return the epoch up to which Tune needs no row of a trial, because all of them are logged.

    The last row that is logged does not count: a command may have been killed before it decided
    whether the trial goes on.
    """
    rows = JsonLinesTracker(folder).rows
    return max(0, rows[-1]["epoch"] - 1) if rows else 0


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
