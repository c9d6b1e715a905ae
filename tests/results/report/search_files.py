"""Writes the folders of runs and searches that reports are made of."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fer_ray.config import RunConfig
from fer_ray.data import FaceData
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.results.report.records import SearchFound
from fer_ray.results.report.search import read_search
from fer_ray.results.run_files import names_in
from fer_ray.training.checkpoint import save_checkpoint
from fer_ray.training.finish import finish_run, write_summary
from tests.samples import CPU, train

METRIC = "val/macro_recall"
SPACE: dict[str, Any] = {
    "run": {"data": "synthetic", "method": {"name": "co_divide"}},
    "reference": {"method": "cross_entropy"},
    "method": "bayes",
    "metric": {"name": METRIC, "goal": "maximize"},
    "parameters": {
        "optim.learning_rate": {"distribution": "log_uniform_values", "min": 0.001, "max": 1.0},
        "method.thresholds.fear": {"distribution": "uniform", "min": 0.1, "max": 0.9},
        "optim.name": {"values": ["sgd", "adamw"]},
    },
}
EMPTY = {"kind": "EmptySplitError", "message": "epoch 2: 0 images keep their label"}
BROKEN = {"kind": "OSError", "message": "</script><b>disk & full</b>"}


def leave_run(run: RunConfig, data: FaceData, folder: Path, scratch: Path) -> None:
    """Train a run in this process and leave all files of its folder."""
    state, rows = train(run, data)
    scratch.mkdir(parents=True)
    save_checkpoint(state, run, scratch)
    JsonLinesTracker(Folder(folder)).log_history(rows)
    summary, _ = finish_run(run, data, scratch, Folder(folder), CPU)
    write_summary(Folder(folder), summary | {"wall_s": 1.0})


def params(number: int) -> dict[str, Any]:
    """What trial `number` has sampled; learning rates sort as numbers, not as text."""
    return {
        "optim.learning_rate": 1e-5 * 1.2**number,
        "method.thresholds.fear": 0.1 + (7 * number % 10) / 12,
        "optim.name": ("sgd", "adamw")[number % 2],
    }


def leave_trial(
    search: Path, number: int, value: float | None, *, epochs: int, failure: Any = None
) -> None:
    """Leave the files of a trial that was not tested, of a run with four epochs."""
    folder = search / f"trial_{number:03d}"
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps(params(number)))
    config = RunConfig.from_dict({"method": {"name": "co_divide"}, "optim": {"epochs": 4}})
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    rows = [
        {
            "epoch": epoch,
            METRIC: None if value is None else value * epoch / epochs,
            "val/recall/neutral": value,
            "val/confusion": [[1]],
            "time/epoch_s": 1.5,
        }
        for epoch in range(1, epochs + 1)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text)
    if failure is not None:
        (folder / "failure.json").write_text(json.dumps(failure))


def leave_search(
    folder: Path,
    trained: Mapping[str, Path],
    *,
    space: Mapping[str, Any] = SPACE,
    has_ended: bool = True,
) -> Path:
    """Leave a search whose trials are copies of the folders in `trained`, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = {"format": 3, "space": dict(space), "overrides": {"optim.epochs": 4}}
    (folder / "search.yaml").write_text(yaml.safe_dump(begun))
    for number, (name, source) in enumerate(trained.items(), start=1):
        shutil.copytree(source, folder / name)
        sampled = {} if name == "reference" else params(40 + number)
        (folder / name / "params.json").write_text(json.dumps(sampled))
    if has_ended:
        (folder / "trials.csv").write_text("trial\n")
        (folder / "summary.json").write_text(json.dumps({"wall_s": 75.0}))
    return folder


def opened(folder: Path) -> SearchFound:
    """Read a search."""
    return read_search(Folder(folder), names_in(Folder(folder)))
