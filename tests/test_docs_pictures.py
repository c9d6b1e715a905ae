"""The pictures of the documentation can be drawn from a search's folder and committed figures."""

import csv
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import ROOT

METRIC = "val/macro_recall"


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("pictures")


@pytest.fixture
def search(tmp_path: Path) -> Path:
    """What a search of three trials leaves, as far as the pictures read it."""
    values = {"trial_001": [0.2, 0.5, 0.4], "trial_002": [0.1, 0.1], "trial_003": []}
    with (tmp_path / "trials.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "epochs", "best", "failure"])
        for name, metric in values.items():
            folder = tmp_path / name
            folder.mkdir()
            failure = "" if metric else "EmptySplitError: nothing is kept"
            writer.writerow([name, len(metric), max(metric, default=""), failure])
            rows = [{"epoch": i + 1, METRIC: value} for i, value in enumerate(metric)]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
            (folder / "params.json").write_text('{"optim.momentum": 0.9}', encoding="utf-8")
            (folder / "config.yaml").write_text(yaml.safe_dump({"optim": {"epochs": 3}}))
    recall = {"fear": 0.5, "anger": 1.0}
    test = {"accuracy": 0.75, "macro_recall": 0.75, "recall": recall}
    summary = {
        "metric": METRIC,
        "mode": "max",
        "num_trials": 3,
        "wall_s": 65.0,
        "best": {"trial": "trial_001"},
        "test": test | {"confusion_matrix": [[1, 1], [0, 2]]},
        "classes": list(recall),
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return tmp_path


def test_the_terminal_shows_trials_and_test(pictures: Any, search: Path) -> None:
    summary = json.loads((search / "summary.json").read_text(encoding="utf-8"))
    trials = pictures.read_trials(search)
    assert [trial.status for trial in trials] == ["done", "stopped", "infeasible"]
    svg = pictures.terminal_svg(summary, trials)
    text = re.sub(r"<[^>]*>|&#160;", " ", svg)
    for word in ("trial_003", "infeasible", "2/3", "0.5000", "1:05", "fear", "0.7500"):
        assert word in text, word
    assert "@font-face" not in svg


def test_the_figures_are_drawn(
    pictures: Any, search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = json.loads((search / "summary.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(pictures, "DOCS", tmp_path)
    pictures.save(pictures.results_figure(summary, pictures.read_trials(search)), "results.png")
    pictures.save(pictures.accuracy_figure(), "accuracy.png")
    pictures.save(pictures.worth_figure(), "worth.png")
    for name in ("results.png", "accuracy.png", "worth.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
