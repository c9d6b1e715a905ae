"""Trains a run on Ray Train workers, for `fer_ray.train` and for trials with several workers."""

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, LoggingConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.mixture import MixtureError
from fer_ray.core.types import EmptySplitError
from fer_ray.on_ray.lost import loss_in
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import Save
from fer_ray.training.checkpoints import CheckpointError, Checkpoints
from fer_ray.training.finish import CHECKPOINTS, unlogged_rows
from fer_ray.training.runtime import train_run
from fer_ray.training.warmup import SharedWarmup

# Errors that would occur again at every retry; they end the run, which reports their names.
PERMANENT_ERRORS = (
    ConfigError,
    EmptySplitError,
    FloatingPointError,
    MixtureError,
    CheckpointError,
)

_POLL_S = 5.0  # matters only if the end of a run is not announced, because its queue died before
_COLLECTIVE_TIMEOUT_S = 1800
# How often a run that may have more workers than it has looks for room. It begins its epoch anew.
_RESIZE_S = 60.0
# Ray Train's own folder in that of a run; the run keeps its state itself.
_RAY = "ray_train"


class RunFailedError(RuntimeError):
    """An error in the loop ended a run; `kind` is the name of the error's class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type["RunFailedError"], tuple[str, str]]:
        return type(self), (self.kind, str(self))


class TrainRuntime:
    """A Ray Train worker: rows go through `ray.train.report`, checkpoints to the run's folder."""

    def __init__(self, folder: Folder) -> None:
        self._checkpoints = Checkpoints(folder / CHECKPOINTS)

    def checkpoint(self) -> AbstractContextManager[Path | None]:
        """Open the checkpoint to resume from, after a lost worker or an earlier command."""
        return self._checkpoints.newest()

    def write(self, epoch: int, save: Save) -> None:
        """Write the checkpoint into the run's folder."""
        self._checkpoints.write(epoch, save)

    def report(self, row: Mapping[str, Any]) -> None:
        """Report the row to Ray Train."""
        ray.train.report(dict(row))


def _worker(config: dict[str, Any]) -> dict[str, str] | None:
    """Run on every worker. A permanent error is returned, so that Train does not retry."""
    quiet_ray()
    try:
        run, shared = config["run"], config["warmup"]
        warmup = SharedWarmup(shared, run) if shared is not None else None
        train_run(
            run,
            TrainRuntime(config["folder"]),
            warmup=warmup,
            may_overlap=config["may_overlap"],
        )
    except PERMANENT_ERRORS as error:
        return {"kind": type(error).__name__, "message": str(error)}
    return None


def quiet_ray() -> None:
    """Silence Ray's progress lines in this process; errors are still printed."""
    names = ["ray", "ray.tune", "ray.train"]
    # The logger of this module is named after its file. It is none of Ray's public ones: where it
    # is gone, there is nothing to silence.
    with contextlib.suppress(ImportError):
        import ray.train.v2._internal.execution.context as context

        names.append(str(context.__file__))
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
        # The search shows every failure itself; these would add the stack of Tune's own event loop.
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _Relay(UserCallback):
    """Runs in Train's controller: sends every report, the first with the controller's handle."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._introduced = False

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """Send rank zero's row."""
        del run_context, checkpoint
        handle = None if self._introduced else ray.get_runtime_context().current_actor
        self._introduced = True
        self._queue.put((metrics[0], handle))


