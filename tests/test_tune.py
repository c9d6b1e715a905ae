"""`python -m fer_ray.tune` end to end: its files, interruption, kill, resume, and early stops."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fer_ray.config import RunConfig
from fer_ray.record.rows import plain
from fer_ray.training.runtime import ProcessRuntime, open_run_data, train_run
from tests.conftest import Command, Launch
from tests.wandb_reader import read_runs
from tests.wandb_stub import WandbStub

CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
EPOCHS = 16
# The second value keeps no label, and there is no floor, which makes an empty split.
SPACE: dict[str, Any] = {
    "run": {
        "data": "synthetic:train=300,test=70",
        "method": {"name": "co_divide", "warmup_epochs": 1, "min_class_fraction": 0.0},
        "optim": {"epochs": EPOCHS, "batch_size": 32, "learning_rate": 0.05},
        "workers": {"num_workers": 1},
    },
    "reference": {"method": "cross_entropy"},
    "method": "grid",
    "metric": {"name": "val/macro_recall", "goal": "maximize"},
    "run_cap": 3,
    "parameters": {"method.thresholds.default": {"values": [0.5, 1.0, 0.6]}},
}


def _space(folder: Path, changes: Mapping[str, Any] = SPACE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump({**SPACE, **changes}))
    return path


def _search(launch: Launch, space: Path, *argv: str) -> Command:
    options = ["--space", space, "--storage", space.parent, "--name", "search"]
    return launch("fer_ray.tune", *options, *argv)


def _strict(line: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    row: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return row


def _rows(search: Path, trial: int | str) -> list[dict[str, Any]]:
    """Read a trial's rows without durations."""
    name = f"trial_{trial:03d}" if isinstance(trial, int) else trial
    path = search / name / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [_timeless(_strict(line)) for line in lines]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith("time/")}


