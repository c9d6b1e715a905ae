"""Optuna and ASHA are set up as the file of the search space says."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from fer_ray.on_ray.searcher import SpaceScheduler, first_points, make_scheduler, make_searcher
from fer_ray.search.early_terminate import EarlyTerminate
from fer_ray.search.layout import REFERENCE_CONFIG, is_reference, sampled
from fer_ray.search.reading import parse_space
from fer_ray.search.space import SearchSpace
from fer_ray.search.stored import StoredTrial

pytestmark = pytest.mark.lowest


def space_of(search: str, **changes: Any) -> SearchSpace:
    parameters = {"optim.epochs": {"values": [12, 3, 5]}, "optim.momentum": {"values": [0.9, 0.5]}}
    return parse_space({"method": search, "parameters": parameters, **changes}, "file")


@pytest.mark.parametrize(
    ("search", "sampler"),
    [
        ("bayes", optuna.samplers.TPESampler),
        ("random", optuna.samplers.RandomSampler),
        ("grid", optuna.samplers.RandomSampler),
    ],
)
def test_bayes_uses_tpe_and_the_others_random_draws(search: str, sampler: type) -> None:
    assert type(make_searcher(space_of(search), 12, seed=0)._sampler) is sampler


@pytest.mark.parametrize("search", ["bayes", "random", "grid"])
def test_the_default_configuration_is_the_first_trial(search: str) -> None:
    space = space_of(search, run={"optim": {"epochs": 3, "momentum": 0.5}})
    first = make_searcher(space, 12, seed=1).suggest("0")
    assert sampled(first) == {"optim.epochs": 3, "optim.momentum": 0.5}
    assert first["trial"] == 0


def test_a_whole_grid_is_tried_before_random_draws() -> None:
    space = space_of("grid")
    points = first_points(space)
    assert len(points) == 6
    assert points[0] == space.default_params()
    searcher = make_searcher(space, 12, seed=0)
    tried = [sampled(searcher.suggest(str(number))) for number in range(6)]
    assert tried == points


def test_the_seed_determines_the_draws() -> None:
    space = parse_space(
        {"method": "random", "parameters": {"optim.learning_rate": {"min": 0.01, "max": 0.1}}},
        "file",
    )

    def drawn(seed: int) -> list[dict[str, Any]]:
        searcher = make_searcher(space, 12, seed)
        return [sampled(searcher.suggest(str(number))) for number in range(4)]

    assert drawn(0) == drawn(0)
    assert drawn(0)[1:] != drawn(1)[1:]


@pytest.mark.parametrize(("num_trials", "num_random"), [(1, 3), (12, 3), (24, 6), (50, 12)])
def test_a_quarter_of_the_trials_is_random(num_trials: int, num_random: int) -> None:
    sampler = make_searcher(space_of("bayes"), num_trials, seed=0)._sampler
    assert isinstance(sampler, optuna.samplers.TPESampler)
    assert sampler._n_startup_trials == num_random
    assert sampler._multivariate
    assert sampler._constant_liar


def test_trials_with_other_methods_share_what_both_have() -> None:
    """Optuna's groups: what one method alone has is learnt from its own trials."""
    parameters = {
        "method.name": {"values": ["cross_entropy", "co_divide"]},
        "method.penalty_weight": {"min": 0.0, "max": 1.0},
        "optim.momentum": {"min": 0.1, "max": 0.9},
    }
    assert not make_searcher(space_of("bayes"), 12, seed=0)._sampler._group
    searcher = make_searcher(parse_space({"method": "bayes", "parameters": parameters}, "f"), 9, 0)
    assert searcher._sampler._group
    weights = []
    for number in range(30):
        params = sampled(searcher.suggest(str(number)))
        weights += [params["method.penalty_weight"]] if len(params) == 3 else []
        value = params.get("method.penalty_weight", 0.0)
        searcher.on_trial_complete(str(number), {"val/natural/accuracy": value})
    assert np.mean(weights[-5:]) > 0.8


