"""How the trials of a search are ranked by validation and by test figures."""

import json
from pathlib import Path

import pytest

from benchmarks.trial_ranks import rank_rows

EPOCHS = 3


def write_trial(folder: Path, loss: float, accuracy: float, truth: float, epochs: int) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"optim: {{epochs: {EPOCHS}}}\n")
    row = {"epoch": 1, "val/loss": loss, "val/accuracy": accuracy, "val/recall/fear": 0.5}
    (folder / "metrics.jsonl").write_text(f"{json.dumps(row)}\n" * epochs)
    points = {"natural": {"accuracy": truth}, "balanced": {"macro_recall": truth / 2}}
    (folder / "truth.json").write_text(json.dumps(points))


def test_figures_are_ranked_by_trials_that_were_trained_to_the_end(tmp_path: Path) -> None:
    for number, (loss, accuracy, truth) in enumerate(
        [(2.0, 0.5, 0.6), (1.0, 0.4, 0.7), (3.0, 0.6, 0.5)]
    ):
        write_trial(tmp_path / f"trial_00{number}", loss, accuracy, truth, EPOCHS)
    write_trial(tmp_path / "trial_004", 0.0, 9.0, 9.0, EPOCHS - 1)  # was stopped early
    write_trial(tmp_path / "reference", 2.5, 0.55, 0.55, EPOCHS)

    best, worst = rank_rows([tmp_path])

    assert (best["case"], best["trials"]) == ("val/loss", 4)  # the least loss is the best trial
    assert best["rank"] == {"natural": pytest.approx(1), "balanced": pytest.approx(1)}
    assert worst["case"] == "val/accuracy"
    assert worst["rank"] == {"natural": pytest.approx(-1), "balanced": pytest.approx(-1)}


def test_two_trials_have_no_ranks(tmp_path: Path) -> None:
    for number in range(2):
        write_trial(tmp_path / f"trial_00{number}", number, number, number, EPOCHS)
    assert rank_rows([tmp_path]) == []
