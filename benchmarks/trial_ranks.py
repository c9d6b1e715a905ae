"""Which validation figure ranks the trials of a search as their test figures do?

Part of `tuning.py`. Every trial of a search that was trained to the end is tested, which a search
itself does with the best one only; what the test says is kept in the trial's folder.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks import report
from benchmarks.runs import read_run
from fer_ray.core.yaml_input import load_yaml
from fer_ray.record.storage import Folder
from fer_ray.training.finish import finish_run
from fer_ray.training.runtime import open_run_data, use_device

TRUTHS = {"natural": "accuracy", "balanced": "macro_recall"}
"""What counts at an operating point."""
Figures = dict[str, float]


def rank_rows(searches: Sequence[Path]) -> list[report.Row]:
    """Return a row per validation figure, the best ranks first.

    Args:
        searches: Folders of finished searches; a rank is the mean over those with three trials that
            were trained to the end, or more.
    """
    found = [trials for trials in map(judge, searches) if len(trials) > 2]
    if not found:
        return []
    rows: list[report.Row] = [
        {
            "case": name,
            "trials": sum(map(len, found)),
            "rank": {
                point: float(np.mean([_rank(x, name, point) for x in found])) for point in TRUTHS
            },
        }
        for name in found[0][0]
        if name not in TRUTHS
    ]
    return sorted(rows, key=lambda row: -sum(row["rank"].values()))


def judge(search: Path) -> list[Figures]:
    """Return validation figures and the truth of every trial that was trained to the end.

    Whatever a search compares its trials with, its reference, is one of them.
    """
    trials = []
    for folder in [*sorted(search.glob("trial_*")), search / "reference"]:
        path = folder / "metrics.jsonl"
        rows = (
            [json.loads(x) for x in path.read_text("utf-8").splitlines()] if path.exists() else []
        )
        if rows and len(rows) == load_yaml(folder / "config.yaml")["optim"]["epochs"]:
            figures = {
                key: value
                for key, value in rows[-1].items()
                if key.startswith("val/") and isinstance(value, float) and "/recall/" not in key
            }
            trials.append(figures | _truths(folder))
    return trials


def _truths(folder: Path) -> Figures:
    """Return what the test images say of a trial."""
    path = folder / "truth.json"
    if not path.exists():
        run = read_run(load_yaml(folder / "config.yaml"))
        checkpoint = max((folder / "checkpoints").glob("epoch_*"))
        with tempfile.TemporaryDirectory() as scratch:
            data, device = open_run_data(run), use_device(run)
            summary, _ = finish_run(run, data, checkpoint, Folder(scratch), device)
        path.write_text(json.dumps(summary["test"]["points"]), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {point: found[point][key] for point, key in TRUTHS.items()}


def _rank(trials: Sequence[Figures], name: str, point: str) -> float:
    """Return Spearman's correlation of a figure with the truth; 0 where one does not vary."""
    sign = -1 if name.endswith("loss") else 1
    own, truth = [sign * x[name] for x in trials], [x[point] for x in trials]
    if len(set(own)) < 2 or len(set(truth)) < 2:
        return 0.0
    return float(spearmanr(own, truth).statistic)