@pytest.fixture(scope="module")
def uninterrupted(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Command]:
    """An uninterrupted search with its W&B runs: its folder and its command."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    command = _search(launch, _space(folder), "--wandb", "offline", "--json")
    assert command.wait() == 0, command.output
    return folder / "search", command


@pytest.mark.ray
def test_a_search_writes_its_record(uninterrupted: tuple[Path, Command]) -> None:
    search, command = uninterrupted

    with (search / "trials.csv").open() as lines:
        trials = list(csv.DictReader(lines))
    summary = _strict((search / "summary.json").read_text())
    failure = json.loads((search / "trial_002" / "failure.json").read_text())

    names = ["trial_001", "trial_002", "trial_003", "reference"]
    assert [row["trial"] for row in trials] == names
    assert [row["method.thresholds.default"] for row in trials] == ["0.5", "1.0", "0.6", ""]
    assert [row["epochs"] for row in trials] == [str(EPOCHS), "1", str(EPOCHS), str(2 * EPOCHS)]
    assert failure["kind"] == "EmptySplitError"
    assert trials[1]["failure"].startswith("EmptySplitError: ")
    assert trials[0]["failure"] == trials[2]["failure"] == ""
    best = max((trials[0], trials[2]), key=lambda row: float(row["best"]))
    assert summary["num_trials"] == 3
    assert (summary["metric"], summary["mode"]) == ("val/macro_recall", "max")
    assert summary["best"]["trial"] == best["trial"]
    assert summary["best"]["epoch"] == int(best["best_epoch"])
    assert summary["best"]["val"]["macro_recall"] == float(best["best"])
    assert summary["best"]["config"] == {
        "method.thresholds.default": float(best["method.thresholds.default"])
    }
    assert sum(map(sum, summary["test"]["confusion_matrix"])) == 70
    assert list(summary["test"]["recall"]) == summary["classes"] == list(CLASSES)
    assert summary["wall_s"] > 0
    assert f"Best of the search: {best['trial']}" in command.output
    printed = _strict(command.output.splitlines()[-1])
    assert (printed["status"], printed["folder"]) == ("done", str(search))
    assert printed["summary"] == summary
    assert [row["trial"] for row in printed["trials"]] == names


@pytest.mark.ray
def test_the_reference_is_tested_beside_the_best_trial(
    uninterrupted: tuple[Path, Command],
) -> None:
    search, command = uninterrupted
    summary = _strict((search / "summary.json").read_text())
    reference = summary["reference"]

    assert (reference["trial"], reference["epochs"]) == ("reference", 2 * EPOCHS)
    assert reference["config"]["method"]["name"] == "cross_entropy"
    recalls = [row["val/macro_recall"] for row in _rows(search, "reference")]
    assert len(recalls) == 2 * EPOCHS
    assert reference["val"]["macro_recall"] == recalls[reference["epoch"] - 1]
    own = _strict((search / "reference" / "summary.json").read_text())
    assert own["test"] == reference["test"]
    assert own["test"] != summary["test"]
    ahead = 100 * (summary["test"]["macro_recall"] - reference["test"]["macro_recall"])
    assert f"{ahead:+.1f}" in command.output


@pytest.mark.ray
def test_a_search_ends_with_its_report(uninterrupted: tuple[Path, Command]) -> None:
    search, command = uninterrupted
    page = (search / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Against the reference (cross_entropy)" in page
    assert "image by image" in page
    assert f"report: {search / 'report.html'}" in command.output


@pytest.mark.ray
def test_every_trial_has_its_rows(uninterrupted: tuple[Path, Command]) -> None:
    search, _ = uninterrupted
    rows = _rows(search, 1)
    always = {"epoch", "train/loss", "val/macro_recall", "val/accuracy", "val/loss"}
    always |= {"val/confusion", *(f"val/recall/{name}" for name in CLASSES)}
    divided = {"split/labeled_fraction", "split/precision", "split/recall", "split/auroc"}
    divided |= {"split/histogram", *(f"split/labeled_fraction/{name}" for name in CLASSES)}

    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
    assert all(row.keys() >= always for row in rows)
    assert all(row.keys() >= divided for row in rows[1:])
    assert not divided & rows[0].keys()
    timed = _strict((search / "trial_001" / "metrics.jsonl").read_text().splitlines()[1])
    assert {"time/epoch_s", "time/train_s", "time/split_s", "time/images_per_s"} <= timed.keys()
    assert [row["epoch"] for row in _rows(search, 2)] == [1]


@pytest.mark.ray
def test_the_best_trial_is_tested(uninterrupted: tuple[Path, Command]) -> None:
    search, _ = uninterrupted
    summary = _strict((search / "summary.json").read_text())
    folder = search / summary["best"]["trial"]
    run = RunConfig.from_dict(yaml.safe_load((folder / "config.yaml").read_text()))
    data = open_run_data(run)

    with (search / "confusion_matrix.csv").open() as lines:
        table = list(csv.reader(lines))
    with np.load(folder / "split.npz") as split:
        kept, label = split["is_labeled"], split["label"]
    assert len(table) == 1 + len(CLASSES)
    assert [list(map(int, row[1:8])) for row in table[1:]] == summary["test"]["confusion_matrix"]
    for name in ("confusion_matrix.png", f"{folder.name}/losses.png", f"{folder.name}/curves.png"):
        assert (search / name).read_bytes().startswith(b"\x89PNG")
    assert kept.shape == (2, len(data.train))
    assert (label == np.asarray(data.train.label)).all()
    assert 0 < kept.mean() < 1
    tested = {path.parent.name for path in search.glob("*/summary.json")}
    assert tested == {"trial_001", folder.name, "reference"}  # the first has the default values
    assert ("default" in summary) == (folder.name != "trial_001")
    if "default" in summary:
        own = _strict((search / "trial_001" / "summary.json").read_text())
        default = summary["default"]
        assert (default["trial"], default["test"]) == ("trial_001", own["test"])


@pytest.mark.ray
def test_a_search_leaves_offline_runs_and_no_process(
    uninterrupted: tuple[Path, Command],
) -> None:
    search, command = uninterrupted

    runs = {run.run.display_name: run for run in read_runs(search)}

    assert set(runs) == {"trial_001", "trial_002", "trial_003", "reference"}
    epochs = {name: sum("val/loss" in row for row in run.history) for name, run in runs.items()}
    by_trial = {"trial_001": EPOCHS, "trial_002": 1, "trial_003": EPOCHS}
    assert epochs == by_trial | {"reference": 2 * EPOCHS}
    assert runs["trial_001"].exit_code == runs["trial_003"].exit_code == 0
    assert runs["trial_002"].exit_code == 1
    assert f"python -m fer_ray.sweep {search}\n" in command.output
    assert {run.run.run_group for run in runs.values()} == {""}
    known = json.loads((search / "wandb.json").read_text())
    assert list(known["runs"]) == ["trial_001", "trial_002", "trial_003"]
    assert known["runs"]["trial_001"] == runs["trial_001"].run.run_id
    assert command.leftovers() == []


@pytest.mark.ray
@pytest.mark.parametrize("number", [1, 3])  # the third trial reuses the process of another
def test_a_trial_has_the_rows_of_a_plain_process(
    number: int, uninterrupted: tuple[Path, Command], tmp_path: Path
) -> None:
    search, _ = uninterrupted
    config = yaml.safe_load((search / f"trial_{number:03d}" / "config.yaml").read_text())
    config["workers"]["gpus_per_worker"] = 0.0
    rows: list[dict[str, Any]] = []

    runtime = ProcessRuntime(tmp_path / "plain", lambda row: rows.append(dict(row)))
    train_run(RunConfig.from_dict(config), runtime)

    expected = [_timeless(json.loads(json.dumps(plain(row)))) for row in rows]
    assert _rows(search, number) == expected


@pytest.mark.ray
def test_an_interrupted_killed_and_moved_search_resumes_exactly(
    launch: Launch, uninterrupted: tuple[Path, Command], tmp_path: Path
) -> None:
    space = _space(tmp_path)
    search = tmp_path / "search"

    first = _search(launch, space, "--wandb", "disabled", "--set", "checkpoint.every=3")
    first.wait_until(lambda: len(_rows(search, 1)) >= 2)
    os.killpg(first.process.pid, signal.SIGINT)  # as Ctrl-C does
    assert first.wait() == 130, first.output
    assert "--name search --resume" in first.output
    assert "Traceback" not in first.output
    assert first.leftovers() == []
    done = len(_rows(search, 1))
    assert done < EPOCHS - 4, "too late to be killed again"

    second = _search(launch, space, "--wandb", "disabled", "--resume")
    second.wait_until(lambda: len(_rows(search, 1)) >= done + 2)
    second.kill()
    assert len(_rows(search, 1)) < EPOCHS

    moved = tmp_path / "elsewhere"
    moved.mkdir()
    search = search.rename(moved / "search")
    third = _search(launch, _space(moved), "--wandb", "disabled", "--resume")
    assert third.wait() == 0, third.output
    for trial in (1, 2, 3, "reference"):
        assert _rows(search, trial) == _rows(uninterrupted[0], trial), trial
    again = _strict((search / "summary.json").read_text())
    once = _strict((uninterrupted[0] / "summary.json").read_text())
    assert again["num_trials"] == 3
    assert again["test"] == once["test"]
    assert again["reference"]["test"] == once["reference"]["test"]
    assert str(search) in third.output
    assert not (tmp_path / "search").exists()
    assert third.leftovers() == []


OTHER_RAY = "import ray, sys; ray.init(num_cpus=1); print('up', flush=True); sys.stdin.read()"


@pytest.fixture(scope="module")
def another_ray() -> Iterator["subprocess.Popen[str]"]:
    """Another Ray on this machine with default settings, which takes the dashboard's ports."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_RAY],
        env={key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert any(line == "up\n" for line in process.stdout)
    yield process
    process.communicate()


@pytest.mark.ray
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_stopped_trial_frees_its_cpus_for_the_next(
    num_workers: int,
    launch: Launch,
    another_ray: "subprocess.Popen[str]",
    server: WandbStub,
    tmp_path: Path,
) -> None:
    """Each trial needs all CPUs of the machine, on which another Ray runs too."""
    rates = [0.05, 1e-9]
    run = {**SPACE["run"], "optim": {"epochs": 2, "batch_size": 32, "learning_rate": 0.05}}
    run["method"] = {"name": "cross_entropy"}  # has no warm-up, after which trials are compared
    cpus = max(1, (os.cpu_count() or 2) // num_workers)
    run["workers"] = {"num_workers": num_workers, "cpus_per_worker": cpus}
    changes = {
        "run": run,
        "reference": None,
        "metric": {"name": "val/loss", "goal": "minimize"},
        "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2},
        "parameters": {"optim.learning_rate": {"values": rates}},
    }

    space = _space(tmp_path, changes)
    command = _search(launch, space, "--wandb", "online", "--no-report")
    assert command.wait() == 0, command.output

    search = tmp_path / "search"
    trials = [server.runs[f"search-trial_{number:03d}"] for number in (1, 2)]
    assert [trial["sweep"] for trial in trials] == ["sweep1", "sweep1"]
    assert server.sweeps.sweeps["sweep1"]["state"] == "FINISHED"
    lines = server.stream["search-trial_002"]["wandb-summary.json"]
    pruned = json.loads(lines[-1])
    assert pruned["status"] == "stopped"
    assert pruned["val/loss"] == min(row["val/loss"] for row in _rows(search, 2))
    assert server.artifacts.artifacts["search-result-model"]["files"] != []
    assert command.output.count("trial_002 was stopped early") == 1
    epochs = [len(_rows(search, number)) for number in (1, 2)]
    assert epochs == [2, 1], command.output
    assert not list(search.glob("trial_*/failure.json"))
    assert not (search / "report.html").exists()
    assert _strict((search / "summary.json").read_text())["best"]["trial"] == "trial_001"
    assert command.leftovers() == []
    assert another_ray.poll() is None
