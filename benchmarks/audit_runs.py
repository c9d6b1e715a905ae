"""The runs of `audit.py`: folders of finished runs, cross-validated predictions, rounds of review.

All are resumable after every epoch.
"""

import csv
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.counting import count_passes
from benchmarks.noise_runs import DeadlineRuntime, PausedError
from benchmarks.plan import digest, read_json, write_json
from benchmarks.runs import predict_all, read_run
from fer_ray.config import RunConfig
from fer_ray.data import FaceData
from fer_ray.data.faces import UNKNOWN_TRUTH
from fer_ray.data.folds import grouped_folds
from fer_ray.record.storage import Folder
from fer_ray.results.audit.beliefs import Beliefs, read_beliefs
from fer_ray.results.audit.draw import Sample, draw
from fer_ray.results.run_folder import open_run
from fer_ray.training.checkpoint import load_checkpoint
from fer_ray.training.finish import finish_run, write_summary
from fer_ray.training.learner import Learner, Learners
from fer_ray.training.runtime import open_run_data, train_run, use_device
from fer_ray.training.state import new_state

NUM_FOLDS = 5
"""What cleanlab takes unless it is told otherwise."""
_COST, _TEST, _TRAINING = "cost.json", "test.npy", "training"
Task = tuple[str, Callable[..., None], tuple[Any, ...]]
"""What to say of it, a function that ends at a deadline, and its arguments before the deadline."""


def folder_of(raw: Mapping[str, Any], work: Path, stem: str) -> Path:
    """The folder of a run: its name tells its configuration."""
    return work / f"{stem}-{digest(RunConfig.from_dict(raw).to_dict())}"


def train_folder(raw: Mapping[str, Any], folder: Path, deadline: float) -> None:
    """Train a run and write its folder, its predictions of the test images and its cost.

    Raises:
        PausedError: If the deadline has passed; the run goes on from its last epoch next time.
    """
    if (folder / _TEST).exists():
        return
    run = read_run(raw)
    device, data = use_device(run), open_run_data(run)
    learners, cost = _trained(run, data, folder / _TRAINING, deadline)
    checkpoint = max((folder / _TRAINING).glob("epoch_*"))
    summary, _ = finish_run(run, data, checkpoint, Folder(folder), device)
    write_summary(Folder(folder), summary | {"wall_s": cost["seconds"]})
    write_json(folder / _COST, cost)
    np.save(folder / _TEST, predict_all(learners, data.test, run, device).numpy())
    shutil.rmtree(folder / _TRAINING)


def _trained(
    run: RunConfig, data: FaceData, folder: Path, deadline: float
) -> tuple[list[Learner], dict[str, float]]:
    """Train a run to its end; return its networks, and its seconds and passes per image."""
    if time.time() > deadline:
        raise PausedError
    device = use_device(run)
    with count_passes() as counter:
        runtime = DeadlineRuntime(folder, counter, len(data.train), deadline)
        train_run(run, runtime, data=data)
    state = new_state(run, data, device)
    load_checkpoint(state, max(folder.glob("epoch_*")))
    learners = Learners(state.networks, state.averages, run.compute, device).evaluated
    return learners, runtime.cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A finished run: what it says, its data, its cost, and its predictions of test images."""

    beliefs: Beliefs
    data: FaceData
    cost: Mapping[str, float]
    test: np.ndarray


def open_folder(folder: Path) -> Opened:
    """Open what `train_folder` has written."""
    run = open_run(folder)
    data = open_run_data(run.config)
    return Opened(
        beliefs=read_beliefs(run, data),
        data=data,
        cost=read_json(folder / _COST),
        test=np.load(folder / _TEST).astype(np.float64),
    )


def cross_validate(raw: Mapping[str, Any], folder: Path, deadline: float) -> None:
    """Predict every training image by networks that learned from the other folds.

    The verified labels that the configuration names are learned from in place of the given ones.

    Raises:
        PausedError: If the deadline has passed.
    """
    done = folder / "prob.npy"
    if done.exists():
        return
    run = read_run(raw)
    device, data = use_device(run), open_run_data(run)
    alone = np.full(len(data.train), -1)
    fold = grouped_folds(data.train.label, alone, NUM_FOLDS, run.seed)
    prob = np.zeros((len(data.train), data.num_classes))
    costs = []
    for number in range(NUM_FOLDS):
        rows, held_out = (np.flatnonzero(x) for x in (fold != number, fold == number))
        part = replace(data, train=data.train.take(rows), verified=None, verified_val=None)
        learners, cost = _trained(run, part, folder / str(number), deadline)
        prob[held_out] = predict_all(learners, data.train.take(held_out), run, device).numpy()
        # Passes per image of the whole training set; every image is predicted once, and mirrored.
        passes = cost["passes"] * len(rows) + 2 * len(held_out)
        costs.append({"seconds": cost["seconds"], "passes": passes / len(data.train)})
    write_json(folder / _COST, {key: sum(cost[key] for cost in costs) for key in costs[0]})
    np.save(done, prob)
    for number in range(NUM_FOLDS):
        shutil.rmtree(folder / str(number))


def open_validated(folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    """The predictions of `cross_validate`, and its cost."""
    return np.load(folder / "prob.npy"), read_json(folder / _COST)


def next_review(
    opened: Opened, strategy: Sample, num: int, seed: int, earlier: Path | None, out: Path
) -> None:
    """Review `num` more images as the known truth has it, and write all verified labels so far.

    Images of unknown truth are reviewed too: nobody can tell their class.

    Args:
        opened: The run of the round before.
        strategy: How images are drawn.
        num: How many.
        seed: Of the draw.
        earlier: The file of the round before.
        out: The file to write.
    """
    beliefs, data = opened.beliefs, opened.data
    drawn = draw(beliefs, num, strategy, seed)
    rows = {}
    if earlier is not None:
        with earlier.open(encoding="utf-8", newline="") as file:
            rows = {int(row["index"]): row for row in csv.DictReader(file)}
    for i in drawn.again.tolist():
        rows[int(beliefs.row[i])]["sample"] = "random"
    for i, is_random in zip(drawn.images.tolist(), drawn.is_random.tolist(), strict=True):
        truth = int(data.train.true_label[i])
        label = "" if truth == UNKNOWN_TRUTH else data.class_names[truth]
        index = int(beliefs.row[i])
        rows[index] = {
            "index": str(index),
            "label": label,
            "sample": "random" if is_random else "picked",
        }
    part = out.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["index", "label", "sample"])
        writer.writeheader()
        writer.writerows(rows.values())
    part.replace(out)


def is_finished(folder: Path) -> bool:
    """Whether a run, or a cross-validation, has come to its end."""
    return (folder / _TEST).exists() or (folder / "prob.npy").exists()
