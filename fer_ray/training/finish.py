"""The end of a run: its chosen networks are tested once, and the run's files are written."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from fer_ray import __version__
from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.metrics import UNLABELED
from fer_ray.core.types import SplitResult
from fer_ray.data import FaceData, noise_of
from fer_ray.methods.peer_posterior import PeerPosterior
from fer_ray.record.plots import confusion_csv, confusion_png, curves_png, losses_png
from fer_ray.record.rows import plain
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import Best, load_best, load_history, load_split
from fer_ray.training.checkpoints import Checkpoints
from fer_ray.training.environment import environment
from fer_ray.training.evaluation import evaluate
from fer_ray.training.learner import Images, Learner
from fer_ray.training.models import FaceNetwork
from fer_ray.training.operating_point import MEAN_KEY, final_figures, points_used, read_priors
from fer_ray.training.state import saved_networks

SPLIT = "split.npz"
"""File of what a run knows of its training images."""
TEST = "test.npz"
"""File of what a run's networks say of the test images."""
CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints."""


def finish_run(
    run: RunConfig, data: FaceData, checkpoint: Path, folder: Folder, device: torch.device
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Evaluate the chosen networks of a checkpoint on the test set and write a run's files.

    Writes `config.yaml`, `confusion_matrix.csv` and `.png`, `split.npz`, `test.npz`, `losses.png`
    (if there was a split), `curves.png` (if there was more than one epoch) and
    `checkpoints/best.pt`.

    Args:
        run: The run that wrote the checkpoint.
        data: The run's data.
        checkpoint: Folder of the checkpoint, on this machine.
        folder: The run's folder.
        device: Where the networks are evaluated.

    Returns:
        The content of `summary.json` without `wall_s`, and the pictures as PNG by name.

    Raises:
        ValueError: If no epoch had a finite metric, or the checkpoint cannot be read.
    """
    best = _chosen(run, checkpoint)
    history, split = load_history(checkpoint), load_split(checkpoint)
    learners = best_learners(run, data, best, device)
    row = next(row for row in history if row["epoch"] == best.epoch)
    # The test images' own mean prediction would make an answer depend on the other test images.
    mean = torch.tensor(row[MEAN_KEY], dtype=torch.float64)
    priors = read_priors(run, data, noise_of(data))
    images = Images(data.test, device)
    prob = _predict(learners, images, run, data)
    test = final_figures(prob, images.label, data.class_names, priors, mean)
    confusion = test["confusion_matrix"]
    pictures = {"confusion_matrix": confusion_png(confusion, data.class_names, "Test set")}
    if len(history) > 1:
        pictures["curves"] = curves_png(
            history, _curve_keys(data), f"Validation, {run.method.label}"
        )
    divided = [row for row in history if "split/histogram" in row]
    if divided:
        histogram = divided[-1]["split/histogram"]
        # A split may last for several epochs; its losses are those of the first.
        made = next(row for row in divided if row["split/histogram"] == histogram)
        pictures["losses"] = losses_png(
            histogram, made.get("split/mixture"), f"Losses, epoch {made['epoch']}"
        )
    for name, png in pictures.items():
        folder.write_bytes(f"{name}.png", png)
    folder.write_text("config.yaml", yaml.safe_dump(run.to_dict(), sort_keys=False))
    folder.write_text("confusion_matrix.csv", confusion_csv(confusion, data.class_names))
    folder.write_bytes(SPLIT, _split_file(run, data, split))
    folder.write_bytes(TEST, _test_file(data, prob))
    folder.write_bytes("checkpoints/best.pt", (checkpoint / "best.pt").read_bytes())
    points = points_used(run, priors, mean, data.class_names)
    return _summary(run, data, row, history, {"test": test, "prediction": points}), pictures


def validation_prob(
    run: RunConfig, data: FaceData, checkpoint: Path, device: torch.device
) -> Float[Tensor, "image class"]:
    """What the chosen networks of a checkpoint say of the validation images, as trained.

    Raises:
        ValueError: If no epoch had a finite metric, or the checkpoint cannot be read.
    """
    learners = best_learners(run, data, _chosen(run, checkpoint), device)
    return _predict(learners, Images(data.val, device), run, data)


def write_summary(folder: Folder, summary: Mapping[str, Any]) -> None:
    """Write `summary.json` as strict JSON: numbers that are not finite become null."""
    folder.write_text("summary.json", json.dumps(plain(summary), indent=2) + "\n")


def _chosen(run: RunConfig, checkpoint: Path) -> Best:
    best = load_best(checkpoint)
    if best is None:
        raise ValueError(
            f"{checkpoint}: {run.metric} was not finite in any epoch, so there is no best network; "
            "look at metrics.jsonl, or choose another metric"
        )
    return best


def _predict(
    learners: list[Learner], images: Images, run: RunConfig, data: FaceData
) -> Float[Tensor, "image class"]:
    prob = evaluate(learners, images, run, data.num_classes)
    assert prob is not None, "call it in one process"
    return prob


def best_learners(
    run: RunConfig, data: FaceData, best: Best, device: torch.device
) -> list[Learner]:
    """Load the best networks of a run, ready to predict; see `exact_learner`."""
    networks = saved_networks(
        run,
        best.weights,
        num_classes=data.num_classes,
        num_channels=data.num_channels,
        image_size=data.image_size,
    )
    return [exact_learner(network, device) for network in networks]


