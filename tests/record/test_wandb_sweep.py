"""A search as a sweep of W&B: created once, joined by its runs, stopped; or sent later."""

import json
from pathlib import Path
from typing import Any

import pytest

from fer_ray.record.storage import Folder
from fer_ray.record.wandb_run import UNSENT, WandbPlace, agents_run, place_of
from fer_ray.record.wandb_sweep import (
    SWEEP,
    WandbSearch,
    begin_sweep,
    end_sweep,
    read_sweep,
    send_search,
    unsent_runs,
)
from tests.record.wandb_cases import make_row, start, warnings_of, written_runs
from tests.wandb_stub import WandbStub, running_stub

CONFIG: dict[str, Any] = {
    "name": "My sweep (lr)",
    "description": "Which rate?",
    "method": "random",
    "metric": {"name": "val/macro_recall", "goal": "maximize"},
    "parameters": {"optim": {"parameters": {"learning_rate": {"min": 0.01, "max": 0.1}}}},
}


def begin(folder: Path, mode: Any = "online", **options: Any) -> WandbSearch:
    return begin_sweep(Folder(folder), CONFIG, mode, WandbPlace(**options), timeout_s=6.0)


def test_a_sweep_is_created_once_and_resumed(server: WandbStub, tmp_path: Path) -> None:
    first = begin(tmp_path, project="faces")
    assert first.path == "team/faces/sweep1"
    assert first.url == f"{server.url}/team/faces/sweeps/sweep1"
    assert begin(tmp_path) == first == read_sweep(Folder(tmp_path))
    (sweep,) = server.sweeps.sweeps.values()
    parameters = sweep["config"].pop("parameters")
    assert sweep["config"] == {key: CONFIG[key] for key in CONFIG if key != "parameters"}
    assert parameters["optim"]["parameters"]["learning_rate"]["max"] == 0.1
    assert (sweep["description"], sweep["state"]) == ("Which rate?", "RUNNING")


def test_runs_join_the_sweep_with_their_own_ids(server: WandbStub, tmp_path: Path) -> None:
    search = begin(tmp_path)
    for mode in ("online", "offline"):
        tracker = start(tmp_path, trial=f"trial_{mode}", mode=mode, place=search.place)
        assert tracker.id == f"search-trial_{mode}"
        tracker.finish()
    run = server.runs["search-trial_online"]
    assert (run["sweep"], run["project"], run["entity"]) == ("sweep1", "fer_ray", "team")
    (offline,) = written_runs(tmp_path)
    assert (offline.run.run_id, offline.run.sweep_id) == ("search-trial_offline", "sweep1")


def test_a_sweep_is_stopped_and_keeps_its_runs(server: WandbStub, tmp_path: Path) -> None:
    begin(tmp_path)
    for _ in range(2):  # the second time there is nothing to do
        ended = end_sweep(Folder(tmp_path))
        assert ended is not None
        assert ended.is_stopped
    assert server.sweeps.sweeps["sweep1"]["state"] == "FINISHED"


