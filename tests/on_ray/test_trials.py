"""The driver's record of a search, with trials that no Tune runs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from fer_ray.config import DataConfig, RunConfig
from fer_ray.data import FaceData
from fer_ray.on_ray import trials
from fer_ray.on_ray.trials import SearchLog, trial_name, trial_resources
from fer_ray.record.storage import Folder
from fer_ray.search.space import parse_space
from fer_ray.search.sweep import EarlyTerminate
from fer_ray.tune import largest_run, make_scheduler
from tests.samples import faces

EPOCHS = 2


@dataclass
class EndedTrial:
    """What a callback reads of Tune's own trial."""

    config: dict[str, Any]
    status: str = "TERMINATED"

    def is_finished(self) -> bool:
        return self.status in ("TERMINATED", "ERROR")


def search_log(folder: Path) -> SearchLog:
    raw = {
        "run": {"optim": {"epochs": EPOCHS}},
        "method": "random",
        "parameters": {"optim.learning_rate": {"values": [0.1, 0.2]}},
    }
    return SearchLog(
        space=parse_space(raw, "file"),
        folder=Folder(folder),
        class_names=("a", "b"),
        num_trials=4,
        wandb="disabled",
        wandb_dir=str(folder / "wandb"),
    )


def leave(folder: Path, number: int, recalls: list[float], failure: str | None = None) -> None:
    """What a trial of an earlier session left on file."""
    path = folder / f"trial_{number + 1:03d}"
    path.mkdir()
    rows = [{"epoch": e, "val/macro_recall": r} for e, r in enumerate(recalls, start=1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if failure is not None:
        content = {"kind": failure, "message": "it could not go on"}
        (path / "failure.json").write_text(json.dumps(content))


def test_a_resumed_search_shows_what_had_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path, 0, [0.3, 0.4])
    leave(tmp_path, 1, [0.2])
    leave(tmp_path, 2, [0.9], failure="EmptySplitError")
    trials = [EndedTrial({"trial": number, "optim.learning_rate": 0.1}) for number in range(3)]
    trials.append(EndedTrial({"trial": 3, "optim.learning_rate": 0.2}, status="PENDING"))
    log = search_log(tmp_path)
    log.setup()
    try:
        for iteration in range(2):
            log.on_step_begin(iteration, trials)
    finally:
        log.close()

    output = capsys.readouterr().out.splitlines()
    shown = [line.split(":")[0] for line in output]
    assert shown[:3] == [
        "trial_001 done at epoch 2/2",
        "trial_002 stopped at epoch 1/2",
        "trial_003 infeasible at epoch 1/2",
    ]
    assert output[-1].startswith(
        "4 trials: 1 done, 1 stopped, 1 infeasible; best macro_recall 0.4000 (trial_001)"
    )
    assert len(output) == 4
    assert not (tmp_path / trial_name(trials[3].config)).exists()


def test_trials_of_one_process_open_the_same_data_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_run_data(run: RunConfig) -> FaceData:
        opened.append(run.data.spec)
        return faces()

    monkeypatch.setattr(trials, "open_run_data", open_run_data)
    trials._open_once.cache_clear()
    first = trials._open_once(DataConfig(spec="synthetic"))
    assert trials._open_once(DataConfig(spec="synthetic")) is first
    assert trials._open_once(DataConfig(spec="synthetic:seed=1")) is not first
    assert opened == ["synthetic", "synthetic:seed=1"]
    trials._open_once.cache_clear()


@pytest.mark.parametrize(
    ("min_iter", "kind"), [(2, ASHAScheduler), (3, FIFOScheduler), (8, FIFOScheduler)]
)
def test_trials_shorter_than_the_first_rung_are_not_stopped(min_iter: int, kind: type) -> None:
    stop = EarlyTerminate(min_iter=min_iter, eta=2.0)
    assert type(make_scheduler(stop, num_epochs=3)) is kind
    assert type(make_scheduler(None, num_epochs=3)) is FIFOScheduler


@pytest.mark.parametrize("drivers", [0.0, 1000.0])
def test_every_trial_reserves_what_its_own_number_of_workers_needs(drivers: float) -> None:
    raw = {
        "run": {"data": "synthetic", "workers": {"cpus_per_worker": 3, "gpus_per_worker": 1}},
        "method": "random",
        "metric": {"name": "val/macro_recall", "goal": "maximize"},
        "parameters": {"workers.num_workers": {"values": [1, 4, 2]}},
    }
    space = parse_space(raw, "space.yaml")
    assert largest_run(space).workers.num_workers == 4
    driver = {"trial_driver": 1.0} if drivers else {"CPU": 0.01}
    for num, own in ((1, {"CPU": 3.0, "GPU": 1.0}), (2, driver), (4, driver)):
        config = {"trial": 0, "workers.num_workers": num}
        assert trial_resources(config, space=space, drivers=drivers).bundles == [own]
