"""Trials are compared for the first time after the longest warm-up of the space."""

import itertools
from typing import Any

import pytest

from fer_ray.core.errors import ConfigError
from fer_ray.search.early_terminate import EarlyTerminate
from fer_ray.search.rungs import longest_warmup
from tests.search.spaces import space_of

pytestmark = pytest.mark.lowest

WARMUP = {"method.warmup_epochs": {"min": 2, "max": 5}}


def stop_of(parameters: dict[str, Any], epochs: int = 12, **stop: Any) -> EarlyTerminate | None:
    run = {"optim": {"epochs": epochs}, "method": "co_divide"}
    early = {"type": "hyperband", **stop}
    return space_of(parameters, run=run, early_terminate=early).early_terminate


def test_without_min_iter_the_first_rung_comes_after_the_longest_warmup() -> None:
    assert stop_of(WARMUP) == EarlyTerminate(6, 3.0)
    assert stop_of(WARMUP, epochs=30) == EarlyTerminate(10, 3.0)  # a third of the epochs is later
    assert stop_of(WARMUP, epochs=30, eta=6) == EarlyTerminate(6, 6.0)


def test_wandb_is_told_the_first_rung() -> None:
    space = space_of(WARMUP, early_terminate={"type": "hyperband", "eta": 3})
    assert space.to_wandb_sweep()["early_terminate"] == {
        "type": "hyperband",
        "eta": 3,
        "min_iter": 6,
    }


def test_a_fixed_warmup_counts_too() -> None:
    assert stop_of({"method.penalty_weight": {"values": [1.0, 2.0]}}) == EarlyTerminate(7, 3.0)


def test_a_rung_during_warmup_is_refused() -> None:
    assert stop_of(WARMUP, min_iter=6) == EarlyTerminate(6, 3.0)
    with pytest.raises(
        ConfigError,
        match=r"file: early_terminate.min_iter: expected more than 5, the longest warm-up of the "
        r"space, got 5\. .* raise min_iter or leave it out, or lower method.warmup_epochs",
    ):
        stop_of(WARMUP, min_iter=5)


def test_trials_that_may_be_stopped_are_saved_in_every_epoch() -> None:
    run = {"method": "co_divide", "checkpoint": {"every": 2}}
    assert space_of(WARMUP, run=run).early_terminate is None
    with pytest.raises(ConfigError, match=r"file: checkpoint\.every: expected 1 .* got 2"):
        space_of(WARMUP, run=run, early_terminate={"type": "hyperband"})


def test_methods_that_never_divide_have_no_warmup() -> None:
    names = {"method.name": {"values": ["cross_entropy", "elr", "co_teaching"]}}
    assert longest_warmup(space_of(names)) == 0
    assert longest_warmup(space_of({"method.name": {"values": ["elr", "dividemix"]}})) == 6


def test_no_trial_is_longer_in_warmup_than_the_longest() -> None:
    lengths = {"optim.epochs": {"min": 9, "max": 12}}
    space = space_of(WARMUP | lengths)
    for warmup, epochs in itertools.product(range(2, 6), range(9, 13)):
        run = space.run_config({"method.warmup_epochs": warmup, "optim.epochs": epochs})
        length = sum(run.method.is_warmup(epoch, epochs) for epoch in range(1, epochs + 1))
        assert length <= longest_warmup(space)
    assert longest_warmup(space) == 5


def test_a_warmup_may_be_a_share_of_the_epochs() -> None:
    share = {"method.warmup_epochs": {"min": 0.1, "max": 0.5}}
    assert stop_of(share) == EarlyTerminate(7, 3.0)
    assert longest_warmup(space_of(share | {"optim.epochs": {"values": [12, 40, 20]}})) == 20
