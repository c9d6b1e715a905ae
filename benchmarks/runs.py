"""The runs of a comparison: processes measure epochs, train, and read the test set once."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.data import Faces
from fer_ray.methods.base import SplitMethod
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import Save, load_best, load_history
from fer_ray.training.finish import finish_run
from fer_ray.training.learner import Images, Learner, mean_prediction
from fer_ray.training.runtime import (
    ProcessRuntime,
    open_run_data,
    resolve_gpus,
    train_run,
    use_device,
)

ENSEMBLE_OFFSET = 1000
"""Difference between the seeds of the two networks of an ensemble."""


def clock() -> float:
    """Return seconds: of this process's CPU time, or of the wall clock if there is a GPU."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def read_run(raw: Mapping[str, Any]) -> RunConfig:
    """Read a configuration, and set the number of GPUs for this machine."""
    return resolve_gpus(RunConfig.from_dict(raw), torch.cuda.device_count())


def num_warmup(run: RunConfig) -> int:
    """Return the number of epochs before the first split; 0 for a method that never splits."""
    method = run.method
    return method.num_warmup(run.optim.epochs) if isinstance(method, SplitMethod) else 0


class TimedRuntime(ProcessRuntime):
    """A plain process that measures the seconds of every epoch, without saving."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.epochs_s: list[float] = []
        self._since = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all epochs so far."""
        return sum(self.epochs_s)

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        """Open the checkpoint, and start the clock after it is loaded."""
        with super().checkpoint() as found:
            yield found
        self._since = clock()

    def write(self, epoch: int, save: Save) -> None:
        """Stop the clock while a checkpoint is written."""
        start = clock()
        super().write(epoch, save)
        self._since += clock() - start

    def report(self, row: Mapping[str, Any]) -> None:
        """Keep the seconds of the epoch, and start the clock again."""
        self.epochs_s.append(clock() - self._since)
        super().report(row)
        self._since = clock()


def train_case(raw: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Train with one seed, choose the epoch on validation data, then read the test set once."""
    with tempfile.TemporaryDirectory() as name:
        run = read_run({**raw, "seed": seed})
        figures, checkpoint = _train(run, Path(name))
        data, device = open_run_data(run), use_device(run)
        summary, _ = finish_run(run, data, checkpoint, Folder(name) / "results", device)
        return figures | {"seed": seed, "test": summary["test"]}


def _train(run: RunConfig, folder: Path) -> tuple[dict[str, Any], Path]:
    """Train to the end; return seconds, best epoch, its validation metrics, and the checkpoint.

    `epoch_s` is the median of the epochs after warm-up, or of all epochs if there are none.

    Raises:
        ValueError: If no epoch had a finite metric.
    """
    runtime = TimedRuntime(folder)
    train_run(run, runtime)
    checkpoint = max(folder.glob("epoch_*"))
    best, history = load_best(checkpoint), load_history(checkpoint)
    if best is None:
        raise ValueError(f"{folder}: {run.metric} was not finite in any epoch")
    row = next(row for row in history if row["epoch"] == best.epoch)
    figures = {
        "seconds": runtime.seconds,
        "epoch_s": statistics.median(runtime.epochs_s[num_warmup(run) :] or runtime.epochs_s),
        "wall_s": sum(row["time/epoch_s"] for row in history),
        "best_epoch": best.epoch,
        "val": {key: row[f"val/{key}"] for key in ("accuracy", "macro_recall")},
    }
    return figures, checkpoint


def predict_all(
    learners: list[Learner], faces: Faces, run: RunConfig, device: torch.device
) -> Tensor:
    """Return the networks' mean prediction for every image, on the CPU."""
    images = Images(faces, device)
    parts = [
        mean_prediction(learners, images.take(rows), flip_average=run.flip_average)
        for rows in images.shards(run.compute.eval_batch_size)
    ]
    return torch.cat(parts).cpu()
