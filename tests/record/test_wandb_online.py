"""W&B runs that are sent to a server, which may be away, refuse them or die."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.record.trackers import FanOut
from fer_ray.record.wandb_library import wandb_mode
from fer_ray.record.wandb_run import sync_hint
from tests.record.wandb_cases import make_row, picture, start, warnings_of, written_runs
from tests.wandb_stub import WandbStub, running_stub


def test_online_run_arrives(server: WandbStub, tmp_path: Path) -> None:
    tracker = start(tmp_path, mode=wandb_mode(), job_type="trial")
    assert tracker.mode == "online"
    assert tracker.url
    assert tracker.url.startswith(server.url)
    for epoch in (1, 2):
        tracker.log(make_row(epoch))
    tracker.finish(summary={"best": 2}, pictures={"test/confusion": picture()})
    run = server.runs["search-trial_1"]
    assert (run["project"], run.get("groupName"), run["jobType"]) == ("fer_ray", None, "trial")
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


_ASKS_AND_ENDS = """
import psutil
from fer_ray.record.wandb_library import server_answers
assert not server_answers(timeout_s=1.0)
(core,) = psutil.Process().children()
core.suspend()
print(core.pid)
"""


def test_a_process_ends_even_if_that_of_wandb_does_not(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with running_stub() as stub:
        machine.setenv("WANDB_BASE_URL", stub.url)
    machine.setenv("WANDB_API_KEY", "0" * 40)
    command = [sys.executable, "-c", _ASKS_AND_ENDS]
    with (tmp_path / "out").open("w+") as out:  # a pipe would stay open
        ended = subprocess.run(command, stdout=out, timeout=60)
        out.seek(0)
        psutil.Process(int(out.read())).kill()
    assert ended.returncode == 0


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
