"""A trial: what it reserves, what it reports if it is infeasible, how its data are opened."""

from pathlib import Path
from typing import Any

import pytest

from fer_ray.config import DataConfig, RunConfig
from fer_ray.core.types import EmptySplitError
from fer_ray.data import FaceData
from fer_ray.on_ray import trial as trial_module
from fer_ray.on_ray.trial import TuneRuntime, run_trial, trial_resources
from fer_ray.record.storage import Folder
from fer_ray.search.plan import largest_run
from fer_ray.search.reading import parse_space
from tests.samples import faces


@pytest.mark.parametrize(("goal", "value"), [("maximize", -1.0), ("minimize", 1e9)])
def test_an_infeasible_trial_reports_the_worst_value_in_its_last_epoch(
    goal: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[dict[str, Any]] = []

    def fail(*args: Any, **options: Any) -> None:
        raise EmptySplitError("no label is left")

    monkeypatch.setattr(trial_module, "train_run", fail)
    monkeypatch.setattr(trial_module, "_open_once", lambda config: faces())
    monkeypatch.setattr("ray.tune.report", reported.append)
    raw = {
        "run": {"optim": {"epochs": 7}, "workers": {"gpus_per_worker": 0}},
        "method": "random",
        "metric": {"name": "val/loss", "goal": goal},
        "parameters": {"seed": {"values": [0, 1]}},
    }
    run_trial({"trial": 0, "seed": 1}, space=parse_space(raw, "file"), folder=Folder("/nowhere"))
    failure = {"kind": "EmptySplitError", "message": "no label is left"}
    # In its last epoch, so that no scheduler stops the trial before the failure is known.
    assert reported == [{"epoch": 7, "val/loss": value, "failure": failure}]


def test_tune_gets_no_row_that_it_needs_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reported: list[int] = []
    monkeypatch.setattr("ray.tune.report", lambda row: reported.append(row["epoch"]))
    runtime = TuneRuntime(Folder(tmp_path), known=2)
    for epoch in (1, 2, 3):
        runtime.report({"epoch": epoch})
    assert reported == [3]
    assert list(tmp_path.iterdir()) == []


def test_trials_of_one_process_open_the_same_data_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_run_data(run: RunConfig) -> FaceData:
        opened.append(run.data.spec)
        return faces()

    monkeypatch.setattr(trial_module, "open_run_data", open_run_data)
    trial_module._open_once.cache_clear()
    first = trial_module._open_once(DataConfig(spec="synthetic"))
    assert trial_module._open_once(DataConfig(spec="synthetic")) is first
    assert trial_module._open_once(DataConfig(spec="synthetic:seed=1")) is not first
    assert opened == ["synthetic", "synthetic:seed=1"]
    trial_module._open_once.cache_clear()


@pytest.mark.parametrize("drivers", [0.0, 1000.0])
def test_a_trial_reserves_what_its_number_of_workers_needs(drivers: float) -> None:
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
