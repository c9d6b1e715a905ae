"""Rows of a run, and W&B runs of a test that are opened and read back."""

import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_ray.record.wandb_library import close_wandb
from fer_ray.record.wandb_run import WandbTracker, open_wandb
from tests.wandb_reader import OfflineRun, read_runs

CLASSES = ("neutral", "fear")


def make_row(epoch: int) -> dict[str, Any]:
    """A row as the training loop reports it."""
    return {
        "epoch": epoch,
        "train/loss": 1.0 / epoch,
        "val/recall/fear": float("nan"),
        "val/confusion": [[5, epoch], [1, 7]],
        "split/precision": np.float32(0.5),
        "split/histogram": {"edges": [0.0, 0.5, 1.0], "counts": [[3, 4], [5, 6]]},
        "split/mixture": {
            "mean": [[0.1, 0.7], [0.2, 0.8]],
            "std": [[0.05, 0.1], [0.05, 0.1]],
            "weight": [[0.6, 0.4], [0.5, 0.5]],
        },
    }


def picture() -> bytes:
    """A small PNG."""
    file = BytesIO()
    Image.new("RGB", (4, 3), "red").save(file, format="PNG")
    return file.getvalue()


def start(directory: Path, trial: str = "trial_1", **options: Any) -> WandbTracker:
    """Open a run."""
    given: dict[str, Any] = {
        "search": "search",
        "mode": "offline",
        "class_names": CLASSES,
        "config": {"method": {"name": "dividemix", "thresholds": {"fear": 0.4}}},
        "timeout_s": 6.0,
    }
    tracker = open_wandb(trial, directory=directory, **(given | options))
    assert isinstance(tracker, WandbTracker)
    return tracker


def written_runs(directory: Path) -> list[OfflineRun]:
    """Runs below a directory, once W&B's own process has closed their files."""
    close_wandb()
    return read_runs(directory)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Messages of warnings and errors."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
