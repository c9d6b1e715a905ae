"""The W&B runs of trials: in the search's sweep, with the best value, stopped one by one."""

import json
from pathlib import Path
from typing import Any

from fer_ray.on_ray.search_log import SearchLog
from fer_ray.on_ray.wandb_trials import _STOPPED, stop_rule
from fer_ray.record.storage import Folder
from fer_ray.record.wandb_run import WandbPlace
from fer_ray.record.wandb_sweep import begin_sweep, read_sweep
from fer_ray.search.layout import REFERENCE_CONFIG
from fer_ray.search.reading import parse_space
from fer_ray.search.wandb_format import search_sweep
from tests.on_ray.test_search_log import EndedTrial
from tests.wandb_stub import WandbStub

RAW = {
    "run": {"optim": {"epochs": 3}, "select": "best"},
    "method": "random",
    "metric": {"name": "val/macro_recall", "goal": "maximize"},
    "reference": {"method": "cross_entropy"},
    "parameters": {"optim.learning_rate": {"values": [0.1, 0.2]}},
}
CONFUSION = [[3, 1], [2, 4]]


def row(epoch: int, recall: float) -> dict[str, Any]:
    return {"epoch": epoch, "val/macro_recall": recall, "val/confusion": CONFUSION}


def test_trials_are_runs_of_the_sweep_and_the_reference_is_not(
    server: WandbStub, tmp_path: Path
) -> None:
    space, folder = parse_space(RAW, "file"), Folder(tmp_path / "x-001")
    begin_sweep(folder, search_sweep(space, "x-001"), "online", WandbPlace(), timeout_s=6.0)
    log = SearchLog(
        space=space,
        folder=folder,
        class_names=("a", "b"),
        num_trials=2,
        wandb="disabled",  # what was begun is what counts
        wandb_dir=str(tmp_path),
    )
    stopped = EndedTrial({"trial": 0, "optim.learning_rate": 0.1})
    reference = EndedTrial(dict(REFERENCE_CONFIG))
    log.setup()
    try:
        for trial in (stopped, reference):
            log.on_trial_start(0, [], trial)
            for epoch, recall in ((1, 0.6), (2, 0.4)):
                log.on_trial_result(0, [], trial, row(epoch, recall))
            log.on_trial_complete(0, [], trial)
    finally:
        log.close()

    first, other = server.runs["x-001-trial_001"], server.runs["x-001-reference"]
    assert (first["sweep"], first["jobType"]) == ("sweep1", "trial")
    assert (other.get("sweep"), other["jobType"]) == (None, "reference")
    assert first.get("groupName") is None  # W&B would show the mean of a group
    (sweep,) = server.sweeps.sweeps.values()
    searched = sweep["config"]["parameters"]["optim"]["parameters"]
    assert searched.keys() <= json.loads(first["config"])["optim"]["value"].keys()
    summary = json.loads(server.stream["x-001-trial_001"]["wandb-summary.json"][-1])
    assert summary["val/macro_recall"] == 0.6  # the best, not the last
    assert (summary["best_epoch"], summary["status"]) == (1, "stopped")
    known = read_sweep(folder)
    assert known is not None
    assert known.runs == {"trial_001": "x-001-trial_001"}


def test_a_trial_that_is_stopped_on_its_page_ends_alone() -> None:
    results = [{"config": {"trial": number}} for number in range(2)]
    _STOPPED.add("trial_002")
    try:
        assert [stop_rule("id", result) for result in results] == [False, True]
    finally:
        _STOPPED.clear()
    assert not stop_rule("id", {})
