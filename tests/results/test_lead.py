"""How far a trial is ahead of the default one, and which of them a search ends with."""

import functools
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_ray.data.faces import FaceData, Verified
from fer_ray.data.verified import with_verified
from fer_ray.record.rows import JsonLinesTracker, plain
from fer_ray.record.storage import Folder
from fer_ray.results import lead as lead_module
from fer_ray.results.best_trial import trial_table
from fer_ray.results.lead import Draws, Figures, Lead, choose_trial, standard_error
from fer_ray.search.plan import SearchPlan
from fer_ray.search.reading import parse_space
from fer_ray.training.checkpoint import save_checkpoint
from fer_ray.training.checkpoints import Checkpoints
from tests.samples import faces, make_run, train

GOOD, BAD = 0.05, 1e-5
"""Learning rates with which networks learn a lot and next to nothing."""


def lead(**changes: Any) -> Lead:
    usual = {"gain": 0.02, "standard_error": 0.01, "num_images": 9, "margin": 1.0}
    return Lead(**{"trial": "trial_002", "over": "trial_001", **usual, **changes})


@pytest.mark.parametrize(
    ("changes", "is_enough"),
    [
        ({}, True),
        ({"gain": 0.009}, False),
        ({"margin": 3.0}, False),
        ({"gain": 0.0}, False),
        ({"gain": 0.009, "margin": 0.0}, True),
        ({"gain": 0.0, "standard_error": 0.0}, False),
        ({"standard_error": math.nan}, False),
    ],
)
def test_a_lead_is_enough_if_it_exceeds_its_margin(
    changes: dict[str, Any], is_enough: bool
) -> None:
    assert lead(**changes).is_enough == is_enough
    assert "trial_002 is ahead of trial_001" in lead(**changes).text


@pytest.mark.parametrize("error", [0.01, math.nan])
def test_a_lead_survives_json(error: float) -> None:
    found = lead(standard_error=error)
    text = json.dumps(plain(asdict(found)), allow_nan=False)
    assert repr(Lead.from_dict(json.loads(text))) == repr(found)


@pytest.mark.parametrize("num", [50, 400])
def test_the_error_of_a_mean_is_that_of_the_formula(num: int) -> None:
    values = torch.from_numpy(np.random.default_rng(num).normal(3, 2, num))
    found = standard_error(lambda draws: values[draws].mean(dim=1).tolist(), num)
    assert found == pytest.approx(float(values.std()) / math.sqrt(num), rel=0.15)
    assert standard_error(lambda draws: values[draws].mean(dim=1).tolist(), num) == found


def test_the_error_of_a_difference_is_that_of_the_same_images() -> None:
    hard = torch.from_numpy(np.random.default_rng(0).normal(0, 5, 200))
    first, second = hard + 0.1 * torch.arange(200) / 200, hard

    def gain(draws: Draws) -> list[float]:
        found: list[float] = (first[draws].mean(dim=1) - second[draws].mean(dim=1)).tolist()
        return found

    assert standard_error(gain, 200) < 0.01  # of each alone: 0.35


def test_resamples_without_the_figure_do_not_count() -> None:
    def recall(draws: Draws) -> list[float]:  # NaN where none was drawn
        return [float((rows[rows < 2] == 0).double().mean()) for rows in draws]

    assert 0.1 < standard_error(recall, 30) < 0.6


