"""Runs in a plain process: checkpoints, kills, and the number of GPUs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fer_ray.config import RunConfig
from fer_ray.training.checkpoint import load_best
from fer_ray.training.runtime import ProcessRuntime, resolve_gpus, train_run
from tests.samples import make_run, timeless

SPEC = "synthetic:train=140,test=30,size=16"


def test_a_killed_process_resumes_exactly(tmp_path: Path) -> None:
    run = make_run("co_divide", data__spec=SPEC, workers__gpus_per_worker=0.0)
    whole: list[Mapping[str, Any]] = []
    train_run(run, ProcessRuntime(tmp_path / "whole", whole.append))

    class KilledError(Exception):
        pass

    rows: list[Mapping[str, Any]] = []

    def log(row: Mapping[str, Any]) -> None:
        rows.append(row)
        if row["epoch"] == 3 and len(rows) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train_run(run, ProcessRuntime(tmp_path / "cut", log))
    (tmp_path / "cut" / "epoch_0004").mkdir()  # left by a kill while it was written
    train_run(run, ProcessRuntime(tmp_path / "cut", log))
    assert timeless([dict(row) for row in rows]) == timeless([dict(row) for row in whole])
    states = [load_best(tmp_path / name / "epoch_0004") for name in ("whole", "cut")]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].epoch == states[1].epoch


def test_a_run_that_is_saved_now_and_then_repeats_what_it_lost(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data__spec": SPEC, "workers__gpus_per_worker": 0.0}
    run = make_run("co_divide", optim__epochs=8, checkpoint__every=3, **options)
    whole: list[Mapping[str, Any]] = []
    train_run(
        make_run("co_divide", optim__epochs=8, **options),
        ProcessRuntime(tmp_path / "whole", whole.append),
    )
    rows: list[Mapping[str, Any]] = []
    saved: list[list[str]] = []

    def log(row: Mapping[str, Any]) -> None:
        rows.append(row)
        saved.append([path.name for path in (tmp_path / "cut").iterdir()])
        if len(rows) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(run, ProcessRuntime(tmp_path / "cut", log))
    train_run(run, ProcessRuntime(tmp_path / "cut", log))

    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 4, 5, 6, 7, 8]
    kept = [1, 1, 3, 3, 3, 3, 3, 6, 6, 8]
    assert saved == [[f"epoch_{epoch:04d}"] for epoch in kept]
    expected = [timeless([dict(row)]) for row in whole]
    assert [timeless([dict(row)]) for row in rows] == expected[:5] + expected[3:]


def test_only_the_newest_checkpoint_is_kept(tmp_path: Path) -> None:
    run = make_run("cross_entropy", data__spec=SPEC, workers__gpus_per_worker=0.0)
    train_run(run, ProcessRuntime(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0004"]


@pytest.mark.parametrize(
    ("num_workers", "num_gpus", "expected"), [(1, 0.0, 0.0), (1, 2.0, 1.0), (2, 1.0, 0.0)]
)
def test_auto_is_one_gpu_per_worker_if_there_are_enough(
    num_workers: int, num_gpus: float, expected: float
) -> None:
    run = RunConfig.from_dict({"workers": {"num_workers": num_workers}})
    resolved = resolve_gpus(run, num_gpus)
    assert resolved.workers.gpus_per_worker == expected
    assert resolve_gpus(resolved, 8.0) == resolved
