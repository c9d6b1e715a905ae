"""The commands before Ray starts: bad input is one paragraph and exit code 2."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
import yaml

from fer_ray import train, tune
from fer_ray.methods import METHODS
from tests.paths import SPACES

pytestmark = pytest.mark.lowest

FORWARD = "val/forward_loss"
SMOKE = SPACES / "smoke.yaml"
DATA = "synthetic:train=300,test=70"


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    """Commands replace the handlers of signals; this restores those of the test process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def complaint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> "Complaint":
    return Complaint(tmp_path / "runs", capsys)


class Complaint:
    """Runs `tune` (or `train`) with bad input, and returns the paragraph that it prints."""

    def __init__(self, storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.storage = storage
        self._capsys = capsys

    def __call__(self, *argv: str, space: Path = SMOKE) -> str:
        return self._of(tune.main(["--space", str(space), "--storage", str(self.storage), *argv]))

    def of_train(self, *argv: str) -> str:
        return self._of(train.main(["--data", DATA, "--storage", str(self.storage), *argv]))

    def _of(self, code: int) -> str:
        printed = self._capsys.readouterr().err
        assert code == 2, printed
        assert printed.startswith("error: ")
        assert len(printed.splitlines()) == 1
        assert not ray.is_initialized()
        return printed


def _space(folder: Path, **changes: object) -> Path:
    raw = yaml.safe_load(SMOKE.read_text()) | changes
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_a_missing_space_file_is_named(complaint: Complaint, tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"

    assert f"{path}: cannot be read: No such file" in complaint(space=path)


def test_broken_yaml_is_named_with_its_line(complaint: Complaint, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("run:\n  data: synthetic\n  method: {name: co_divide\nparameters: 3\n")

    assert f"{path}, line 4, column" in complaint(space=path)


def test_an_unknown_key_is_named_with_the_nearest(complaint: Complaint, tmp_path: Path) -> None:
    space = _space(tmp_path, parameters={"optim.learnin_rate": {"min": 0.01, "max": 0.1}})

    message = complaint(space=space)

    assert str(space) in message
    assert "optim.learnin_rate" in message
    assert "learning_rate" in message.replace("learnin_rate", "")


def test_a_metric_of_the_test_set_is_refused(complaint: Complaint, tmp_path: Path) -> None:
    space = _space(tmp_path, metric={"name": "test/accuracy", "goal": "maximize"})

    message = complaint(space=space)

    assert "test/accuracy" in message
    assert "val/macro_recall" in message


def test_a_reversed_range_is_refused(complaint: Complaint, tmp_path: Path) -> None:
    domain = {"distribution": "uniform", "min": 0.8, "max": 0.2}
    space = _space(tmp_path, parameters={"method.thresholds.default": domain})

    message = complaint(space=space)

    assert f"{space}: parameters.method.thresholds.default" in message
    assert "0.8" in message


def test_a_threshold_above_one_is_refused_in_a_space(complaint: Complaint, tmp_path: Path) -> None:
    space = _space(tmp_path, parameters={"method.thresholds.default": {"values": [0.5, 1.5]}})

    message = complaint(space=space)

    assert "method.thresholds.default" in message
    assert "1.5" in message


def test_a_threshold_above_one_is_refused_on_the_command_line(complaint: Complaint) -> None:
    assert "1.5" in complaint.of_train("--set", "method.thresholds.default=1.5")


def test_a_threshold_needs_a_class_of_the_data(complaint: Complaint) -> None:
    message = complaint("--set", "method.thresholds.joy=0.5")

    assert "method.thresholds.joy" in message
    assert "happiness" in message


def test_the_recall_of_an_unknown_class_is_no_metric(complaint: Complaint) -> None:
    message = complaint("--set", "metric=val/recall/joy")

    assert "val/recall/joy" in message
    assert "happiness" in message


def test_a_missing_data_file_is_named(complaint: Complaint, tmp_path: Path) -> None:
    path = tmp_path / "faces.npz"

    assert str(path) in complaint("--data", f"arrays:{path}")
    assert str(path) in complaint.of_train("--data", f"arrays:{path}")


def test_storage_under_a_file_cannot_be_written(complaint: Complaint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    complaint.storage = tmp_path / "file" / "runs"

    message = complaint()

    assert str(complaint.storage) in message
    assert "--storage" in message


def test_an_existing_name_is_refused(complaint: Complaint) -> None:
    (complaint.storage / "mine").mkdir(parents=True)

    message = complaint("--name", "mine")

    assert f"{complaint.storage / 'mine'} exists" in message
    assert "--resume" in message
    assert "--name mine" in complaint.of_train("--name", "mine")


def test_a_missing_run_cannot_be_resumed(complaint: Complaint) -> None:
    (complaint.storage / "other").mkdir(parents=True)

    message = complaint("--name", "mine", "--resume")

    assert f"{complaint.storage / 'mine'} does not exist" in message
    assert "other" in message
    assert "holds no search" in complaint("--name", "other", "--resume")


def test_a_search_has_at_least_one_trial(complaint: Complaint) -> None:
    assert "--trials: expected at least 1, got 0" in complaint("--trials", "0")


def test_an_assignment_needs_key_and_value(complaint: Complaint) -> None:
    assert "--set optim.epochs: expected key=value" in complaint("--set", "optim.epochs")


def test_a_dry_run_lists_the_first_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tune.main(["--space", str(SMOKE), "--storage", str(tmp_path), "--dry-run"])

    printed = capsys.readouterr().out
    assert code == 0
    assert "2 trials of 3 epochs" in printed
    assert "first trial: method.thresholds.default = 0.5" in printed
    assert "first trial: method.penalty_weight = 1.0" in printed
    assert not ray.is_initialized()
    assert not list(tmp_path.iterdir())


def test_the_main_search_compares_trials_of_unverified_faces_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--space", str(SMOKE.with_name("thresholds.yaml")), "--storage", str(tmp_path)]
    spec = "synthetic:train=140,test=7,size=16"
    for data, metric in ((spec, "val/natural/accuracy"), (f"{spec},verified=40", FORWARD)):
        assert tune.main([*words, "--data", data, "--dry-run"]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert f"bayes search for the best {metric};" in printed
        assert ("too few labels are verified to compare trials" in printed) == (data == spec)
    asked = ["--data", spec, "--set", f"metric={FORWARD}", "--set", "mode=min"]
    assert tune.main([*words, *asked]) != 0
    assert f"{FORWARD} needs random verified labels" in capsys.readouterr().err


@pytest.mark.parametrize("main", [tune.main, train.main])
def test_help_lists_the_methods_within_80_columns(
    main: Callable[[list[str]], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main(["--help"])

    printed = capsys.readouterr().out
    assert end.value.code == 0
    assert all(f"  {name} " in printed for name in METHODS)
    assert max(map(len, printed.splitlines())) <= 80


def test_the_exit_code_reaches_the_shell(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fer_ray.tune", "--space", "none.yaml"]

    ended = subprocess.run(
        command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=120
    )

    assert ended.returncode == 2
    assert (
        ended.stderr
        == "error: none.yaml: cannot be read: No such file or directory. Check the path.\n"
    )
