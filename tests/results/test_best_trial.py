"""Which trial wins, and the table of all of them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from fer_ray.record.storage import Folder
from fer_ray.results.best_trial import best_trial, table_csv, trial_table
from fer_ray.search.sweep import MetricMode


def row(name: str, best: float | None, failure: str | None = None) -> dict[str, Any]:
    return {"trial": name, "best": best, "failure": failure}


@pytest.mark.parametrize(("mode", "name"), [("max", "b"), ("min", "a")])
def test_the_best_trial_is_the_first_with_the_best_value(mode: MetricMode, name: str) -> None:
    table = [row("a", 0.2), row("b", 0.6), row("c", 0.6), row("d", None)]
    found = best_trial(table, mode)
    assert found is not None
    assert found["trial"] == name


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_failed_trial_never_wins(mode: MetricMode) -> None:
    table = [row("a", 0.9, "EmptySplitError: x"), row("b", 0.5), row("c", 0.1, "OSError: y")]
    found = best_trial(table, mode)
    assert found is not None
    assert found["trial"] == "b"
    assert best_trial([table[0], row("d", None)], mode) is None


def test_the_reference_never_wins() -> None:
    found = best_trial([row("trial_001", 0.5), row("reference", 0.9)], "max")
    assert found is not None
    assert found["trial"] == "trial_001"
    assert best_trial([row("reference", 0.9)], "max") is None


def leave(folder: Path, name: str, rows: list[dict[str, Any]], params: dict[str, Any]) -> None:
    (folder / name).mkdir()
    (folder / name / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in rows))
    (folder / name / "params.json").write_text(json.dumps(params))


def test_the_table_is_read_from_the_trials_files(tmp_path: Path) -> None:
    rows = [
        {"epoch": e, "val/loss": loss, "time/epoch_s": 2.0}
        for e, loss in ((1, 0.5), (2, 0.3), (3, 0.4))
    ]
    leave(tmp_path, "trial_001", rows, {"optim.epochs": 3})
    leave(tmp_path, "trial_002", rows[:1], {"optim.momentum": 0.5})
    failure = {"kind": "EmptySplitError", "message": "none left"}
    (tmp_path / "trial_002" / "failure.json").write_text(json.dumps(failure))
    leave(tmp_path, "trial_003", [], {})
    leave(tmp_path, "reference", rows[:2], {})
    (tmp_path / "trial_004").mkdir()  # never started
    (tmp_path / "train_runs").mkdir()

    table = trial_table(Folder(tmp_path), "val/loss", "min", "best")

    assert [line["trial"] for line in table] == [
        *("trial_001", "trial_002", "trial_003", "reference")
    ]
    assert [line["epochs"] for line in table] == [3, 1, 0, 2]
    assert [(line["best_epoch"], line["best"]) for line in table] == [
        (2, 0.3),
        (1, 0.5),
        (None, None),
        (2, 0.3),
    ]
    last = trial_table(Folder(tmp_path), "val/loss", "min", "last")
    assert [line["best"] for line in last] == [0.4, 0.5, None, 0.3]
    assert [line["seconds"] for line in table] == [6.0, 2.0, 0, 4.0]
    assert [line["failure"] for line in table] == [None, "EmptySplitError: none left", None, None]

    written = list(csv.DictReader(io.StringIO(table_csv(table))))
    assert list(written[0]) == [
        *("trial", "epochs", "best_epoch", "best", "seconds", "failure"),
        *("optim.epochs", "optim.momentum"),
    ]
    assert [line["optim.epochs"] for line in written] == ["3", "", "", ""]
