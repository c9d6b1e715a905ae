"""A search space: conditional parameters, defaults, grids, and Optuna's helpers."""

import numpy as np
import pytest

from fer_ray.core.errors import ConfigError
from fer_ray.search.space import trial_params
from tests.search.spaces import CONDITIONAL, FEAR, space_of

pytestmark = pytest.mark.lowest


def test_a_trial_has_only_the_parameters_of_its_method() -> None:
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
    method = {"name": "co_divide", "thresholds": {"default": 0.4, "fear": 0.95}}
    space = space_of(parameters, run={"data": "synthetic:train=9", "method": method})
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


def test_the_default_warmup_is_counted_in_epochs_if_epochs_are_searched() -> None:
    parameters = {"method.warmup_epochs": {"min": 1, "max": 7}}
    for epochs in (8, 12):
        space = space_of(parameters, run={"optim": {"epochs": epochs}})
        assert space.default_params() == {"method.warmup_epochs": epochs // 2}
    share = space_of({"method.warmup_epochs": {"min": 0.2, "max": 0.8}})
    assert share.default_params() == {"method.warmup_epochs": 0.5}
    assert share.run_config({"method.warmup_epochs": 0.25}).method.is_warmup(3, 12)


def test_optunas_helpers_are_removed() -> None:
    space = space_of({"optim.momentum": {"distribution": "normal", "mu": 0.8, "sigma": 0.04}})
    point = space.default_point()
    assert list(point) == ["u:optim.momentum"]
    assert trial_params(point | {"optim.momentum": 0.9}) == {"optim.momentum": 0.9}
    assert space.run_config(point).optim.momentum == 0.9


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


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.name: expected co_divide, got 'magic'"):
        space_of().run_config({"method.name": "magic"})
