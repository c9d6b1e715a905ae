"""The files in `search_spaces/`: every configuration makes a valid run."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml

from fer_ray.search.early_terminate import EarlyTerminate
from fer_ray.search.reading import load_space
from fer_ray.search.space import SearchSpace, trial_params
from tests.paths import SPACES
from tests.search.spaces import CONDITIONAL, FEAR, same, space_of

pytestmark = pytest.mark.lowest

FILES = sorted(SPACES.glob("*.yaml"))


def test_the_files_exist() -> None:
    names = {path.stem for path in FILES}
    assert names >= {"thresholds", "warmup", "penalty", "full", "methods", "smoke"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_all_configurations_make_valid_runs(path: Path) -> None:
    space, rng = load_space(path), np.random.default_rng(0)
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert space.name == path.stem
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.enqueue_trial(space.default_point())
    default = space.default_params()
    for number in range(15):
        trial = study.ask()
        params = space.suggest(trial)
        assert number > 0 or same(params, default)
        space.run_config(params)
        study.tell(trial, float(number % 5))
        config = space.run_config(space.sample(rng))
        assert (config.metric, config.mode) == (space.metric, space.mode)


def test_the_thresholds_file_is_read_right() -> None:
    space = load_space(FILES[0].with_name("thresholds.yaml"))
    assert (space.search, space.metric, space.mode) == ("bayes", "val/forward_loss", "min")
    assert (space.run_cap, space.early_terminate) == (6, EarlyTerminate(15, 2.0))
    thresholds = [key for key in space.parameters if key.startswith("method.thresholds.")]
    assert len(thresholds) == 8
    assert space.reference is not None
    assert (space.reference.method.label, space.reference.optim.epochs) == ("cross_entropy", 30)
    config = space.run_config({FEAR: 0.3})
    assert (config.optim.epochs, config.optim.batch_size) == (30, 64)
    assert config.to_dict()["method"]["thresholds"] == {"default": 1.0, "fear": 0.3}


@pytest.mark.parametrize("space", [*map(load_space, FILES), space_of(CONDITIONAL)])
def test_ray_suggests_the_default_configuration_first(space: SearchSpace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's, on import
        from ray.tune.search.optuna import OptunaSearch
    searcher = OptunaSearch(
        space.suggest,
        metric=space.metric,
        mode=space.mode,
        points_to_evaluate=[space.default_point()],
        seed=1,
    )
    first = searcher.suggest("0")
    assert same(trial_params(first), space.default_params())
    for number in range(1, 6):
        params = trial_params(searcher.suggest(str(number)))
        space.run_config(params)
        assert set(params) == set(space.active(params.get("method.name", "co_divide")))
    assert pickle.loads(pickle.dumps(space)) == space


def test_a_space_converts_to_a_wandb_sweep() -> None:
    path = FILES[0].with_name("thresholds.yaml")
    sweep, raw = load_space(path).to_wandb_sweep(), yaml.safe_load(path.read_text("utf-8"))
    assert set(sweep) == {"method", "metric", "run_cap", "early_terminate", "parameters"}
    assert sweep["parameters"][FEAR] == {"distribution": "uniform", "min": 0.4, "max": 1.0}
    assert {key: sweep[key] for key in ("method", "metric")} == {
        key: raw[key] for key in ("method", "metric")
    }
