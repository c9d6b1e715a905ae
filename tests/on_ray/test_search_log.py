"""The driver's record of a search, with stand-ins for Tune's trials."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fer_ray.on_ray.search_log import SearchLog
from fer_ray.record.storage import Folder
from fer_ray.search.reading import parse_space
from fer_ray.search.stored import StoredTrial, read_trials

pytestmark = pytest.mark.lowest

EPOCHS = 2


@dataclass
class EndedTrial:
    """The part of Tune's trial that a callback reads."""

    config: dict[str, Any]
    last_result: dict[str, Any] = field(default_factory=dict)


def search_log(folder: Path, ended: Sequence[StoredTrial] = ()) -> SearchLog:
    raw = {
        "run": {"optim": {"epochs": EPOCHS}},
        "method": "random",
        "metric": {"name": "val/macro_recall", "goal": "maximize"},
        "parameters": {"optim.learning_rate": {"values": [0.1, 0.2]}},
    }
    return SearchLog(
        space=parse_space(raw, "file"),
        folder=Folder(folder),
        class_names=("a", "b"),
        num_trials=4,
        wandb="disabled",
        wandb_dir=str(folder / "wandb"),
        ended=ended,
    )


def leave(folder: Path, number: int, recalls: list[float], failure: str | None = None) -> None:
    """Write the files of a trial of an earlier session."""
    path = folder / f"trial_{number + 1:03d}"
    path.mkdir()
    rows = [{"epoch": e, "val/macro_recall": r} for e, r in enumerate(recalls, start=1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "draw.json").write_text(json.dumps({"optim.learning_rate": 0.1}))
    (path / "end.json").write_text(json.dumps({"status": "x", "value": 0.1, "retry": False}))
    if failure is not None:
        content = {"kind": failure, "message": "it could not go on"}
        (path / "failure.json").write_text(json.dumps(content))


def test_a_resumed_search_shows_the_trials_that_had_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path, 0, [0.3, 0.4])
    leave(tmp_path, 1, [0.2])
    leave(tmp_path, 2, [0.9], failure="EmptySplitError")
    leave(tmp_path, 4, [0.1])
    log = search_log(tmp_path, read_trials(Folder(tmp_path)))
    log.setup()
    log.close()

    output = capsys.readouterr().out.splitlines()
    shown = [line.split(":")[0] for line in output if line.startswith("trial_")]
    assert shown == [
        "trial_001 done at epoch 2/2",
        "trial_002 stopped at epoch 1/2",
        "trial_003 infeasible at epoch 1/2",
        "trial_005 stopped at epoch 1/2",
    ]
    text = " ".join(" ".join(output).split())
    assert "1 infeasible; best macro_recall 0.4000 (trial_001)" in text
    assert text.count("was stopped early") == 1  # in words, of the first one
    assert "trial_002 was stopped early: after 1 epochs" in text
    assert text.count("EmptySplitError: it could not go on") == 1


@pytest.mark.parametrize(
    ("failure", "recalls", "end"),
    [
        (None, [0.1, 0.2], "done"),
        (None, [0.1], "stopped"),
        ("EmptySplitError", [0.1], "infeasible"),
        ("FloatingPointError", [0.1, 0.2], "failed"),
    ],
)
def test_the_status_of_a_trial_follows_from_its_files(
    failure: str | None, recalls: list[float], end: str, tmp_path: Path
) -> None:
    leave(tmp_path, 0, recalls, failure)
    (stored,) = read_trials(Folder(tmp_path))
    log = search_log(tmp_path, [stored])
    log.setup()
    try:
        assert log._status(stored) == end
    finally:
        log.close()


def test_a_failure_is_recorded_but_not_as_a_row(tmp_path: Path) -> None:
    log, trial = search_log(tmp_path), EndedTrial({"trial": 0, "optim.learning_rate": 0.1})
    log.setup()
    try:
        log.on_trial_result(0, [], trial, {"epoch": 1, "val/macro_recall": 0.4, "pid": 3})
        failure = {"kind": "EmptySplitError", "message": "nothing left"}
        log.on_trial_result(
            0, [], trial, {"epoch": 2, "val/macro_recall": -1.0, "failure": failure}
        )
    finally:
        log.close()
    folder = tmp_path / "trial_001"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"epoch": 1, "val/macro_recall": 0.4}]
    assert json.loads((folder / "failure.json").read_text()) == failure
    assert json.loads((folder / "params.json").read_text()) == {"optim.learning_rate": 0.1}


def test_a_class_that_starves_is_said_once_for_a_trial_when_it_happens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [EndedTrial({"trial": k, "optim.learning_rate": 0.1}) for k in range(2)]
    row = {"val/macro_recall": 0.4}
    starved = row | {"split/rescued/b": 3.0, "split/labeled_fraction/a": 0.5}
    for session in range(2):  # the second one is the search resumed
        log = search_log(tmp_path)
        log.setup()
        try:
            log.on_trial_result(0, [], trials[0], {"epoch": 3 * session + 1, **row})
            assert "hardly a label" not in capsys.readouterr().out
            for epoch in (2, 3):
                log.on_trial_result(0, [], trials[0], {"epoch": 3 * session + epoch, **starved})
            said = capsys.readouterr().out
        finally:
            log.close()
        assert said.count("hardly a label") == 1 - session
        if not session:
            assert "note: trial_001: hardly a label of b left at epoch 2\n" in said
    log = search_log(tmp_path)
    log.setup()
    try:
        log.on_trial_result(0, [], trials[1], {"epoch": 1, "split/rescued/a": 1.0, **row})
        assert "trial_002: hardly a label of a left at epoch 1" in capsys.readouterr().out
    finally:
        log.close()


def test_a_trial_that_ended_says_how_and_one_that_repeats_its_last_row_changes_nothing(
    tmp_path: Path,
) -> None:
    log, trial = search_log(tmp_path), EndedTrial({"trial": 0, "optim.learning_rate": 0.1})
    log.setup()
    try:
        for epoch, recall in ((1, 0.3), (2, 0.4), (2, 0.9)):
            trial.last_result = {"epoch": epoch, "val/macro_recall": recall}
            log.on_trial_result(0, [], trial, trial.last_result)
        assert not (tmp_path / "trial_001" / "end.json").exists()
        log.on_trial_complete(0, [], trial)
    finally:
        log.close()
    (stored,) = read_trials(Folder(tmp_path))
    assert [row["val/macro_recall"] for row in stored.rows] == [0.3, 0.4]
    assert stored.end == {"status": "done", "value": 0.9, "retry": False}
    assert stored.config == {"trial": 0, "optim.learning_rate": 0.1}
