"""Trackers: strict JSON on disk, real offline W&B runs read back, online ones against a stub."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fer_ray.record.storage import Folder
from fer_ray.record.tracking import (
    FanOut,
    JsonLinesTracker,
    NullTracker,
    Tracker,
    WandbTracker,
    open_wandb,
    plain,
    run_id,
    sync_hint,
    wandb_mode,
)
from tests.wandb_reader import OfflineRun, read_runs
from tests.wandb_stub import WandbStub, running_stub

pytestmark = pytest.mark.lowest

NAN = float("nan")
CLASSES = ("neutral", "fear")


def make_row(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "train/loss": 1.0 / epoch,
        "val/recall/fear": NAN,
        "val/confusion": [[5, epoch], [1, 7]],
        "split/precision": np.float32(0.5),
        "split/histogram": {"edges": [0.0, 0.5, 1.0], "counts": [[3, 4], [5, 6]]},
        "split/mixture": {
            "mean": [[0.1, 0.7], [0.2, 0.8]],
            "std": [[0.05, 0.1], [0.05, 0.1]],
            "weight": [[0.6, 0.4], [0.5, 0.5]],
        },
    }


def picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (4, 3), "red").save(file, format="PNG")
    return file.getvalue()


def read_lines(folder: Folder) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = folder.read_text("metrics.jsonl").splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def test_plain_values_are_strict_json() -> None:
    value = {
        "nan": NAN,
        "inf": np.float64("inf"),
        "scalar": torch.tensor(2),
        "array": np.array([1.0, NAN]),
        "tuple": (True, None, "x"),
        "path": Path("a"),
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "nan": None,
        "inf": None,
        "scalar": 2,
        "array": [1.0, None],
        "tuple": [True, None, "x"],
        "path": "a",
    }


def test_file_has_a_strict_line_per_epoch(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    tracker = JsonLinesTracker(folder)
    for epoch in (1, 2, 3):
        tracker.log(make_row(epoch))
        assert [row["epoch"] for row in read_lines(folder)] == list(range(1, epoch + 1))
    tracker.finish()
    row = read_lines(folder)[2]
    assert row["val/recall/fear"] is None
    assert row["val/confusion"] == [[5, 3], [1, 7]]
    assert row["split/precision"] == 0.5
    assert JsonLinesTracker(folder).rows == tracker.rows == read_lines(folder)


def test_resumed_run_overwrites_what_it_repeats(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    first = JsonLinesTracker(folder)
    for epoch in range(1, 6):
        first.log({"epoch": epoch, "run": 1})
    resumed = JsonLinesTracker(folder)
    resumed.log({"epoch": 4, "run": 2})
    assert [(row["epoch"], row["run"]) for row in read_lines(folder)] == [
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 2),
    ]


def test_history_fills_and_replaces(tmp_path: Path) -> None:
    tracker = JsonLinesTracker(Folder("mock:///bucket") / "run")
    tracker.log({"epoch": 2, "from": "file"})
    tracker.log({"epoch": 3, "from": "file"})
    tracker.log_history({"epoch": epoch, "from": "checkpoint"} for epoch in (1, 2))
    assert [(row["epoch"], row["from"]) for row in tracker.rows] == [
        (1, "checkpoint"),
        (2, "checkpoint"),
        (3, "file"),
    ]


def test_torn_line_is_reported_and_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2, "tr')
    tracker = JsonLinesTracker(Folder(tmp_path))
    assert tracker.rows == [{"epoch": 1}]
    assert "line 2 is broken" in caplog.text


class Recorder:
    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.rows, self.ends = error, list[int](), list[bool]()

    def log(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row["epoch"])

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        self.ends.append(failed)
        if self.error:
            raise self.error


def test_fan_out_finishes_all_even_if_one_raises() -> None:
    first, second = Recorder(OSError("disk full")), Recorder()
    both: Tracker = FanOut([NullTracker(), first, second])
    both.log({"epoch": 1})
    with pytest.raises(OSError, match="disk full"):
        both.finish(failed=True)
    assert first.rows == second.rows == [1]
    assert first.ends == second.ends == [True]


def test_importing_does_not_load_wandb() -> None:
    code = "import sys, fer_ray.record.tracking; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_run_ids_are_stable_and_acceptable() -> None:
    assert run_id("a b/c", "t:1") == "a-b-c-t-1"
    long = run_id("x" * 70, "1")
    assert len(long) == 64
    assert long == run_id("x" * 70, "1") != run_id("x" * 70, "2")


def test_hint_can_be_pasted() -> None:
    hint = sync_hint(Path("my runs"))
    assert hint.endswith("wandb sync 'my runs/wandb'/offline-run-*")
    assert "\n" not in hint


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A user without W&B settings, and a W&B library that has forgotten what it read."""
    import wandb

    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_SILENT", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, {"WANDB_SILENT": "true"}.get(name, "false"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    wandb.teardown()
    yield monkeypatch
    wandb.teardown()


