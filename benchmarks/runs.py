"""The runs of a comparison: processes measure epochs, train, and read the test set once."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.metrics import auroc, confusion_matrix, epoch_metrics
from fer_ray.core.operating_points import prediction_metrics
from fer_ray.data import FaceData, Faces
from fer_ray.methods.base import SplitMethod
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import load_best, load_history
from fer_ray.training.evaluation import evaluate
from fer_ray.training.finish import best_learners, finish_run
from fer_ray.training.learner import Images, Learner, mean_prediction
from fer_ray.training.loop import fit
from fer_ray.training.runtime import (
    ProcessRuntime,
    Save,
    open_run_data,
    resolve_gpus,
    train_run,
    use_device,
)
from fer_ray.training.state import new_state

ENSEMBLE_OFFSET = 1000
"""Difference between the seeds of the two networks of an ensemble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of an epoch during (`warmup_s`) and after warm-up (`later_s`)."""

    warmup_s: float
    later_s: float


def clock() -> float:
    """Return seconds: of this process's CPU time, or of the wall clock if there is a GPU."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def calibrate(raws: Mapping[str, Mapping[str, Any]], num_later: int) -> dict[str, dict[str, float]]:
    """Measure the seconds of epochs of several runs, which train one epoch each in turn.

    Args:
        raws: Nested configurations by name.
        num_later: Number of epochs to measure after the warm-up of each.

    Returns:
        The fields of `Cost` by name.
    """
    runs = {name: read_run(raw) for name, raw in raws.items()}
    length = {name: num_warmup(run) + num_later for name, run in runs.items()}
    rows = {name: _rows(run, max(length.values())) for name, run in runs.items()}
    seconds: dict[str, dict[bool, list[float]]] = {name: {True: [], False: []} for name in runs}
    for epoch in range(1, max(length.values()) + 1):
        for name, run in runs.items():
            is_warmup = run.method.is_warmup(epoch, run.optim.epochs)
            if is_warmup or epoch <= length[name]:
                start = clock()
                next(rows[name])
                seconds[name][is_warmup].append(clock() - start)
    return {name: asdict(_cost(measured)) for name, measured in seconds.items()}


def _rows(run: RunConfig, epochs: int) -> Iterator[Mapping[str, Any]]:
    """Train a run for at least `epochs` epochs, and yield its rows."""
    device, data = use_device(run), open_run_data(run)
    method = run.method
    if isinstance(method, SplitMethod):  # a share of more epochs would be more epochs
        method = replace(method, warmup_epochs=num_warmup(run))
    optim = replace(run.optim, epochs=max(run.optim.epochs, epochs))
    long = replace(run, method=method, optim=optim)
    return fit(long, data, device, new_state(long, data, device))


def _cost(seconds: Mapping[bool, list[float]]) -> Cost:
    warmup_s = statistics.median(seconds[True])
    later = seconds[False]
    return Cost(warmup_s=warmup_s, later_s=statistics.median(later) if later else warmup_s)


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

    def report(self, row: Mapping[str, Any], save: Save) -> None:
        """Stop the clock, save, and start the clock again."""
        self.epochs_s.append(clock() - self._since)
        super().report(row, save)
        self._since = clock()


def train_case(raw: Mapping[str, Any], seed: int, *, is_ensemble: bool) -> dict[str, Any]:
    """Train with one seed, choose the epoch on validation data, then read the test set."""
    with tempfile.TemporaryDirectory() as name:
        if is_ensemble:
            return _train_ensemble(raw, seed, Path(name))
        run = read_run({**raw, "seed": seed})
        figures, checkpoint = _train(run, Path(name))
        folder = Folder(name) / "results"
        data, device = open_run_data(run), use_device(run)
        summary, _ = finish_run(run, data, checkpoint, folder, device)
        figures |= _judged(run, data, device, checkpoint)
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


def _judged(
    run: RunConfig, data: FaceData, device: torch.device, checkpoint: Path
) -> dict[str, Any]:
    """Return the quality of the last split, the AUROC of the labels, and the balanced metrics."""
    split = [row for row in load_history(checkpoint) if "split/labeled_fraction" in row]
    names = {"kept": "labeled_fraction", "precision": "precision", "recall": "recall"}
    last = split[-1] if split else {}
    selection = {
        name: last[f"split/{key}"] for name, key in names.items() if f"split/{key}" in last
    }
    learners = _best_learners(run, data, device, checkpoint)
    train, test = (predict_all(learners, faces, run, device) for faces in (data.train, data.test))
    known = (data.train.label >= 0) & (data.train.true_label >= 0)
    label = torch.from_numpy(data.train.label[known])
    is_right = data.train.label[known] == data.train.true_label[known]
    if is_right.any() and not is_right.all():
        believed = train[torch.from_numpy(known)].gather(1, label[:, None])[:, 0]
        selection["auroc"] = auroc(torch.from_numpy(is_right), believed)
    pred = (test / train.mean(dim=0)).argmax(dim=1)
    confusion = confusion_matrix(torch.from_numpy(data.test.label), pred, data.num_classes)
    metrics = epoch_metrics(confusion, data.class_names)
    balanced = {key: metrics[key] for key in ("accuracy", "macro_recall")}
    return {"selection": selection, "balanced": balanced}


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


def _train_ensemble(raw: Mapping[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """Train two runs with different seeds, and test the mean prediction of their best networks."""
    members, learners = [], []
    for number in (seed, seed + ENSEMBLE_OFFSET):
        run = read_run({**raw, "seed": number})
        device, data = use_device(run), open_run_data(run)
        figures, checkpoint = _train(run, folder / str(number))
        members.append(figures)
        learners += _best_learners(run, data, device, checkpoint)
    test = Images(data.test, device)
    prob = evaluate(learners, test, run, data.num_classes)
    assert prob is not None
    metrics, confusion = prediction_metrics(prob, test.label, data.class_names)
    return {
        "seconds": sum(member["seconds"] for member in members),
        "wall_s": sum(member["wall_s"] for member in members),
        "best_epoch": [member["best_epoch"] for member in members],
        "val": [member["val"] for member in members],
        "seed": seed,
        "test": {
            "accuracy": metrics["accuracy"],
            "macro_recall": metrics["macro_recall"],
            "recall": {name: metrics[f"recall/{name}"] for name in data.class_names},
            "confusion_matrix": confusion.tolist(),
        },
    }


def _best_learners(
    run: RunConfig, data: FaceData, device: torch.device, checkpoint: Path
) -> list[Learner]:
    """Load the networks of a checkpoint's best epoch."""
    best = load_best(checkpoint)
    assert best is not None
    return best_learners(run, data, best, device)