def verified_faces() -> FaceData:
    """Faces of which 60 training images are verified, at random."""
    data = faces(192, 80)
    true_label = data.train.true_label
    assert true_label is not None
    rows = np.arange(192)
    train = Verified(
        label=np.where(rows < 60, true_label, -1), is_random=rows < 60, given=data.train.label
    )
    none = np.full(80, -1)
    val = Verified(label=none, is_random=none == 0, given=data.val.label)
    return with_verified(data, train, val, use_verified=False, has_own_val=False)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two trials; the second learns more."""
    folder, data = tmp_path_factory.mktemp("searched"), verified_faces()
    for name, rate in (("trial_001", BAD), ("trial_002", GOOD)):
        run = make_run("cross_entropy", optim__learning_rate=rate)
        state, rows = train(run, data)
        save = functools.partial(save_checkpoint, state, run)
        Checkpoints(Folder(folder / name / "checkpoints")).write(state.epoch, save)
        JsonLinesTracker(Folder(folder / name)).log_history(rows)
        params = json.dumps({"optim.learning_rate": rate})
        (folder / name / "params.json").write_text(params)
    return folder


def plan_of(folder: Path, **changes: Any) -> SearchPlan:
    run = make_run("cross_entropy").to_dict()
    run = {key: value for key, value in run.items() if key not in ("metric", "mode")}
    space = {
        "run": run,
        "method": "random",
        "metric": {"name": "val/loss", "goal": "minimize"},
        "parameters": {"optim.learning_rate": {"min": 1e-6, "max": 1.0}},
        **changes,
    }
    return SearchPlan(
        space=parse_space(space, "file"),
        overrides={},
        source=space,
        num_trials=2,
        folder=Folder(folder),
        data=verified_faces(),
        wandb="disabled",
        is_resumed=False,
        shares_warmup=False,
    )


def chosen(plan: SearchPlan) -> tuple[str | None, Lead | None]:
    space = plan.space
    table = trial_table(plan.folder, space.metric, space.mode, space.select)
    row, found = choose_trial(plan, table)
    return None if row is None else row["trial"], found


METRICS = {
    "val/loss": "minimize",
    "val/natural/accuracy": "maximize",
    "val/recall/fear": "maximize",
    "val/forward_loss": "minimize",
    "val/corrected/accuracy": "maximize",
    "val/corrected/balanced/macro_recall": "maximize",
}


@pytest.mark.parametrize("metric", [{"name": key, "goal": x} for key, x in METRICS.items()])
def test_a_lead_is_that_of_the_rows(searched: Path, metric: dict[str, str]) -> None:
    plan = plan_of(searched, metric=metric)
    name, found = chosen(plan)
    rows = [JsonLinesTracker(Folder(searched / f"trial_00{k}")).rows[-1] for k in (1, 2)]
    gap = rows[1][metric["name"]] - rows[0][metric["name"]]
    assert name == "trial_002"
    assert found is not None
    assert found.gain == (gap if plan.space.mode == "max" else -gap) > 0
    assert 0 < found.standard_error < 0.3
    assert found.num_images == 80


@pytest.mark.parametrize("metric", [{"name": key, "goal": x} for key, x in METRICS.items()])
def test_a_resample_of_all_images_has_the_gain_of_the_rows(
    searched: Path, metric: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_all(figures: Figures, num_images: int) -> float:
        rows = torch.arange(num_images).flip(0)
        first, second = figures(torch.stack([rows, rows]))
        assert first == second
        return first

    monkeypatch.setattr(lead_module, "standard_error", of_all)
    plan = plan_of(searched, metric=metric)
    _, found = chosen(plan)
    assert found is not None
    sign = 1 if plan.space.mode == "max" else -1
    assert sign * found.standard_error == pytest.approx(found.gain, rel=1e-5)


@pytest.mark.parametrize(
    ("margin", "name"), [(0, "trial_002"), (1, "trial_002"), (1e6, "trial_001")]
)
def test_the_default_is_kept_where_nothing_is_ahead_by_the_margin(
    searched: Path, margin: float, name: str
) -> None:
    found = chosen(plan_of(searched, margin=margin))
    assert found[0] == name
    assert found[1] is not None
    assert (found[1].trial, found[1].over) == ("trial_002", "trial_001")


def test_a_default_that_is_best_or_was_stopped_has_no_lead_over_it(searched: Path) -> None:
    plan = plan_of(searched, metric={"name": "val/loss", "goal": "maximize"}, margin=1e6)
    assert chosen(plan) == ("trial_001", None)
    longer = {**plan_of(searched).space.run_config({}).to_dict()}
    longer = {key: x for key, x in longer.items() if key not in ("metric", "mode")}
    longer["optim"] = {**longer["optim"], "epochs": 9}
    assert chosen(plan_of(searched, run=longer, margin=1e6)) == ("trial_002", None)


def test_a_default_that_failed_is_not_taken() -> None:
    plan = plan_of(Path("nowhere"), margin=1e6)
    row: dict[str, Any] = {"epochs": 4, "params": {}, "best": 0.5}
    table = [
        {**row, "trial": "trial_001", "failure": "OSError: x"},
        {**row, "trial": "trial_002", "failure": None},
    ]
    assert choose_trial(plan, table) == (table[1], None)
    assert choose_trial(plan, table[:1]) == (None, None)
    assert choose_trial(plan, []) == (None, None)
