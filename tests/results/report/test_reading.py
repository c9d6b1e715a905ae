"""What a report reads from folders, in any state, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from fer_ray.core.errors import ConfigError
from fer_ray.record.places import StorageError
from fer_ray.record.storage import Folder
from fer_ray.results.report.page import report_html
from fer_ray.results.report.reading import read_run
from fer_ray.results.report.records import CHOSEN
from fer_ray.results.report.search import train_command
from fer_ray.results.run_files import names_in
from tests.results.report.search_files import EMPTY, leave_search, leave_trial, opened


def test_trials_are_told_apart_by_how_they_ended(search: Path) -> None:
    found = opened(search)
    states = {trial.name: trial.status for trial in found.trials}
    assert states == {
        "trial_001": "done",
        "trial_002": "done",
        "trial_003": "stopped",
        "trial_004": "infeasible",
        "trial_005": "failed",
        "trial_006": "done",
    }
    assert found.count("done") == 3
    assert found.reference is not None
    assert found.reference.name == "reference"
    assert found.best is not None
    assert found.best.value == max(t.value or 0 for t in found.trials if not t.failure)
    assert found.log_keys == {"optim.learning_rate"}
    assert found.has_ended


def test_trials_are_compared_as_the_command_line_said(search: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(search, tmp_path / "s")
    begun = yaml.safe_load((folder / "search.yaml").read_text())
    begun["overrides"] |= {"metric": "val/loss", "mode": "min"}
    (folder / "search.yaml").write_text(yaml.safe_dump(begun))
    found = opened(folder)
    assert (found.metric, found.mode) == ("val/loss", "min")
    assert found.best is not None
    losses = [trial.value for trial in found.trials if trial.value is not None]
    assert found.best.value == min(losses)


def test_a_search_that_was_interrupted_is_read_so_far(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    folder = leave_search(tmp_path / "s", {"trial_001": trained["plain"]}, has_ended=False)
    (folder / "trial_001" / "summary.json").unlink()
    leave_trial(folder, 2, 0.1, epochs=2)
    (folder / "trial_003").mkdir()  # it has not started
    found = opened(folder)
    assert [trial.status for trial in found.trials] == ["done", "unfinished"]
    assert found.best_run is not None
    assert found.best_run.tested is None
    assert "has not ended" in report_html(Folder(folder))


def test_a_test_has_the_predictions_behind_its_matrices(search: Path) -> None:
    run = opened(search).best_run
    assert run is not None
    assert run.tested is not None
    assert set(run.tested.confusion) == {CHOSEN, "trained", "natural", "balanced"}
    for point, confusion in run.tested.confusion.items():
        right = run.tested.is_right(point)
        assert right is not None
        assert right.sum() == np.trace(confusion)
        assert confusion.sum() == len(right) == 40


def test_a_test_without_predictions_has_its_matrices(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained["good"], tmp_path / "run"))
    (folder / "test.npz").unlink()
    tested = read_run(Folder(folder), names_in(Folder(folder))).tested
    assert tested is not None
    assert tested.is_right("trained") is None


def test_a_trial_is_trained_again_by_its_file_or_by_its_values() -> None:
    config = {"optim": {"epochs": 12, "batch_size": 7}, "method": {"name": "elr"}}
    assert train_command(Folder("/x/it's"), config).endswith("--config '/x/it'\"'\"'s/config.yaml'")
    remote = train_command(Folder("mock:///x/t"), config)
    assert "--set optim.batch_size=7" in remote
    assert "epochs" not in remote  # as by default
    assert remote.endswith("--set 'method.name=\"elr\"'")


def _empty(folder: Path) -> None:
    folder.mkdir()


def _no_rows(folder: Path) -> None:
    (folder / "metrics.jsonl").unlink()


def _other_version(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    del summary["test"]["points"]["natural"]["confusion_matrix"]
    (folder / "summary.json").write_text(json.dumps(summary))


def _other_rows(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "val/uar": 0.5}\n')


def _write(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_rows, "expected a run with at least one epoch, got none"),
        (_other_version, "expected the key test.points.natural.confusion_matrix, got none"),
        (_other_rows, "expected the recall of every class and val/confusion in every row"),
        (_write("summary.json", "{"), "expected a JSON object, got a damaged file"),
        (_write("config.yaml", "a: ["), "expected the configuration of a run as YAML"),
        (_write("config.yaml", "optim: 3"), "damaged or of another version"),
        (_write("split.npz", "x"), "expected arrays of NumPy, got a damaged file"),
        (_write("test.npz", "x"), "expected arrays of NumPy, got a damaged file"),
    ],
)
def test_a_run_that_cannot_be_shown_is_refused(
    damage: Callable[[Path], None], message: str, trained: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained["good"], tmp_path / "run"))
    damage(folder)
    with pytest.raises((ConfigError, StorageError), match=message) as caught:
        report_html(Folder(folder))
    assert "\n" not in str(caught.value)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="an empty folder or none at all"):
        report_html(Folder(tmp_path / "nothing"))
    (tmp_path / "file").write_text("x")
    with pytest.raises((ConfigError, StorageError), match="file"):
        report_html(Folder(tmp_path / "file"))


def test_a_search_without_an_epoch_is_refused(tmp_path: Path) -> None:
    folder = leave_search(tmp_path / "s", {}, has_ended=False)
    with pytest.raises(ConfigError, match="got 0 trials begun, none with an epoch"):
        report_html(Folder(folder))


def test_a_damaged_search_is_refused(tmp_path: Path) -> None:
    folder = leave_search(tmp_path / "lead", {})
    leave_trial(folder, 1, 0.5, epochs=2)
    for lead in ("{}", '{"gain": 1.0}', "[1]"):
        (folder / "summary.json").write_text(f'{{"lead": {lead}}}')
        with pytest.raises(ConfigError, match="lead: expected how far a trial is ahead"):
            report_html(Folder(folder))
    folder = leave_search(tmp_path / "s", {})
    leave_trial(folder, 1, 0.5, epochs=2, failure=EMPTY)
    (folder / "trial_001" / "params.json").write_text("{")
    with pytest.raises(ConfigError, match="expected the files of trials"):
        report_html(Folder(folder))
    (folder / "search.yaml").write_text(yaml.safe_dump({"format": 1}))
    with pytest.raises(ConfigError, match="expected the space of a search"):
        report_html(Folder(folder))