@pytest.fixture
def server(machine: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    with running_stub() as stub:
        machine.setenv("WANDB_BASE_URL", stub.url)
        machine.setenv("WANDB_API_KEY", "0" * 40)
        yield stub


def start(directory: Path, trial: str = "trial_1", **options: Any) -> WandbTracker:
    given: dict[str, Any] = {
        "group": "search",
        "mode": "offline",
        "class_names": CLASSES,
        "config": {"method": {"name": "dividemix", "thresholds": {"fear": 0.4}}},
        "timeout_s": 6.0,
    }
    tracker = open_wandb(trial, directory=directory, **(given | options))
    assert isinstance(tracker, WandbTracker)
    return tracker


def written_runs(directory: Path) -> list[OfflineRun]:
    """Runs below a directory, once W&B's own process has closed their files."""
    import wandb

    wandb.teardown()
    return read_runs(directory)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


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
    tracker = open_wandb("t", group="g", mode="disabled", directory=tmp_path / "d", **options)
    assert isinstance(tracker, NullTracker)
    assert not (tmp_path / "d").exists()


def test_offline_run_is_complete(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setenv("MY_PASSWORD", "hunter2")
    tracker = start(tmp_path / "new", job_type="trial")
    for epoch in (1, 2, 2, 3):
        tracker.log(make_row(epoch))
    summary = {"best": {"epoch": 2, "val": {"macro_recall": NAN}}}
    tracker.finish(summary=summary, pictures={"test/confusion": picture()})
    (run,) = written_runs(tmp_path / "new")
    assert (run.run.project, run.run.run_group, run.run.job_type) == ("fer_ray", "search", "trial")
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
    assert "going on without it" in message
    assert "\n" not in message


def test_online_run_arrives(server: WandbStub, tmp_path: Path) -> None:
    tracker = start(tmp_path, mode=wandb_mode(), job_type="trial")
    assert tracker.mode == "online"
    assert tracker.url
    assert tracker.url.startswith(server.url)
    for epoch in (1, 2):
        tracker.log(make_row(epoch))
    tracker.finish(summary={"best": 2}, pictures={"test/confusion": picture()})
    run = server.runs["search-trial_1"]
    assert (run["project"], run["groupName"], run["jobType"]) == ("fer_ray", "search", "trial")
    assert json.loads(run["config"])["method"]["value"]["thresholds"] == {"fear": 0.4}
    history = server.history("search-trial_1")
    assert [row["epoch"] for row in history] == [1, 2, 2]
    assert history[1]["split/histogram/network_0"]["values"] == [3, 4]
    assert server.exit_code["search-trial_1"] == 0
    assert any(name.startswith("media/images/test/confusion") for name in server.uploads)
    assert any("confusion_table" in name for name in server.uploads)


def test_resumed_run_sends_what_is_new(server: WandbStub, tmp_path: Path) -> None:
    first = start(tmp_path, mode="online")
    for epoch in (1, 2, 3):
        first.log({"epoch": epoch, "train/loss": 0.5})
    first.finish(pictures={"test/confusion": picture()})
    second = start(tmp_path, mode="online", resume=True)
    for epoch in (2, 3, 4, 5):
        second.log({"epoch": epoch, "train/loss": 0.25})
    second.finish()
    history = server.history("search-trial_1")
    assert [row["epoch"] for row in history] == [1, 2, 3, 3, 4, 5]
    assert [row["_step"] for row in history] == [1, 2, 3, 4, 5, 6]


def test_offline_run_can_be_sent_later(server: WandbStub, tmp_path: Path) -> None:
    tracker = start(tmp_path)
    tracker.log(make_row(1))
    tracker.finish()
    written_runs(tmp_path)
    command = sync_hint(tmp_path).split(": ")[1].replace("wandb", f"{sys.executable} -m wandb", 1)
    options: dict[str, Any] = {"check": True, "capture_output": True, "timeout": 60}
    subprocess.run(command, shell=True, cwd=tmp_path, **options)
    assert [row["epoch"] for row in server.history("search-trial_1")] == [1]


def test_server_dies_and_the_run_goes_on(
    server: WandbStub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(tmp_path, mode="online", timeout_s=2.0)
    json_lines = JsonLinesTracker(Folder(tmp_path))
    both = FanOut([tracker, json_lines])
    both.log(make_row(1))
    server.close()
    for epoch in (2, 3):
        both.log(make_row(epoch))
    both.finish(summary={"best": 2})
    assert len(json_lines.rows) == 3
    (message,) = warnings_of(caplog)
    assert "did not take the end of the run" in message
    assert "wandb sync" in message


def test_unreachable_server_means_offline(
    machine: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_stub() as stub:
        machine.setenv("WANDB_BASE_URL", stub.url)
    machine.setenv("WANDB_API_KEY", "0" * 40)
    tracker = start(tmp_path, mode="online", timeout_s=1.0)
    assert tracker.mode == "offline"
    assert tracker.url is None
    tracker.log(make_row(1))
    tracker.finish()
    (message,) = warnings_of(caplog)
    assert "recording offline" in message
    (run,) = written_runs(tmp_path)
    assert run.run.run_id == "search-trial_1"
    assert len(run.history) == 1


def test_server_that_refuses_the_run_means_offline(
    server: WandbStub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.refused = {"upsertBucket"}
    tracker = start(tmp_path, mode="online")
    tracker.log(make_row(1))
    tracker.finish()
    assert "did not open trial_1" in caplog.text
    (run,) = written_runs(tmp_path)
    assert run.run.run_id == "search-trial_1-offline"


def test_online_without_key_means_offline(
    machine: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(tmp_path, mode="online")
    assert tracker.mode == "offline"
    assert "no API key" in caplog.text
    tracker.finish()
