"""Runs that share their warm-up end as if each had trained it."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import yaml

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.data import FaceData
from fer_ray.methods import METHODS
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import load_checkpoint, save_checkpoint
from fer_ray.training.loop import _Loop
from fer_ray.training.runtime import ProcessRuntime, train_run
from fer_ray.training.state import new_state
from fer_ray.training.warmup import SharedWarmup, warmup_key
from tests.gloo import GlooRanks
from tests.samples import CPU, faces, make_run, same_weights, timeless, train

SHARING = [name for name, kind in METHODS.items() if kind.warmup_fields is not None]


def other_value(hint: Any, value: Any) -> Any:
    """Return another allowed value of a field."""
    if get_origin(hint) is Literal:
        return next(x for x in get_args(hint) if x != value)
    if isinstance(value, Mapping):
        return {"default": 0.25}
    if isinstance(value, str):
        return "estimated"
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 0.75 + 0.1


@pytest.mark.parametrize("name", SHARING)
def test_fields_outside_warmup_fields_do_not_affect_the_warmup(name: str) -> None:
    """Changing all of them changes no row; changing any other field changes the key."""
    run, data = make_run(name, method__warmup_epochs=2), faces()
    warm, rows = train(run, data, num_epochs=2)
    method = run.method
    hints = get_type_hints(type(method))
    assert method.warmup_fields is not None
    changed: dict[str, Any] = {}
    for item in fields(method):
        if item.name == "name":
            continue
        value = other_value(hints[item.name], getattr(method, item.name))
        changes = {f"method__{item.name}": value}
        other = make_run(name, **({"method__warmup_epochs": 2} | changes))
        assert (warmup_key(other) == warmup_key(run)) == (item.name not in method.warmup_fields)
        if item.name not in method.warmup_fields:
            changed |= changes
    again, same = train(make_run(name, **changed), data, num_epochs=2)
    assert same_weights(warm, again)
    assert timeless(rows) == timeless(same)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"optim__epochs": 5},
        {"optim__learning_rate": 0.06},
        {"augment__strong__erase": 0.1},
        {"model__name": "resnet18"},
        {"metric": "val/accuracy"},
        {"workers__num_workers": 2},
    ],
)
def test_another_run_has_another_key(changes: dict[str, Any]) -> None:
    assert warmup_key(make_run("co_divide", **changes)) != warmup_key(make_run("co_divide"))


def test_verified_labels_that_changed_under_their_name_are_another_run(tmp_path: Path) -> None:
    """No warm-up is shared with the old ones, and no checkpoint of them is gone on from."""
    file = tmp_path / "labels.csv"
    file.write_text("index,label,sample\n1,fear,random\n")
    run, data = make_run("co_divide", data__verified=str(file)), faces()
    key = warmup_key(run)
    state, _ = train(run, data, num_epochs=1)
    (tmp_path / "checkpoint").mkdir()
    save_checkpoint(state, run, tmp_path / "checkpoint")
    load_checkpoint(new_state(run, data, CPU), tmp_path / "checkpoint")
    file.touch()
    assert warmup_key(run) == key
    file.write_text("index,label,sample\n1,anger,random\n")
    assert warmup_key(run) != key
    with pytest.raises(ConfigError, match=r"data\.verified: expected .* got other ones"):
        load_checkpoint(new_state(run, data, CPU), tmp_path / "checkpoint")


def test_methods_do_not_share_warmups_with_each_other() -> None:
    keys = {warmup_key(make_run(name)) for name in SHARING}
    assert len(keys) == len(SHARING)
    assert warmup_key(make_run("cross_entropy")) is None


class Recorder(ProcessRuntime):
    """A plain process that keeps its rows and is interrupted after epoch `last`."""

    def __init__(self, folder: Path, last: int = 99) -> None:
        self.rows: list[dict[str, Any]] = []
        self._last = last
        super().__init__(folder, self._log_row)

    def _log_row(self, row: Mapping[str, Any]) -> None:
        self.rows.append(dict(row))
        if row["epoch"] == self._last:
            raise KeyboardInterrupt


def train_shared(
    run: RunConfig, data: FaceData, folder: Path, shared: Path | None, last: int = 99
) -> list[dict[str, Any]]:
    runtime = Recorder(folder, last)
    warmup = None if shared is None else SharedWarmup(Folder(shared), run)
    try:
        train_run(run, runtime, data=data, warmup=warmup)
    except KeyboardInterrupt:
        assert last < 99
    return runtime.rows


@pytest.fixture
def runs() -> list[RunConfig]:
    """Runs that share a warm-up but differ in its length."""
    resolved = {"workers__gpus_per_worker": 0}
    return [
        make_run("co_divide", method__warmup_epochs=2, **resolved),
        make_run("co_divide", method__warmup_epochs=3, method__penalty_weight=0.3, **resolved),
        make_run("co_divide", method__warmup_epochs=1, method__mixture="class", **resolved),
    ]


def test_runs_that_share_end_as_if_each_had_trained_alone(
    runs: list[RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = faces()
    alone = [train_shared(run, data, tmp_path / f"a{i}", None) for i, run in enumerate(runs)]
    trained: list[int] = []
    original = _Loop.epoch

    def counted(self: Any, epoch: int) -> dict[str, Any]:
        trained.append(epoch)
        return original(self, epoch)

    monkeypatch.setattr(_Loop, "epoch", counted)
    shared = tmp_path / "shared"
    for number, run in enumerate(runs):
        rows = train_shared(run, data, tmp_path / f"s{number}", shared)
        assert timeless(rows) == timeless(alone[number])
        config = yaml.safe_load((tmp_path / f"s{number}/epoch_0004/config.yaml").read_text())
        assert RunConfig.from_dict(config) == run  # not that of the run that trained the warm-up
    assert trained == [1, 2, 3, 4, 3, 4, 2, 3, 4]
    rows = train_shared(runs[1], data, tmp_path / "again", shared)
    assert trained[9:] == [4]
    assert timeless(rows) == timeless(alone[1])


def test_a_run_killed_while_loading_a_warmup_resumes(runs: list[RunConfig], tmp_path: Path) -> None:
    data, shared = faces(), tmp_path / "shared"
    whole = train_shared(runs[1], data, tmp_path / "whole", shared)
    first = train_shared(runs[1], data, tmp_path / "cut", shared, last=2)
    rest = train_shared(runs[1], data, tmp_path / "cut", shared)
    assert [row["epoch"] for row in first] == [1, 2]
    assert timeless(first + rest) == timeless(whole)


def test_incomplete_checkpoints_and_epochs_after_a_gap_are_not_loaded(
    runs: list[RunConfig], tmp_path: Path
) -> None:
    data, warmup = faces(), SharedWarmup(Folder(tmp_path), runs[1])
    state, _ = train(runs[1], data, num_epochs=1)
    assert warmup.after(0) == []
    warmup.keep(state)
    train(runs[1], data, state, num_epochs=2)
    warmup.keep(state)
    (folder,) = tmp_path.iterdir()
    names = [name.partition("-")[0] for name in sorted(path.name for path in folder.iterdir())]
    assert names == ["epoch_0001", "epoch_0003"]
    assert [name[:10] for name in warmup.after(0)] == ["epoch_0001"]
    assert [name[:10] for name in warmup.after(2)] == ["epoch_0003"]
    warmup.keep(state)  # is there already
    assert len(list(folder.iterdir())) == 2
    (next(folder.glob("epoch_0003*")) / "complete").unlink()
    assert warmup.after(2) == []
    short = SharedWarmup(Folder(tmp_path), runs[2])
    assert [name[:10] for name in short.after(0)] == ["epoch_0001"]


def test_a_warmup_in_an_object_store_is_downloaded(runs: list[RunConfig], tmp_path: Path) -> None:
    state, _ = train(runs[0], faces(), num_epochs=1)
    SharedWarmup(Folder(tmp_path), runs[0]).keep(state)
    warmup = SharedWarmup(Folder(tmp_path), runs[0])

    class Remote(Folder):
        is_local = False  # type: ignore[assignment]

    warmup._folder = Remote(next(tmp_path.iterdir()))
    with warmup.open(warmup.after(0)[0]) as folder:
        assert tmp_path not in folder.parents
        assert (folder / "state.pt").exists()


def after_on_ranks(folder: str) -> list[str]:
    run = make_run("co_divide", workers__gpus_per_worker=0)
    return SharedWarmup(Folder(folder), run).after(0)


def test_all_ranks_see_the_same_warmups(gloo_pair: GlooRanks, tmp_path: Path) -> None:
    run = make_run("co_divide", workers__gpus_per_worker=0)
    state, _ = train(run, faces(), num_epochs=1)
    SharedWarmup(Folder(tmp_path), run).keep(state)
    first, second = gloo_pair.outcomes(after_on_ranks, [(str(tmp_path),), ("/nowhere",)])
    assert first == second
    assert isinstance(first, list)
    assert len(first) == 1
