"""The benchmarks run, committed results are well formed, and the reference loop is fair."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from benchmarks import report
from benchmarks.reference_loop import ReferenceLoop
from fer_ray.config import RunConfig
from fer_ray.core.augment import plain_views
from fer_ray.training.state import new_state
from tests.paths import ROOT
from tests.samples import CPU, faces

SCRIPTS = (
    "epoch",
    "data",
    "views",
    "speedups",
    "passes",
    "split",
    "real",
    "real_noise",
    "time_to_accuracy",
    "selection",
    "searcher",
    "audit",
    "faults",
    "checkpoints",
)
ON_RAY = ("search", "tuning", "scale")
GOOD: dict[str, Any] = {
    "benchmark": "epoch",
    "command": "python benchmarks/epoch.py",
    "hardware": "2-core EPYC, CPU",
    "versions": {"torch": "2.15.0"},
    "date": "2026-11-23",
    "rows": [{"case": "dividemix/tiny/48px", "images_per_s": 1.0}],
    "goals": [{"name": "speed", "goal": ">= 2", "value": 1.5, "met": False, "why": ""}],
}


def result_files() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in report.RESULTS.glob("*")}


@pytest.mark.parametrize(
    "name", [*SCRIPTS, *(pytest.param(name, marks=pytest.mark.slow) for name in ON_RAY)]
)
def test_quick_runs_and_writes_nothing(name: str, cache_dir: str) -> None:
    before = result_files()
    run = subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", "--quick"],
        cwd=ROOT,
        env={**os.environ, "FER_RAY_CACHE": cache_dir, "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert "Goals" in run.stdout
    assert "written" not in run.stdout
    assert result_files() == before


@pytest.mark.parametrize("path", sorted(report.RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_committed_result_is_well_formed(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    report.check(content)
    assert path.name.startswith(content["benchmark"])
    assert content["command"].startswith(f"python benchmarks/{content['benchmark']}.py")


def test_check_takes_a_good_result() -> None:
    report.check(GOOD)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("hardware",), ""),
        (("rows",), []),
        (("rows", 0, "case"), None),
        (("goals", 0, "met"), True),
        (("goals", 0, "extra"), 1),
        (("command",), "python benchmarks/epoch.py --data arrays:/home/someone/faces.npz"),
    ],
)
def test_check_refuses(path: tuple[Any, ...], value: object) -> None:
    content: Any = copy.deepcopy(GOOD)
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ValueError, match=r"expected|case|met is|unexpected|path"):
        report.check(content)


def test_interleaved_takes_turns() -> None:
    calls: list[str] = []
    cases = {name: lambda name=name: lambda: calls.append(name) for name in "ab"}
    timings = report.interleaved(cases, 2)
    assert "".join(calls) == "ababab"
    assert [len(timing.seconds) for timing in timings.values()] == [2, 2]


def test_reference_scores_the_same_losses() -> None:
    """Views made by PIL one by one and by one batched call agree, and so do the losses."""
    data = faces()
    images = torch.from_numpy(data.train.images)
    run = RunConfig.from_dict({"optim": {"name": "sgd", "batch_size": 8}})
    state = new_state(run, data, CPU)
    loop = ReferenceLoop(run, data, CPU, 0, state.networks, state.optimizers)
    losses = loop.score(state.networks[0])
    with torch.no_grad():
        logits = state.networks[0].eval()(plain_views(images)).logits
    expected = F.cross_entropy(logits, torch.from_numpy(data.train.label), reduction="none")
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["cross_entropy", "co_divide", "dividemix"])
def test_reference_learns(method: str) -> None:
    """A few epochs on easy images beat chance, and the counts are those of the images drawn."""
    data = faces(noise=0.1)
    prior = {} if method == "cross_entropy" else {"prior": "uniform"}
    optim = {"name": "sgd", "batch_size": 8, "epochs": 6}
    run = RunConfig.from_dict({"method": {"name": method, **prior}, "optim": optim})
    state = new_state(run, data, CPU)
    loop = ReferenceLoop(run, data, CPU, 0, state.networks, state.optimizers)
    counts = [loop.epoch(epoch) for epoch in range(1, 6)]
    assert counts[0] == len(data.train) * len(state.networks)
    assert all(count % 8 == 0 for count in counts)
    assert loop.validate() > 0.5