def test_a_sweep_that_cannot_be_stopped_is_told_with_a_command(
    server: WandbStub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begin(tmp_path)
    server.sweeps.sweeps.clear()
    ended = end_sweep(Folder(tmp_path))
    assert ended is not None
    assert not ended.is_stopped
    (message,) = warnings_of(caplog)
    assert message.endswith("wandb sweep --stop team/fer_ray/sweep1")


@pytest.mark.parametrize("trouble", ["no key", "no server", "refused"])
def test_without_key_or_server_one_warning_and_the_search_goes_on(
    trouble: str,
    server: WandbStub,
    machine: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if trouble == "no key":
        machine.delenv("WANDB_API_KEY")
    elif trouble == "no server":
        with running_stub() as gone:
            machine.setenv("WANDB_BASE_URL", gone.url)
    else:
        server.refused = {"upsertSweep"}
    search = begin_sweep(Folder(tmp_path), CONFIG, "online", WandbPlace(), timeout_s=1.0)
    assert (search.mode, search.place.sweep) == ("offline", None)
    (message,) = warnings_of(caplog)
    assert "recording offline" in message


def test_what_was_offline_becomes_the_same_sweep_later(
    server: WandbStub, machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    search = begin(tmp_path, "offline")
    names = ("trial_001", "trial_002")
    for name in names:
        tracker = start(tmp_path, trial=name, place=search.place)
        tracker.log(make_row(1))
        tracker.finish()
    ids = {name: f"search-{name}" for name in names}
    WandbSearch(mode="offline", place=search.place, config=CONFIG, runs=ids).write(Folder(tmp_path))
    written_runs(tmp_path)
    for _ in range(2):
        sent = send_search(Folder(tmp_path), tmp_path)
        assert sent.path == "team/fer_ray/sweep1"
        assert unsent_runs(tmp_path) == []
    (sweep,) = server.sweeps.sweeps.values()
    assert sweep["prior_runs"] == ["search-trial_001", "search-trial_002"]
    assert [len(server.history(name)) for name in ids.values()] == [1, 1]
    # Resumed online, it keeps the sweep.
    assert begin(tmp_path).place.sweep == "sweep1"


def test_a_search_that_was_begun_offline_gets_no_second_sweep_when_it_is_resumed(
    server: WandbStub, tmp_path: Path
) -> None:
    search = begin(tmp_path, "offline")
    known = WandbSearch(mode="offline", place=search.place, config=CONFIG, runs={"trial_001": "a"})
    known.write(Folder(tmp_path))
    assert begin(tmp_path).mode == "online"
    assert server.sweeps.sweeps == {}  # its first run would not be in it


def test_a_server_that_dies_leaves_runs_that_can_be_sent(server: WandbStub, tmp_path: Path) -> None:
    search = begin(tmp_path)
    tracker = start(tmp_path, mode="online", timeout_s=2.0, place=search.place)
    tracker.log(make_row(1))
    server.close()
    tracker.finish()
    assert tracker.has_failed
    (folder,) = unsent_runs(tmp_path)
    assert (folder / UNSENT).exists()
    with pytest.raises(OSError, match="W&B cannot be reached"):
        send_search(Folder(tmp_path), tmp_path, timeout_s=1.0)


def test_disabled_leaves_nothing(tmp_path: Path) -> None:
    assert begin(tmp_path, "disabled").mode == "disabled"
    assert not (tmp_path / SWEEP).exists()


def test_project_and_entity_are_those_of_the_environment_then_of_the_file(
    machine: pytest.MonkeyPatch,
) -> None:
    assert place_of({}) == WandbPlace("fer_ray", None)
    assert place_of({"project": "p", "entity": "e"}) == WandbPlace("p", "e")
    machine.setenv("WANDB_PROJECT", "mine")
    assert place_of({"project": "p", "entity": "e"}) == WandbPlace("mine", "e")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # wandb's file
def test_a_process_of_an_agent_takes_the_agents_run(
    server: WandbStub,
    machine: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert agents_run() is None
    config = tmp_path / "config.yaml"
    config.write_text("wandb_version: 1\noptim: {value: {learning_rate: 0.05}}\n")
    own = {"SWEEP_ID": "sweep7", "RUN_ID": "run7", "PROJECT": "faces", "ENTITY": "team"}
    for name, value in {**own, "SWEEP_PARAM_PATH": str(config)}.items():
        machine.setenv(f"WANDB_{name}", value)
    tracker = start(tmp_path, mode="online", config={"optim": {"epochs": 3}})
    tracker.log(make_row(1))
    tracker.finish()
    assert agents_run() == tracker.id == "run7"
    run = server.runs["run7"]
    assert (run["project"], run["sweep"]) == ("faces", "sweep7")
    assert "displayName" not in run  # W&B has named it
    optim = json.loads(run["config"])["optim"]["value"]
    assert optim == {"epochs": 3, "learning_rate": 0.05}
    assert warnings_of(caplog) == []


def test_a_run_that_is_stopped_on_its_page_does_not_interrupt_the_search(
    server: WandbStub, tmp_path: Path
) -> None:
    stopped: list[str] = []
    tracker = start(tmp_path, mode="online", on_stop=lambda: stopped.append("trial_1"))
    tracker._run._settings.stop_fn()
    assert stopped == ["trial_1"]
    tracker.finish()


def test_artifacts_arrive_and_no_secret_does(
    server: WandbStub, machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.setenv("STORE_PASSWORD", "hunter2")
    machine.setattr("sys.argv", ["tune", "--storage", "s3://me:hunter2@bucket"])
    spec = "arrays:s3://me:hunter2@bucket/faces.npz?session_token=hunter2"
    tracker = start(tmp_path, mode="online", config={"data": {"spec": spec, "more": [spec]}})
    tracker.log(make_row(1))
    tracker.artifact("model", {"best.pt": b"weights", "config.yaml": b"seed: 0"})
    tracker.artifact("report", {})
    tracker.finish()
    model = server.artifacts.artifacts["search-trial_1-model"]
    assert (model["type"], model["run"]) == ("model", "search-trial_1")
    assert sorted(model["files"]) == ["best.pt", "config.yaml"]
    assert not any(name.endswith("report") for name in server.artifacts.artifacts)
    assert not tracker.has_failed
    assert any("s3://***@bucket/faces.npz?session_token=***" in text for text in server.sent)
    assert not any("hunter2" in text for text in server.sent)
    assert server.unknown == []
