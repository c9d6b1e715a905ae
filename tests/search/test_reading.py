"""Reading a search space: overrides, both forms of keys, and everything that is refused."""

from pathlib import Path
from typing import Any

import pytest

from fer_ray.core.errors import ConfigError
from fer_ray.search.early_terminate import EarlyTerminate
from fer_ray.search.reading import load_space, parse_space
from fer_ray.search.wandb_format import agent_sweep, search_sweep
from tests.search.spaces import FEAR, space_of

pytestmark = pytest.mark.lowest


def test_dotted_and_nested_keys_are_equivalent() -> None:
    domain = {"min": 0.2, "max": 0.9}
    nested = {"method": {"parameters": {"thresholds": {"parameters": {"fear": domain}}}}}
    half = {"method.thresholds": {"parameters": {"fear": domain}}}
    assert space_of(nested).parameters == space_of(half).parameters == space_of().parameters
    with pytest.raises(ConfigError, match=f"file: parameters.{FEAR}: expected once, got both"):
        space_of(nested | half)


def test_an_overridden_parameter_is_no_longer_searched() -> None:
    raw = {"method": "random", "parameters": {FEAR: {"min": 0.2, "max": 0.9}, "seed": {"value": 3}}}
    fixed = {FEAR: 0.7, "data.spec": "synthetic:train=9", "metric": "val/accuracy"}
    space = parse_space(raw, "file", fixed)
    assert list(space.parameters) == ["seed"]
    config = space.run_config({})
    assert config.to_dict()["method"]["thresholds"]["fear"] == 0.7
    assert (config.data.spec, config.metric) == ("synthetic:train=9", "val/accuracy")
    assert list(space.to_wandb_sweep()["parameters"]) == ["seed"]


