"""W&B runs on disk, read back; ids, modes and what happens after an error."""

import json
import re
import shlex
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fer_ray.record.trackers import NullTracker
from fer_ray.record.wandb_library import wandb_mode
from fer_ray.record.wandb_run import WandbTracker, open_wandb, run_id, sync_hint
from tests.paths import ROOT
from tests.record.wandb_cases import CLASSES, make_row, picture, start, warnings_of, written_runs

pytestmark = pytest.mark.lowest


class Run:
    """A `wandb.Run` whose methods raise where they are asked to.

    Attributes:
        called: Names of the methods that were called.
    """

    def __init__(self, folder: Path, broken: str = "") -> None:
        self._broken = broken
        self.called: list[str] = []
        self.id, self.project = "run", "fer_ray"
        self.dir, self.url = str(folder / "run" / "files"), None
        self.resumed, self.step, self.starting_step = False, 0, 0
        self.summary = SimpleNamespace(update=lambda values: self._call("summary"))

    def _call(self, name: str) -> None:
        self.called.append(name)
        if name == self._broken:
            raise RuntimeError(f"no\n{name}")

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        del name, step_metric

    def log(self, values: dict[str, Any], **options: Any) -> None:
        del values, options
        self._call("log")

    def finish(self, exit_code: int) -> None:
        del exit_code
        self._call("finish")


def test_importing_does_not_load_wandb() -> None:
    code = "import sys, fer_ray.record.wandb_run; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_wandb_is_imported_in_one_module_only() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "fer_ray").rglob("*.py")}
    imports = re.compile(r"^\s*(import|from) wandb\b", re.MULTILINE)
    found = [name for name, source in sources.items() if imports.search(source)]
    assert found == ["wandb_library.py"]


def test_run_ids_are_stable_and_acceptable() -> None:
    assert run_id("a b/c", "t:1") == "a-b-c-t-1"
    long = run_id("x" * 70, "1")
    assert long == f"{'x' * 55}-{sha256(b'x' * 70 + b'-1').hexdigest()[:8]}"
    assert len(long) == 64
    assert long != run_id("x" * 70, "2")


@pytest.mark.parametrize("folder", ["runs", "my runs", "it's; rm -rf $HOME"])
def test_hint_can_be_pasted_into_a_shell(folder: str) -> None:
    hint = sync_hint(Path(folder))
    command = hint.partition(": ")[2]
    assert shlex.split(command) == ["wandb", "sync", f"{folder}/wandb/offline-run-*"]
    assert "\n" not in hint


@pytest.mark.parametrize("broken", ["log", "summary", "finish"])
def test_an_error_of_wandb_does_not_reach_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    run = Run(tmp_path, broken)
    tracker = WandbTracker(run, CLASSES)
    for epoch in (1, 2):
        tracker.log({"epoch": epoch, "train/loss": 0.5})
    tracker.finish()
    tracker.finish()
    assert run.called[-1] == broken
    (message,) = warnings_of(caplog)
    assert f"(RuntimeError: no {broken})" in message
    assert message.endswith(f"wandb sync --include-online {tmp_path / 'run'}")


def test_mode_follows_request_environment_and_key(machine: pytest.MonkeyPatch) -> None:
    assert wandb_mode() == "offline"
    machine.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"
    assert wandb_mode("online") == "online"
    machine.setenv("WANDB_MODE", "dryrun")
    assert wandb_mode() == "offline"
    machine.setenv("WANDB_MODE", "of")
    with pytest.raises(ValueError, match=r"WANDB_MODE: expected one of offline, online.* got 'of'"):
        wandb_mode()


def test_mode_is_online_with_a_key(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("WANDB_API_KEY", "0" * 40)
    assert wandb_mode() == "online"


def test_disabled_opens_nothing(tmp_path: Path) -> None:
    options: dict[str, Any] = {"class_names": CLASSES, "config": {}}
    tracker = open_wandb("t", search="g", mode="disabled", directory=tmp_path / "d", **options)
    assert isinstance(tracker, NullTracker)
    assert not (tmp_path / "d").exists()


def test_offline_run_is_complete(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setenv("MY_PASSWORD", "hunter2")
    tracker = start(tmp_path / "new", job_type="trial")
    for epoch in (1, 2, 2, 3):
        tracker.log(make_row(epoch))
    points = {"natural": {"accuracy": 0.75, "macro_recall": 0.5, "recall": {"fear": 0.25}}}
    summary = {
        "best": {"epoch": 2, "val": {"macro_recall": float("nan")}},
        "test": {"points": points},
    }
    tracker.finish(summary=summary, pictures={"test/confusion": picture()})
    (run,) = written_runs(tmp_path / "new")
    assert (run.run.project, run.run.run_group, run.run.job_type) == ("fer_ray", "", "trial")
    assert run.config["search"] == "search"
    assert (run.run.run_id, run.run.display_name) == ("search-trial_1", "trial_1")
    assert run.config["method"] == {"name": "dividemix", "thresholds": {"fear": 0.4}}
    assert run.step_metric["*"] == "epoch"
    assert run.exit_code == 0
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 3]
    assert [row["_step"] for row in run.history] == [1, 2, 3, 4]
    row, last = run.history[1], run.history[-1]
    assert row["train/loss"] == 0.5
    assert row["split/precision"] == 0.5
    assert np.isnan(row["val/recall/fear"])
    assert row["split/histogram/network_1/values"] == [5, 6]
    assert row["split/mixture/network_1/mean_high"] == 0.8
    assert row["split/mixture/network_0/weight_low"] == 0.6
    assert last["test/confusion/_type"] == "image-file"
    assert run.summary["best"] == {"epoch": 2, "val": {"macro_recall": None}}
    assert run.summary["test"] == {"points": points}
    assert b"hunter2" not in next((tmp_path / "new").glob("**/*.wandb")).read_bytes()


def test_confusion_matrix_is_a_wandb_chart(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tracker = start(tmp_path)
    tracker.log(make_row(2))
    tracker.finish()
    (run,) = written_runs(tmp_path)
    chart = run.config["_wandb/visualize/val/confusion"]
    assert chart["panel_config"]["panelDefId"] == "wandb/confusion_matrix/v1"
    (table,) = tmp_path.glob("**/confusion_table*.json")
    assert json.loads(table.read_text())["data"] == [
        ["neutral", "neutral", 5],
        ["neutral", "fear", 2],
        ["fear", "neutral", 1],
        ["fear", "fear", 7],
    ]


def test_many_runs_in_one_process(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trackers = [start(tmp_path, trial=f"trial_{number}") for number in range(3)]
    for number, tracker in enumerate(trackers):
        tracker.log({"epoch": 1, "train/loss": float(number)})
    for number, tracker in enumerate(trackers):
        tracker.finish(failed=number == 1)
    runs = {run.run.display_name: run for run in written_runs(tmp_path)}
    assert [runs[f"trial_{n}"].history[0]["train/loss"] for n in range(3)] == [0.0, 1.0, 2.0]
    assert [runs[f"trial_{n}"].exit_code for n in range(3)] == [0, 1, 0]


def test_trouble_is_told_once_and_never_raised(
    machine: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(tmp_path)
    tracker.log(make_row(1))
    tracker.log(make_row(2) | {"val/confusion": [[1, 2, 3]]})
    tracker.log(make_row(3))
    tracker.finish(pictures={"x": b"not a picture"})
    (message,) = warnings_of(caplog)
    assert "continues without it" in message
    assert "\n" not in message