@pytest.mark.parametrize("mode", ["max", "min"])
def test_optuna_gets_the_metric_and_the_goal_of_the_file(mode: str) -> None:
    goal = {"max": "maximize", "min": "minimize"}[mode]
    space = space_of("bayes", metric={"name": "val/loss", "goal": goal})
    searcher = make_searcher(space, 12, seed=0)
    assert (searcher.metric, searcher.mode) == ("val/loss", mode)


def test_the_scheduler_is_the_one_of_the_file() -> None:
    scheduler = make_scheduler(EarlyTerminate(min_iter=2, eta=2.5), num_epochs=9)
    assert isinstance(scheduler, ASHAScheduler)
    # One more than the epochs there are, or every trial would be stopped in its last epoch.
    assert scheduler._max_t == 10
    assert scheduler._reduction_factor == 2.5
    (bracket,) = scheduler._brackets
    assert [rung for rung, _ in bracket._rungs] == [5, 2]
    assert scheduler._time_attr == "epoch"


@pytest.mark.parametrize(
    ("min_iter", "kind"), [(2, SpaceScheduler), (3, FIFOScheduler), (8, FIFOScheduler)]
)
def test_trials_shorter_than_the_first_rung_are_not_stopped(min_iter: int, kind: type) -> None:
    stop = EarlyTerminate(min_iter=min_iter, eta=2.0)
    assert type(make_scheduler(stop, num_epochs=3)) is kind
    assert type(make_scheduler(None, num_epochs=3)) is FIFOScheduler


def test_the_reference_is_one_more_trial_that_optuna_does_not_know() -> None:
    parameters = {"optim.momentum": {"min": 0.1, "max": 0.9}}
    raw = {"method": "bayes", "parameters": parameters}
    alone = make_searcher(parse_space(raw, "file"), 9, seed=0)
    space = parse_space({**raw, "reference": {"method": "cross_entropy"}}, "file")
    both = make_searcher(space, 9, seed=0)
    found = []
    for number in range(9):
        found.append(both.suggest(f"a{number}"))
        if number == 0:
            reference = both.suggest("r")
            assert is_reference(reference)
            assert both.suggest("r") == reference  # asked again after a failure
            both.on_trial_result("r", {"val/natural/accuracy": 0.9, "training_iteration": 1})
            both.on_trial_complete("r", {"val/natural/accuracy": 0.9})
        assert found[-1] == alone.suggest(f"a{number}")
        for searcher in (alone, both):
            value = {"val/natural/accuracy": found[-1]["optim.momentum"]}
            searcher.on_trial_complete(f"a{number}", value)
    assert [params["trial"] for params in found] == list(range(9))


@dataclass
class ScheduledTrial:
    """The part of Tune's trial that ASHA reads."""

    trial_id: str
    config: dict[str, Any]


def test_asha_neither_stops_the_reference_nor_compares_with_it() -> None:
    scheduler = make_scheduler(EarlyTerminate(min_iter=2, eta=2.0), num_epochs=9)
    scheduler.set_search_properties("val/accuracy", "max")
    reference = ScheduledTrial("r", dict(REFERENCE_CONFIG))
    trials = [ScheduledTrial(str(number), {"trial": number}) for number in range(2)]
    for trial in (reference, *trials):
        scheduler.on_trial_add(None, trial)

    def after(trial: ScheduledTrial, epoch: int, value: float) -> str:
        row = {"epoch": epoch, "val/accuracy": value}
        return str(scheduler.on_trial_result(None, trial, row))

    assert [after(reference, epoch, 0.9) for epoch in (2, 9, 18)] == ["CONTINUE"] * 3
    assert after(trials[0], 2, 0.5) == "CONTINUE"  # against 0.9 it would have been stopped
    assert after(reference, 4, 0.1) == "CONTINUE"
    assert after(trials[1], 2, 0.4) == "STOP"
    scheduler.on_trial_complete(None, reference, {"epoch": 18, "val/accuracy": 0.9})
    scheduler.on_trial_remove(None, reference)