STOP = {"type": "hyperband", "min_iter": 4, "eta": 3}
BACK = {"type": "hyperband", "max_iter": 27, "s": 2}
GOOD = {"name": "val/accuracy", "goal": "maximize"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paramters": {}}, "paramters: unknown key; did you mean parameters?"),
        ({"zzz": 1}, "zzz: unknown key; known keys are name, run, reference"),
        ({"parameters": [1]}, "parameters: expected a section of keys, got"),
        ({"parameters": {}}, "parameters: expected at least one"),
        ({"run": "synthetic"}, "run: expected a section of keys"),
        ({"method": "co_divide"}, "method: expected random, grid or bayes, got 'co_divide'; the"),
        ({"metric": "val/loss"}, "metric: expected"),
        ({"metric": {"name": "test/accuracy", "goal": "maximize"}}, "metric.name: metric: one of"),
        ({"metric": {"name": "val/loss", "gaol": "minimize"}}, "gaol: unknown key; did you mean"),
        ({"metric": {"name": "val/loss", "goal": "max"}}, "metric.goal: expected maximize or mini"),
        ({"metric": {"name": "val/accuracy"}}, "metric.goal: .* nothing.*Write goal: maximize"),
        ({"metric": GOOD | {"target": "high"}}, "metric.target: expected a number, got 'high'"),
        ({"margin": -1}, "margin: expected a number of standard errors, 0 or more, got -1"),
        ({"margin": "one"}, "margin: expected a number of standard errors"),
        ({"metric": GOOD | {"impute": "best"}}, "metric: impute: not for a search .* no value"),
        ({"scheduler": {"engine": "optuna"}}, "scheduler: not for a search .* early_terminate"),
        ({"program": ["train.py"]}, r"program: expected text, got \['train.py'\]"),
        ({"command": "python train.py"}, "command: expected a list of words, such as"),
        ({"run": {"metric": "val/loss"}}, "run.metric: expected beside `run`"),
        ({"run_cap": 0}, "run_cap: expected a whole number of at least 1, got 0"),
        ({"run_cap": True}, "run_cap: .* got True"),
        ({"early_terminate": 3}, "early_terminate.type: expected {type: hyperband"),
        ({"early_terminate": {"type": "median"}}, "early_terminate.type: .* got 'median'"),
        (
            {"early_terminate": STOP | {"min_iter": 0}},
            "early_terminate.min_iter: expected a .* got 0",
        ),
        ({"early_terminate": STOP | {"eta": 1}}, "early_terminate.eta: .* above 1, got 1"),
        ({"early_terminate": STOP | {"s": 2}}, "early_terminate: expected either min_iter, or"),
        ({"early_terminate": BACK | {"s": None}}, "early_terminate: expected either min_iter, or"),
        ({"early_terminate": BACK | {"s": 4}}, "early_terminate: expected at most as many rungs"),
        ({"early_terminate": BACK | {"max_iter": 2.5}}, "early_terminate.max_iter: .* got 2.5"),
        (
            {"early_terminate": BACK},
            "early_terminate.max_iter: .* got 3 for .* raise max_iter",
        ),
        (
            {"early_terminate": STOP | {"strict": False}},
            "early_terminate.strict: expected true, or",
        ),
        ({"early_terminate": STOP | {"steps": 2}}, "early_terminate: steps: unknown key"),
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
            "parameters.metric: this is what the search optimises; write it beside",
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


def test_a_wrong_fixed_field_is_refused_if_methods_are_searched() -> None:
    with pytest.raises(ConfigError, match=r"file: run: method.alhpa: unknown key"):
        space_of(NAMES, run={"method": {"alhpa": 1.0}})


def test_a_grid_of_continuous_values_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"file: parameters.{FEAR}: a grid needs values"):
        space_of(method="grid")
    with pytest.raises(
        ConfigError, match=r"file: parameters.optim.epochs: expected a grid of at most 10000"
    ):
        space_of(
            {"seed": {"min": 1, "max": 200}, "optim.epochs": {"min": 2, "max": 201}}, method="grid"
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [", "line 1, column 10: not valid YAML"),
        ("method: grid\nmethod: random\n", "line 2, column 1: .*'method' is given twice"),
        ("- 1", "expected a mapping"),
    ],
)
def test_a_file_that_is_not_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        load_space(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: cannot be read: No such file"):
        load_space(tmp_path / "none.yaml")


def test_a_sweep_of_wandb_is_read_whole(tmp_path: Path) -> None:
    """Every key that W&B documents, and both forms of parameters."""
    path = tmp_path / "my sweep.yaml"
    path.write_text(EVERY_KEY, encoding="utf-8")
    space = load_space(path)
    assert space.name == "My sweep (lr)"
    assert (space.metric, space.mode, space.target) == ("val/loss", "min", 0.4)
    assert space.early_terminate == EarlyTerminate(3, 3.0, 9.0)
    assert list(space.parameters) == ["method.label_smoothing", "optim.learning_rate"]
    sweep = search_sweep(space, "search-001")
    assert sweep.keys() == {"name", "description", "method", "metric", "parameters"}
    assert sweep["metric"] == {"name": "val/loss", "goal": "minimize", "target": 0.4}
    assert sweep["description"].startswith("Which rate?\n\nRay Tune chooses")
    assert sweep["parameters"] == {
        "method": {
            "parameters": {"label_smoothing": {"values": [0.0, 0.1], "distribution": "categorical"}}
        },
        "optim": {
            "parameters": {"learning_rate": {"min": 0.01, "max": 1, "distribution": "uniform"}}
        },
    }


EVERY_KEY = """
program: fer_ray.train
command: ["${env}", python, -m, fer_ray.train, "${args_no_hyphens}"]
entity: team
project: faces
name: My sweep (lr)
description: Which rate?
method: bayes
metric: {name: val/loss, target: 0.4}
run_cap: 3
early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 3, strict: true}
run: {method: cross_entropy}
parameters:
  method: {parameters: {label_smoothing: {values: [0.0, 0.1]}}}
  optim.learning_rate: {min: 0.01, max: 1}
"""


def test_an_agent_gets_a_command_and_the_first_rung(tmp_path: Path) -> None:
    raw = {"method": "random", "early_terminate": {"type": "hyperband"}, "reference": None}
    space = space_of(**raw)
    sweep = agent_sweep(space, "spaces/my space.yaml")
    assert sweep["program"] == "fer_ray.train"
    assert sweep["command"][:6] == [
        "${env}",
        "python",
        "-m",
        "fer_ray.train",
        "--config",
        "spaces/my space.yaml",
    ]
    assert space.early_terminate is not None
    assert sweep["early_terminate"]["min_iter"] == space.early_terminate.min_iter
    assert not {"run", "reference"} & sweep.keys()
