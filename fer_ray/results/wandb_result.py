"""What W&B gets at the end: the test of a search, and files as artifacts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_ray.record.storage import Folder
from fer_ray.record.wandb_run import WandbTracker, open_wandb
from fer_ray.record.wandb_sweep import read_sweep

_ARTIFACTS = {
    "model": ("checkpoints/best.pt", "config.yaml"),
    "audit": ("split.npz", "audit.csv", "audit.parquet"),
    "report": ("report.html",),
}


def artifacts_of(*folders: Folder) -> dict[str, dict[str, bytes]]:
    """Return the files of runs and searches that are worth keeping, by kind and name.

    Args:
        folders: A run's folder; for a search, its own folder too.
    """
    found: dict[str, dict[str, bytes]] = {}
    for kind, names in _ARTIFACTS.items():
        files = {
            name.rpartition("/")[2]: folder.read_bytes(name)
            for folder in folders
            for name in names
            if folder.exists(name)
        }
        if files:
            found[kind] = files
    return found


def send_result(folder: Folder, directory: Path, *, artifacts: bool) -> None:
    """Record the result of a search as one more run, of kind `search`, that is in no sweep.

    It holds the test of the best trial, which W&B's page of that trial does not know, because only
    the end of a search tells which one it is. What is on the server is not sent again.

    Args:
        folder: The search's folder.
        directory: Local directory for W&B's files.
        artifacts: Whether to send the best networks, what is known of the labels, and the report.
    """
    search = read_sweep(folder)
    if search is None or search.is_sent or not folder.exists("summary.json"):
        return
    summary: Mapping[str, Any] = json.loads(folder.read_text("summary.json"))
    tracker = open_wandb(
        "result",
        search=folder.name,
        mode="online",
        directory=directory,
        class_names=summary["classes"],
        config={"sweep": dict(search.config), "seed": summary["seed"]},
        place=replace(search.place, sweep=None),
        job_type="search",
    )
    if artifacts:
        for kind, files in artifacts_of(folder / summary["best"]["trial"], folder).items():
            tracker.artifact(kind, files)
    pictures = {"test/confusion": folder.read_bytes("confusion_matrix.png")}
    tracker.finish(summary=summary, pictures=pictures)
    if isinstance(tracker, WandbTracker) and tracker.mode == "online" and not tracker.has_failed:
        replace(search, is_sent=True).write(folder)
