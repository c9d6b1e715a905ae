"""Search spaces: every shipped file, conditional methods, Optuna, Ray, W&B, and every refusal."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

from fer_ray.core.errors import ConfigError
from fer_ray.search.reading import load_space, parse_space
from fer_ray.search.space import SearchSpace, trial_params
from fer_ray.search.sweep import EarlyTerminate
from tests.paths import SPACES

pytestmark = pytest.mark.lowest

FILES = sorted(SPACES.glob("*.yaml"))
FEAR = "method.thresholds.fear"
CONDITIONAL: dict[str, Any] = {
    "method.penalty_weight": {"distribution": "log_uniform_values", "min": 0.1, "max": 10},
    "method.alpha": {"values": [1.0, 4.0]},
    FEAR: {"distribution": "q_uniform", "min": 0.2, "max": 0.8, "q": 0.1},
    "optim.momentum": {"distribution": "normal", "mu": 0.8, "sigma": 0.04},
    "method.name": {"values": ["cross_entropy", "co_divide", "dividemix"]},
}


def space_of(parameters: Any = None, **changes: Any) -> SearchSpace:
    default = {FEAR: {"min": 0.2, "max": 0.9}}
    raw = {"method": "random", "parameters": default if parameters is None else parameters}
    return parse_space(raw | changes, "file")


def same(got: Any, expected: dict[str, Any]) -> bool:
    return bool(got.keys() == expected.keys()) and all(
        got[key] == (pytest.approx(value) if isinstance(value, float) else value)
        for key, value in expected.items()
    )


def test_the_files_are_there() -> None:
    names = {path.stem for path in FILES}
    assert names >= {"thresholds", "warmup", "penalty", "full", "methods", "smoke"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_files_give_runs(path: Path) -> None:
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


def test_the_main_file_says_what_it_should() -> None:
    space = load_space(FILES[0].with_name("thresholds.yaml"))
    assert (space.search, space.metric, space.mode) == ("bayes", "val/macro_recall", "max")
    assert (space.run_cap, space.early_terminate) == (12, EarlyTerminate(6, 3.0))
    thresholds = [key for key in space.parameters if key.startswith("method.thresholds.")]
    assert len(thresholds) == 7
    config = space.run_config({FEAR: 0.3})
    assert (config.optim.epochs, config.optim.batch_size) == (12, 64)
    assert config.to_dict()["method"]["thresholds"] == {"default": 0.1, "fear": 0.3}


@pytest.mark.parametrize("space", [*map(load_space, FILES), space_of(CONDITIONAL)])
def test_ray_suggests_the_defaults_first(space: SearchSpace) -> None:
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


def test_a_method_has_its_own_parameters_only() -> None:
    space = space_of(CONDITIONAL, run={"method": {"name": "dividemix", "temperature": 0.7}})
    rng, seen = np.random.default_rng(0), {}
    for _ in range(60):
        params = space.sample(rng)
        seen[params["method.name"]] = set(params) - {"method.name", "optim.momentum"}
        method = space.run_config(params).to_dict()["method"]
        assert method["name"] == params["method.name"]
        assert method.get("temperature", 0.7) == 0.7
    assert seen == {
        "cross_entropy": set(),
        "co_divide": {FEAR, "method.penalty_weight"},
        "dividemix": {"method.alpha", "method.penalty_weight"},
    }
    assert space.default_params() == {
        "method.name": "dividemix",
        "method.alpha": 1.0,
        "method.penalty_weight": 1.0,
        "optim.momentum": 0.9,
    }


def test_defaults_come_from_the_run_and_move_to_allowed_values() -> None:
    parameters = {
        FEAR: {"min": 0.2, "max": 0.9},
        "method.thresholds.anger": {"min": 0.2, "max": 0.9},
        "method.warmup_epochs": {"min": 5, "max": 8},
        "optim.batch_size": {"values": [32, 64, 256]},
        "seed": {"value": 7},
    }
    space = space_of(
        parameters,
        run={"data": "synthetic:train=9", "method": {"thresholds": {"default": 0.4, "fear": 0.95}}},
    )
    assert space.default_params() == {
        FEAR: 0.9,
        "method.thresholds.anger": 0.4,
        "method.warmup_epochs": 6,
        "optim.batch_size": 64,
        "seed": 7,
    }
    assert "seed" not in space.default_point()
    config = space.run_config(space.default_params())
    assert (config.seed, config.data.spec) == (7, "synthetic:train=9")


def test_mapped_parameters_leave_helpers_that_are_stripped() -> None:
    space = space_of({"optim.momentum": {"distribution": "normal", "mu": 0.8, "sigma": 0.04}})
    point = space.default_point()
    assert list(point) == ["u:optim.momentum"]
    assert trial_params(point | {"optim.momentum": 0.9}) == {"optim.momentum": 0.9}
    assert space.run_config(point).optim.momentum == 0.9


def test_dotted_and_nested_keys_are_one() -> None:
    domain = {"min": 0.2, "max": 0.9}
    nested = {"method": {"parameters": {"thresholds": {"parameters": {"fear": domain}}}}}
    half = {"method.thresholds": {"parameters": {"fear": domain}}}
    assert space_of(nested).parameters == space_of(half).parameters == space_of().parameters
    with pytest.raises(ConfigError, match=f"file: parameters.{FEAR}: given twice"):
        space_of(nested | half)


def test_grid_has_every_combination_once_with_the_default_first() -> None:
    space = space_of(
        {
            "method.name": {"values": ["cross_entropy", "co_divide"]},
            FEAR: {"distribution": "q_uniform", "min": 0.4, "max": 0.6, "q": 0.1},
            "optim.epochs": {"min": 12, "max": 13},
        },
        method="grid",
    )
    points = space.grid_points()
    assert points[0] == space.default_params()
    assert points[0] == {"method.name": "co_divide", FEAR: 0.5, "optim.epochs": 12}
    assert len({str(sorted(point.items())) for point in points}) == len(points) == 2 + 6


def test_overrides_fix_what_was_searched() -> None:
    raw = {"method": "random", "parameters": {FEAR: {"min": 0.2, "max": 0.9}, "seed": {"value": 3}}}
    fixed = {FEAR: 0.7, "data.spec": "synthetic:train=9", "metric": "val/accuracy"}
    space = parse_space(raw, "file", fixed)
    assert list(space.parameters) == ["seed"]
    config = space.run_config({})
    assert config.to_dict()["method"]["thresholds"]["fear"] == 0.7
    assert (config.data.spec, config.metric) == ("synthetic:train=9", "val/accuracy")
    assert list(space.to_wandb_sweep()["parameters"]) == ["seed"]


def test_wandb_gets_its_own_format() -> None:
    path = FILES[0].with_name("thresholds.yaml")
    sweep, raw = load_space(path).to_wandb_sweep(), yaml.safe_load(path.read_text("utf-8"))
    assert set(sweep) == {"method", "metric", "run_cap", "early_terminate", "parameters"}
    assert sweep["parameters"][FEAR] == {
        "distribution": "log_uniform_values",
        "min": 0.001,
        "max": 0.9,
    }
    assert {key: sweep[key] for key in ("method", "metric")} == {
        key: raw[key] for key in ("method", "metric")
    }


def test_unknown_method_in_a_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.name: expected co_divide, got 'magic'"):
        space_of().run_config({"method.name": "magic"})


STOP = {"type": "hyperband", "min_iter": 4, "eta": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paramters": {}}, "paramters: unknown key; did you mean parameters?"),
        ({"zzz": 1}, "zzz: unknown key; known are name, description"),
        ({"parameters": [1]}, "parameters: expected a section of keys, got"),
        ({"parameters": {}}, "parameters: expected at least one"),
        ({"run": "synthetic"}, "run: expected a section of keys"),
        ({"method": "co_divide"}, "method: expected random, grid or bayes, got 'co_divide'; the"),
        ({"metric": "val/loss"}, "metric: expected"),
        ({"metric": {"name": "test/accuracy", "goal": "maximize"}}, "metric.name: metric: one of"),
        ({"metric": {"name": "val/loss", "gaol": "minimize"}}, "gaol: unknown key; did you mean"),
        ({"metric": {"name": "val/loss", "goal": "max"}}, "metric.goal: expected maximize or mini"),
        ({"metric": {"name": "val/loss"}}, "metric.goal: expected .* got None"),
        ({"run": {"metric": "val/loss"}}, "run.metric: expected beside `run`"),
        ({"run_cap": 0}, "run_cap: expected a whole number of at least 1, got 0"),
        ({"run_cap": True}, "run_cap: .* got True"),
        ({"early_terminate": 3}, "early_terminate.type: expected {type: hyperband"),
        ({"early_terminate": {"type": "median"}}, "early_terminate.type: .* got 'median'"),
        ({"early_terminate": STOP | {"min_iter": 0}}, "early_terminate.min_iter: expected"),
        ({"early_terminate": STOP | {"eta": 1}}, "early_terminate.eta: .* above 1, got 1"),
        ({"early_terminate": STOP | {"s": 2}}, "early_terminate: s: unknown key"),
        ({"run": {"optim": {"epoch": 3}}}, "run: optim.epoch: unknown key; did you mean epochs?"),
        ({"run": {"method": {"name": "magic"}}}, "run: method.name: one of"),
        ({"run": {"method": 3}}, "run: method: expected a section"),
    ],
)
def test_a_wrong_file_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^file: (.*: )?{message}") as caught:
        space_of(**changes)
    assert "\n" not in str(caught.value)


NAMES = {"method.name": {"values": ["cross_entropy", "co_divide"]}}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method.penalty_wieght": {"min": 1, "max": 2}}, ".*did you mean penalty_weight?"),
        ({"optimm.epochs": {"min": 1, "max": 2}}, ".*optimm: unknown key; did you mean optim?"),
        ({"seed.x": {"min": 1, "max": 2}}, ".*seed is a value, not a section"),
        ({"method.alpha": {"values": [1.0]}}, "parameters.method.alpha=1.0: method.alpha: unknown"),
        (NAMES | {"method.alpha": {"values": [1.0]}}, "parameters: method.alpha: unknown key"),
        ({"method.name": {"values": ["co_dvide"]}}, "parameters.method.name: .* got 'co_dvide'"),
        ({"method.name": {"value": ["a"]}}, r"parameters.method.name: .* got \['a'\]"),
        ({FEAR: {"min": 0.2, "max": 1.5}}, f"parameters.{FEAR}=1.5: .*clean probability in"),
        ({FEAR: {"distribution": "normal"}}, f"parameters.{FEAR}=-4.75.*: .*in \\[0, 1\\]"),
        ({"optim.epochs": {"min": 0, "max": 3}}, "parameters.optim.epochs=0: .*at least 1"),
        ({"optim.epochs": {"min": 1.5, "max": 3}}, "parameters.optim.epochs=.*"),
        (
            {"optim.batch_size": {"values": [127, 64]}, "workers.num_workers": {"values": [1, 4]}},
            "parameters.optim.batch_size=127 with parameters.workers.num_workers=4: ",
        ),
        (
            {"data": {"values": ["synthetic"]}},
            "parameters.data: this is a section; search data.spec",
        ),
        (
            {"metric": {"values": ["val/loss"]}},
            "parameters.metric: this is what the search is about",
        ),
        ({"optim": {"value": 3}}, "parameters.optim=3: optim: expected a section"),
        ({"optim..epochs": {"value": 3}}, "parameters.optim..epochs: expected a dotted key"),
        ({3: {"value": 3}}, "parameters.3: expected a dotted key"),
        ({"optim": {"parameters": {}, "min": 1}}, "parameters.optim: expected `parameters` alone"),
        ({FEAR: {"min": 0.9, "max": 0.2}}, f"parameters.{FEAR}: uniform needs min < max"),
    ],
)
def test_a_wrong_parameter_is_refused(parameters: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^file: {message}") as caught:
        space_of(parameters)
    assert "\n" not in str(caught.value)


def test_a_wrong_fixed_field_is_refused_where_methods_are_searched() -> None:
    with pytest.raises(ConfigError, match=r"file: run: method.alhpa: unknown key"):
        space_of(NAMES, run={"method": {"alhpa": 1.0}})


def test_a_grid_of_continuous_values_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"file: parameters.{FEAR}: a grid needs values"):
        space_of(method="grid")
    with pytest.raises(
        ConfigError, match=r"file: parameters.optim.epochs: a grid of at most 10000"
    ):
        space_of(
            {"seed": {"min": 1, "max": 200}, "optim.epochs": {"min": 1, "max": 200}}, method="grid"
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [", "line 1, column 10: not valid YAML"),
        ("method: grid\nmethod: random\n", "line 2, column 1: .*'method' is given twice"),
        ("- 1", "expected a mapping"),
    ],
)
def test_what_is_no_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        load_space(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: cannot be read: No such file"):
        load_space(tmp_path / "none.yaml")
