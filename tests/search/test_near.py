"""Parameters that are searched near another one: a level and offsets from it."""

from typing import Any

import numpy as np
import optuna
import pytest

from fer_ray.core.errors import ConfigError
from fer_ray.search.reading import parse_space
from fer_ray.search.space import SearchSpace
from tests.search.spaces import FEAR, same, space_of

pytestmark = pytest.mark.lowest

LEVEL = "method.thresholds.default"
ANGER = "method.thresholds.anger"
NEAR = {"around": LEVEL, "spread": 0.25}
LINEAR = {"min": 0.2, "max": 1.0}
LOG = {"distribution": "log_uniform_values", "min": 0.01, "max": 1.0}


def near_space(level: dict[str, Any], **changes: Any) -> SearchSpace:
    # The offsets come first, to see that the level is drawn before them.
    return space_of({FEAR: NEAR, ANGER: NEAR, LEVEL: level}, **changes)


def test_values_lie_near_their_level_on_its_scale() -> None:
    rng = np.random.default_rng(0)
    linear, log = near_space(LINEAR), near_space(LOG)
    for _ in range(300):
        params = linear.sample(rng)
        assert abs(params[FEAR] - params[LEVEL]) <= 0.25 * 0.8 + 1e-9
        assert 0.2 <= params[FEAR] <= 1.0
        params = log.sample(rng)
        assert abs(np.log10(params[FEAR] / params[LEVEL])) <= 0.25 * 2 + 1e-9
        assert 0.01 <= params[FEAR] <= 1.0


@pytest.mark.parametrize("level", [LINEAR, LOG])
@pytest.mark.parametrize(("default", "fear"), [(0.5, 0.5), (0.3, 0.9), (0.25, 0.3), (0.9, 0.95)])
def test_optuna_is_given_the_default_values(level: Any, default: float, fear: float) -> None:
    fixed = {"method": {"name": "co_divide", "thresholds": {"default": default, "fear": fear}}}
    space = near_space(level, run=fixed)
    params = space.default_params()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(space.default_point())
    assert same(space.suggest(study.ask()), params)
    assert params[LEVEL] == pytest.approx(default)
    assert params[ANGER] == pytest.approx(default)
    # As near to its default as the spread allows.
    u = {key: space.parameters[LEVEL].position(params[key]) for key in (LEVEL, FEAR)}
    wanted = space.parameters[LEVEL].position(fear)
    assert u[FEAR] == pytest.approx(np.clip(wanted, u[LEVEL] - 0.25, u[LEVEL] + 0.25))


def test_values_lie_near_a_fixed_level() -> None:
    raw = {"method": "random", "parameters": {LEVEL: LINEAR, FEAR: NEAR}}
    space = parse_space(raw, "file", {LEVEL: 0.5})
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(50)]
    assert all(params.keys() == {FEAR} for params in drawn)
    assert 0.3 <= min(x[FEAR] for x in drawn) < 0.4
    assert 0.6 < max(x[FEAR] for x in drawn) <= 0.7
    assert space.run_config(drawn[0]).to_dict()["method"]["thresholds"]["default"] == 0.5
    assert space.to_wandb_sweep()["parameters"] == {FEAR: LINEAR}


def test_wandb_has_the_values_of_the_level() -> None:
    sweep = near_space(LINEAR).to_wandb_sweep()["parameters"]
    assert sweep == {FEAR: LINEAR, ANGER: LINEAR, LEVEL: LINEAR}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({FEAR: NEAR | {"min": 0}}, "needs the keys around and spread, got around, spread, min"),
        ({FEAR: {"around": LEVEL}}, "needs the keys around and spread, got around"),
        ({FEAR: NEAR | {"spread": 0}}, r"needs a spread in \(0, 1\], .* got 0"),
        ({FEAR: NEAR | {"spread": True}}, r"needs a spread in \(0, 1\], .* got True"),
        (
            {FEAR: NEAR | {"around": FEAR}},
            "needs around .* of a continuous parameter of this file, got",
        ),
        (
            {FEAR: NEAR, LEVEL: {"values": [0.1, 0.5]}},
            "needs around .* of a continuous parameter of this file",
        ),
    ],
)
def test_a_wrong_one_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"file: parameters.{FEAR}: {message}"):
        space_of({LEVEL: LINEAR, **changes})


def test_a_grid_refuses_it() -> None:
    raw = {"method": "grid", "parameters": {LEVEL: LINEAR, FEAR: NEAR}}
    with pytest.raises(ConfigError, match=f"parameters.{FEAR}: a grid needs values of its own"):
        parse_space(raw, "file", {LEVEL: 0.5})


def test_every_method_with_the_parameter_needs_the_level() -> None:
    parameters = {
        "method.name": {"values": ["co_divide", "dividemix"]},
        "method.penalty_weight": {"around": LEVEL, "spread": 0.1},
        LEVEL: LINEAR,
    }
    with pytest.raises(ConfigError, match=r"dividemix has no method\.thresholds\.default"):
        space_of(parameters)