def test_no_trial_is_started_after_the_target_is_reached() -> None:
    metric = {"name": "val/loss", "target": 0.4}
    space = space_of("random", metric=metric, reference={"method": "elr"})
    searcher = make_searcher(space, 12, seed=0)
    assert sampled(searcher.suggest("0"))
    for epoch, value in ((1, 0.5), (2, 0.4)):
        searcher.on_trial_result("0", {"val/loss": value, "training_iteration": epoch})
        is_last = value == 0.4
        assert is_reference(searcher.suggest("1"))  # it is trained in any case
        assert (searcher.suggest("2" if is_last else "3") == searcher.FINISHED) == is_last


@pytest.mark.parametrize(("last", "decision"), [(None, "STOP"), (4.0, "STOP"), (2.0, "CONTINUE")])
def test_no_trial_is_stopped_after_the_last_rung(last: float | None, decision: str) -> None:
    scheduler = make_scheduler(EarlyTerminate(min_iter=1, eta=2.0, last=last), num_epochs=8)
    scheduler.set_search_properties("val/accuracy", "max")
    trials = [ScheduledTrial(str(number), {"trial": number}) for number in range(2)]
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    decisions = []
    for epoch, values in ((1, (0.5, 0.5)), (2, (0.5, 0.5)), (4, (0.9, 0.1))):
        for trial, value in zip(trials, values, strict=True):
            row = {"epoch": epoch, "val/accuracy": value}
            decisions.append(str(scheduler.on_trial_result(None, trial, row)))
    assert decisions == ["CONTINUE"] * 5 + [decision]


@pytest.mark.parametrize("search", ["random", "bayes", "grid"])
@pytest.mark.parametrize("num_over", [0, 2, 5])
def test_a_resumed_search_draws_what_an_undisturbed_one_draws(search: str, num_over: int) -> None:
    near = {"around": "optim.learning_rate", "spread": 0.5}
    parameters: dict[str, Any] = {
        "optim.learning_rate": {"min": 0.01, "max": 0.1},
        "optim.momentum": {"values": [0.9, 0.5, 0.1]},
        "optim.weight_decay": {"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1},
        "method.penalty_weight": near,
    }
    if search == "grid":
        parameters = {"optim.epochs": {"values": [12, 3, 5, 6, 7, 8, 9, 10, 11]}}
    space = parse_space({"method": search, "parameters": parameters}, "file")
    whole, drawn = make_searcher(space, 9, seed=4), []

    def value(number: int) -> float:
        return number * 0.37 % 1

    for number in range(9):
        drawn.append(whole.suggest(str(number)))
        whole.on_trial_complete(str(number), {"val/natural/accuracy": value(number)})
    stored = [
        StoredTrial(
            name=f"trial_{number + 1:03d}",
            config=json.loads(json.dumps(drawn[number])),
            rows=[],
            end={"status": "done", "value": value(number), "retry": False}
            if number < num_over
            else None,
        )
        for number in range(num_over + 1)  # the last of them did not end
    ]
    resumed = make_searcher(space, 9, seed=4)
    resumed.recall(stored)
    for number in range(num_over, 9):
        assert resumed.suggest(str(number)) == drawn[number]
        resumed.on_trial_complete(str(number), {"val/natural/accuracy": value(number)})


def test_a_resumed_search_judges_trials_as_before() -> None:
    stored = [
        StoredTrial(
            name=f"trial_00{number + 1}",
            config={"trial": number},
            rows=[{"epoch": epoch, "val/accuracy": value} for epoch in (1, 2)],
            end=None if is_open else {"status": "stopped", "value": value, "retry": False},
        )
        for number, value, is_open in ((0, 0.9, False), (1, 0.5, True))
    ]
    scheduler = make_scheduler(EarlyTerminate(min_iter=2, eta=2.0), num_epochs=9)
    assert isinstance(scheduler, SpaceScheduler)
    scheduler.set_search_properties("val/accuracy", "max")
    scheduler.recall(stored, "val/accuracy", "max")
    trials = [ScheduledTrial("x", {"trial": 1}), ScheduledTrial("y", {"trial": 2})]
    for trial, value, decision in zip(trials, (0.5, 0.95), ("STOP", "CONTINUE"), strict=True):
        scheduler.on_trial_add(None, trial)
        row = {"epoch": 2, "val/accuracy": value}
        assert scheduler.on_trial_result(None, trial, row) == decision
