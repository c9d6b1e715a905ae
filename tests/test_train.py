"""`python -m fer_ray.train` writes the rows of a plain process, even if a worker is lost."""

import json
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from fer_ray.config import RunConfig
from fer_ray.record.rows import plain
from fer_ray.training.runtime import ProcessRuntime, train_run
from tests.conftest import Command, Launch
from tests.gloo import GlooRanks

DATA = "synthetic:train=300,test=70"
SETTINGS = ("method.warmup_epochs=1", "optim.batch_size=32", "optim.learning_rate=0.05")


def _train(
    launch: Launch, storage: Path, *, workers: int, epochs: int, words: Sequence[str] = ()
) -> Command:
    assignments = [f"--set={word}" for word in (*SETTINGS, f"optim.epochs={epochs}")]
    options = ["--data", DATA, "--storage", storage, "--name", "run", "--wandb", "disabled"]
    return launch("fer_ray.train", *options, "--json", "--workers", workers, *assignments, *words)


def _rows(folder: Path) -> list[dict[str, Any]]:
    """Read the rows that a command has written so far, without durations."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [_timeless(json.loads(line)) for line in lines]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith("time/")}


def plain_rows(config: dict[str, Any], folder: str) -> list[dict[str, Any]]:
    """Train the same run in this process (or on these ranks); rows as read back from JSON."""
    rows: list[dict[str, Any]] = []
    runtime = ProcessRuntime(Path(folder), lambda row: rows.append(dict(row)))
    train_run(RunConfig.from_dict(config), runtime)
    return [_timeless(json.loads(json.dumps(plain(row)))) for row in rows]


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    return config


def _workers(command: Command) -> list[psutil.Process]:
    return [
        process
        for process in command.processes()
        if process.cmdline() and process.cmdline()[0].startswith("ray::RayTrainWorker")
    ]


@pytest.mark.ray
def test_one_worker_writes_the_rows_of_a_plain_process(launch: Launch, tmp_path: Path) -> None:
    command = _train(launch, tmp_path, workers=1, epochs=3)
    assert command.wait() == 0, command.output

    folder = tmp_path / "run"
    printed = json.loads(command.output.splitlines()[-1])
    assert (printed["status"], printed["folder"]) == ("done", str(folder))
    assert printed["summary"] == json.loads((folder / "summary.json").read_text())
    expected = plain_rows(_config(folder), str(tmp_path / "plain"))
    assert len(expected) == 3
    assert _rows(folder) == expected
    summary = json.loads((folder / "summary.json").read_text())
    best = expected[-1]
    assert summary["best"]["epoch"] == best["epoch"]
    for key in ("macro_recall", "natural/accuracy"):
        assert summary["best"]["val"][key] == best[f"val/{key}"]
    points, mean = summary["test"]["points"], summary["prediction"]["mean_prediction"]
    assert list(points) == ["trained", "natural", "balanced"]
    assert list(mean.values()) == best["val/mean_prediction"]
    for name, figures in points.items():
        assert f"{name}   " in command.output
        assert f"{figures['accuracy']:.4f}" in command.output
    for name in ("confusion_matrix.csv", "confusion_matrix.png", "curves.png", "losses.png"):
        assert (folder / name).stat().st_size > 0
    assert (folder / "checkpoints" / "best.pt").exists()
    assert command.leftovers() == []


@pytest.mark.ray
def test_sigterm_ends_a_run_like_ctrl_c_and_it_resumes_exactly(
    launch: Launch, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    every = ["--set=checkpoint.every=5"]
    first = _train(launch, tmp_path, workers=1, epochs=30, words=every)
    first.wait_until(lambda: len(_rows(folder)) >= 2)
    first.process.terminate()
    assert first.wait() == 130, first.output
    assert "add --name run --resume" in " ".join(first.output.split())
    assert "Traceback" not in first.output
    assert first.leftovers() == []
    assert not list(folder.glob("in_use*"))
    done = len(_rows(folder))
    assert 2 <= done < 30, "the run was over before the signal"

    second = _train(launch, tmp_path, workers=1, epochs=30, words=[*every, "--resume"])
    assert second.wait() == 0, second.output
    assert _rows(folder) == plain_rows(_config(folder), str(tmp_path / "plain"))


@pytest.mark.ray
def test_a_lost_worker_changes_no_row(launch: Launch, gloo_pair: GlooRanks, tmp_path: Path) -> None:
    epochs = 12
    folder = tmp_path / "run"
    command = _train(launch, tmp_path, workers=2, epochs=epochs)
    command.wait_until(lambda: len(_rows(folder)) >= 2)
    workers = _workers(command)
    assert len(workers) == 2, [process.cmdline() for process in command.processes()]
    os.kill(workers[0].pid, signal.SIGKILL)
    assert len(_rows(folder)) < epochs, "the run was over before the kill"

    assert command.wait() == 0, command.output

    rows = _rows(folder)
    pair = GlooRanks(tmp_path, limit_s=240.0)  # a whole run takes longer than `gloo_pair` allows
    try:
        expected, _ = pair.run(plain_rows, _config(folder), str(tmp_path / "plain"))
    finally:
        pair.stop()
    assert [row["epoch"] for row in rows] == list(range(1, epochs + 1))
    assert rows == expected
    assert (folder / "summary.json").exists()
    assert command.leftovers() == []


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_workers_and_with_more_again(
    launch: Launch, tmp_path: Path
) -> None:
    command = launch("tests.elastic", tmp_path / "run")
    assert command.wait() == 0, command.output

    found = json.loads(command.output.splitlines()[-1])
    epochs, workers = found["epochs"], found["workers"]
    assert epochs == list(range(1, len(epochs) + 1))
    changes = [num for num, before in zip(workers, [0, *workers], strict=False) if num != before]
    assert changes == [2, 1, 2]
    assert command.leftovers() == []


@pytest.mark.slow
def test_a_machine_that_is_out_of_memory_is_named_with_what_to_do(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")  # every machine is above it
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    command = _train(launch, tmp_path, workers=1, epochs=100)
    assert command.wait() == 1, command.output
    printed = " ".join(command.output.split())
    assert re.search(
        r"error: the run's machine ran out of memory, (once|\d times)\. If it", printed
    )
    assert "Traceback" not in printed
    assert command.leftovers() == []
    assert not list((tmp_path / "run").glob("in_use*"))