class _Rows:
    """Passes every epoch's row on once and in order, also those that only a checkpoint has.

    A worker that is lost after it has written a checkpoint does not report its last row.
    """

    def __init__(
        self, folder: Folder, known: int, on_report: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._folder, self._known, self._on_report = folder / CHECKPOINTS, known, on_report

    def take(self, row: Mapping[str, Any]) -> None:
        """Pass a row on, after those before it that are missing; a known one is ignored."""
        if row["epoch"] > self._known + 1:
            self.fill(row["epoch"] - 1)
        if row["epoch"] > self._known:
            self._on_report(row)
            self._known = row["epoch"]

    def fill(self, last: int) -> None:
        """Pass on what is missing up to an epoch."""
        for row in unlogged_rows(self._known, self._folder):
            if row["epoch"] <= last:
                self._on_report(row)
                self._known = row["epoch"]


def fit_on_workers(
    run: RunConfig,
    *,
    folder: Folder,
    on_report: Callable[[Mapping[str, Any]], None],
    known: int = 0,
    max_failures: int = 2,
    warmup: Folder | None = None,
    may_overlap: bool = True,
) -> None:
    """Train a run on `run.workers` processes; it starts from the newest checkpoint in its folder.

    Args:
        run: What to train, with a number for `workers.gpus_per_worker`.
        folder: The run's folder.
        on_report: Called in this thread with each epoch's row, once and in order.
        known: Last epoch whose row is known already.
        max_failures: How often lost workers are replaced.
        warmup: Folder of the warm-ups that runs share; `None` for no sharing.
        may_overlap: Whether a row may be reported while its epoch's checkpoint is written.

    Raises:
        RunFailedError: If one of `PERMANENT_ERRORS` ended the run, or workers were lost more often
            than they are replaced.
    """
    rows = _Rows(folder, known, on_report)
    rows.fill(run.optim.epochs)
    folder.delete(_RAY)  # nothing of it is needed, and it could be damaged
    # Beside this process: anywhere else it could be lost with a host of workers.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(maxsize=8, actor_options={"num_cpus": 0, "scheduling_strategy": here})
    loop = {"run": run, "folder": folder, "warmup": warmup, "may_overlap": may_overlap}
    trainer = _trainer(run, folder, queue, max_failures, loop)
    outcome: dict[str, Any] = {}
    is_left = threading.Event()

    def work() -> None:
        try:
            outcome["result"] = trainer.fit()
        except BaseException as error:
            outcome["error"] = error
        if not is_left.is_set():
            with contextlib.suppress(ray.exceptions.RayError):
                queue.put(None)  # marks the end

    thread = threading.Thread(target=work, daemon=True, name="ray-train")
    thread.start()
    controller = None
    try:
        while thread.is_alive() or not queue.empty():
            try:
                report = queue.get(timeout=_POLL_S)
            except Empty:
                continue
            if report is None:
                break
            row, handle = report
            controller = handle or controller
            rows.take(row)
    except BaseException as error:
        # Stopped from outside, by Tune (SystemExit) or by the user (KeyboardInterrupt), or Ray lost
        # the queue.
        _abort(controller)
        raise _failure_of(error, 1) from error.__cause__
    finally:
        is_left.set()
        queue.shutdown(force=True)
    if "error" in outcome:
        raise _failure_of(outcome["error"], max_failures + 1) from outcome["error"].__cause__
    failure = outcome["result"].return_value
    if failure:
        raise RunFailedError(failure["kind"], failure["message"])
    rows.fill(run.optim.epochs)
    folder.delete(_RAY)


def _failure_of(error: BaseException, num_tries: int) -> BaseException:
    """A `RunFailedError` in place of Ray's own where processes were lost; else the error itself."""
    if not isinstance(error, ray.train.TrainingFailedError | ray.exceptions.RayError):
        return error
    loss = loss_in(error, num_tries)
    return error if loss is None else RunFailedError(*loss)


def _abort(controller: Any) -> None:
    """Make the controller end its workers and free their resources now."""
    if controller is None:
        return
    try:
        ray.get(controller.abort.remote(), timeout=10)
    except Exception:
        logging.getLogger(__name__).debug("the controller had ended already", exc_info=True)


def _trainer(
    run: RunConfig,
    folder: Folder,
    queue: Queue,
    max_failures: int,
    loop: dict[str, Any],
) -> TorchTrainer:
    gpus = run.workers.gpus_per_worker
    assert gpus != "auto"
    sizes = run.workers.sizes
    resources = {"CPU": run.workers.cpus_per_worker}
    if gpus:
        resources["GPU"] = gpus
    return TorchTrainer(
        _worker,
        train_loop_config=loop,
        torch_config=TorchConfig(
            backend="nccl" if gpus else "gloo", timeout_s=_COLLECTIVE_TIMEOUT_S
        ),
        scaling_config=ScalingConfig(
            num_workers=(sizes[0], sizes[-1]) if len(sizes) > 1 else sizes[0],
            elastic_resize_monitor_interval_s=_RESIZE_S,
            use_gpu=bool(gpus),
            resources_per_worker=resources,
        ),
        run_config=ray.train.RunConfig(
            name=_RAY,
            storage_path=folder.path,
            storage_filesystem=folder.filesystem,
            callbacks=[_Relay(queue)],
            failure_config=FailureConfig(max_failures=max_failures, controller_failure_limit=3),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
