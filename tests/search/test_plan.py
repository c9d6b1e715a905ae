"""The plan of a search: what it was started with, its number of trials, and its largest run."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fer_ray.core.errors import ConfigError
from fer_ray.data import open_data
from fer_ray.record.storage import Folder
from fer_ray.search.plan import SearchPlan, count_trials, largest_run, load_search, measurable
from fer_ray.search.reading import parse_space
from tests.samples import faces

SOURCE: dict[str, Any] = {"method": "grid", "parameters": {"seed": {"values": [0, 1, 2]}}}
OVERRIDES = {"optim.epochs": 4}


def start_search(folder: Path) -> Folder:
    plan = SearchPlan(
        space=parse_space(SOURCE, "file", OVERRIDES),
        overrides=OVERRIDES,
        source=SOURCE,
        num_trials=3,
        folder=Folder(folder),
        data=faces(),
        wandb="disabled",
        is_resumed=False,
        shares_warmup=False,
    )
    plan.save()
    return plan.folder


def test_a_resumed_search_is_the_one_that_was_started(tmp_path: Path) -> None:
    folder = start_search(tmp_path)
    for given in ({}, OVERRIDES):  # overrides of the start may be left out
        assert load_search(folder, SOURCE, given, "file") == (SOURCE, OVERRIDES)


@pytest.mark.parametrize(
    ("source", "overrides", "message"),
    [
        ({**SOURCE, "method": "random"}, {}, "file is not the space that"),
        (SOURCE, {"optim.epochs": 5}, r"--resume: optim\.epochs differs from what"),
        (SOURCE, {"seed": 0}, "--resume: seed differs from what"),
    ],
)
def test_another_search_is_refused(
    source: dict[str, Any], overrides: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_search(start_search(tmp_path), source, overrides, "file")


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no search; start one without --resume"):
        load_search(Folder(tmp_path), SOURCE, {}, "file")


def test_a_search_that_was_killed_before_it_wrote_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "in_use.json").touch()
    assert load_search(Folder(tmp_path), SOURCE, OVERRIDES, "file") == (SOURCE, OVERRIDES)


def test_a_search_of_an_older_version_is_refused(tmp_path: Path) -> None:
    """Tune's pickles name modules that have moved since."""
    folder = start_search(tmp_path)
    old = {"space": SOURCE, "overrides": OVERRIDES, "format": 3}
    folder.write_text("search.yaml", yaml.safe_dump(old))
    with pytest.raises(ConfigError, match=r"started with another version of fer_ray.*new search$"):
        load_search(folder, SOURCE, OVERRIDES, "file")


@pytest.mark.parametrize("content", ["", "space: [", "space: {}", "[1]"])
def test_a_damaged_file_of_a_search_is_named(content: str, tmp_path: Path) -> None:
    folder = start_search(tmp_path)
    folder.write_text("search.yaml", content)
    with pytest.raises(ConfigError, match=r"/search\.yaml: expected what .* damaged"):
        load_search(folder, SOURCE, OVERRIDES, "file")


@pytest.mark.parametrize(
    ("method", "run_cap", "requested", "num_trials"),
    [
        ("random", None, None, 12),
        ("random", 5, None, 5),
        ("random", 5, 7, 7),
        ("grid", None, None, 3),
        ("grid", 2, None, 2),
        ("grid", None, 50, 3),
    ],
)
def test_trials_are_as_requested_but_at_most_a_whole_grid(
    method: str, run_cap: int | None, requested: int | None, num_trials: int
) -> None:
    raw = {**SOURCE, "method": method, **({"run_cap": run_cap} if run_cap else {})}
    assert count_trials(parse_space(raw, "file"), requested) == num_trials


@pytest.mark.parametrize("requested", [0, -3])
def test_a_search_has_at_least_one_trial(requested: int) -> None:
    with pytest.raises(ConfigError, match=f"--trials: expected at least 1, got {requested}"):
        count_trials(parse_space(SOURCE, "file"), requested)


def test_the_largest_run_has_the_most_workers() -> None:
    raw = {"method": "random", "parameters": {"workers.num_workers": {"values": [1, 4, 2]}}}
    assert largest_run(parse_space(raw, "file")).workers.num_workers == 4
    assert largest_run(parse_space(SOURCE, "file")).workers.num_workers == 1


@pytest.mark.parametrize(
    ("metric", "overrides", "verified", "is_replaced"),
    [
        ({"name": "val/forward_loss"}, {}, "", True),
        ({"name": "val/forward_loss"}, {}, ",verified=29", True),  # fewer than tell the noise
        ({"name": "val/forward_loss"}, {}, ",verified=40", False),
        ({"name": "val/forward_loss"}, {"seed": 3}, "", True),
        ({"name": "val/forward_loss"}, {"metric": "val/accuracy"}, "", False),
        ({"name": "val/forward_loss"}, {"metric": "val/forward_loss"}, "", False),
        ({"name": "val/forward_loss", "target": 1.0}, {}, "", False),
        ({"name": "val/corrected/accuracy", "goal": "maximize"}, {}, "", True),
        ({"name": "val/accuracy", "goal": "maximize"}, {}, "", False),
    ],
)
def test_a_metric_that_needs_verified_labels_is_replaced_where_there_are_none(
    metric: dict[str, Any], overrides: dict[str, Any], verified: str, is_replaced: bool
) -> None:
    data = open_data(f"synthetic:train=140,test=7,size=16{verified}")
    found = measurable({**SOURCE, "metric": metric}, overrides, data, "file")
    default = {"metric": "val/natural/accuracy", "mode": "max"}
    assert found == {**overrides, **(default if is_replaced else {})}
    assert measurable({**SOURCE, "metric": metric}, found, data, "file") == found  # resumed