def exact_learner(network: FaceNetwork, device: torch.device) -> Learner:
    """A network that predicts in float32, whatever `compute.bf16` says of training.

    So a run's test, its predictions and its exported model are the same on every machine.
    """
    return Learner(network.to(device), bf16=False, channels_last=True)


def _summary(
    run: RunConfig,
    data: FaceData,
    row: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    tested: Mapping[str, Any],
) -> dict[str, Any]:
    speeds = [row["time/images_per_s"] for row in history]
    keys = ("macro_recall", "accuracy", "loss", run.metric.removeprefix("val/"))
    return {
        "metric": run.metric,
        "mode": run.mode,
        "select": run.select,
        "best": {
            "epoch": row["epoch"],
            "config": run.to_dict(),
            "val": {key: row[f"val/{key}"] for key in dict.fromkeys(keys)},
        },
        **tested,
        "classes": list(data.class_names),
        "images": {"num_channels": data.num_channels, "size": list(data.image_size)},
        "version": __version__,
        "environment": environment(),
        "images_per_s": float(np.median(speeds)),
        "seed": run.seed,
    }


def _curve_keys(data: FaceData) -> list[str]:
    return ["val/macro_recall", "val/accuracy", *(f"val/recall/{x}" for x in data.class_names)]


def _split_file(run: RunConfig, data: FaceData, split: SplitResult | None) -> bytes:
    """Return the content of `split.npz`: labels and the last split, per training image.

    Row k of `clean_prob`, `is_labeled`, `trained_label`, `kept_splits` and `posterior` is what
    network k trained on: `is_labeled` where it believed the given label, `trained_label` with which
    label (-1: none), pseudo-labels too. Without a split, all given labels count as kept,
    `clean_prob` is NaN and `prediction` is -1.
    """
    num = len(data.train)
    arrays: dict[str, np.ndarray] = {
        "index": np.arange(num),
        "row": np.asarray(data.train.row),
        "label": np.asarray(data.train.label),
        "true_label": np.asarray(data.train.true_label),
        "clean_prob": np.full((1, num), np.nan, np.float32),
        "is_labeled": np.asarray(data.train.label)[None] >= 0,
        "trained_label": np.asarray(data.train.label)[None],
        "prediction": np.full(num, -1),
        "class_names": np.array(data.class_names),
    }
    if split is not None:
        given = torch.from_numpy(np.array(data.train.label))
        arrays |= {
            "clean_prob": split.clean_prob.numpy(),
            "is_labeled": (split.is_labeled & (split.label == given)).numpy(),
            "trained_label": torch.where(split.is_labeled, split.label, UNLABELED).numpy(),
            "prediction": split.memory["prediction"].numpy(),
            "threshold": split.threshold.numpy(),
            "kept_splits": split.memory["kept_splits"].numpy(),
            "num_splits": split.memory["num_splits"].numpy(),
        }
        if isinstance(run.method, PeerPosterior):
            arrays |= {key: split.memory[key].numpy() for key in ("transition", "prior")}
            posterior = _mean_posterior(run.method, split)
            arrays["posterior"] = posterior.numpy().astype(np.float16)
    return _npz(arrays)


def _test_file(data: FaceData, prob: Float[Tensor, "image class"]) -> bytes:
    """Return the content of `test.npz`: the mean prediction of the networks as trained.

    Two runs that were tested on the same images can be compared image by image.
    """
    arrays = {
        "row": np.asarray(data.test.row),
        "label": np.asarray(data.test.label),
        "prob": prob.cpu().numpy(),
        "class_names": np.array(data.class_names),
    }
    return _npz(arrays)


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _mean_posterior(
    method: PeerPosterior, split: SplitResult
) -> Float[Tensor, "network sample class"]:
    """The posteriors of all splits, the late ones counting most.

    These are the targets, less what is left in them of the given labels that they began with. Their
    mean over epochs finds wrong labels better than the last posterior.
    """
    target = split.memory["target"]
    rest = method.target_momentum ** int(split.memory["num_splits"])
    is_given = split.label[..., None] == torch.arange(target.shape[2])
    mean = (target - rest * is_given).clamp_min(0)
    return mean / mean.sum(dim=2, keepdim=True).clamp_min(1e-12)


@contextmanager
def last_checkpoint(checkpoints: Folder) -> Iterator[Path]:
    """Open the newest checkpoint of a run that has ended, as a folder on this machine.

    Args:
        checkpoints: The folder that holds the run's checkpoints.

    Raises:
        ConfigError: If no checkpoint is whole.
    """
    with Checkpoints(checkpoints).newest() as folder:
        if folder is None:
            raise ConfigError(
                f"{checkpoints}: expected a checkpoint, got none, because the run ended before its "
                "first epoch did; start it again"
            )
        yield folder


def unlogged_rows(known: int, checkpoints: Folder) -> list[dict[str, Any]]:
    """Return the rows after epoch `known` that are in a run's newest checkpoint.

    A checkpoint carries the rows of its epochs. A command that was killed may have written it
    without logging the last of them.
    """
    with Checkpoints(checkpoints).newest() as folder:
        history = [] if folder is None else load_history(folder)
    return [row for row in history if row["epoch"] > known]


def evaluation_device() -> torch.device:
    """Return the device on which the driver evaluates: CUDA if there is any, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
