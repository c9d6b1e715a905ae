"""Tune's searcher, which suggests configurations, and its scheduler, which stops trials early."""

import functools
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from fer_ray.search.space import SearchSpace
from fer_ray.search.sweep import EarlyTerminate


def make_searcher(space: SearchSpace, seed: int) -> OptunaSearch:
    """Make Optuna's searcher for any kind of search; the default configuration is tried first."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = (
        optuna.samplers.TPESampler if space.search == "bayes" else optuna.samplers.RandomSampler
    )
    return OptunaSearch(
        functools.partial(_suggest, space),
        metric=space.metric,
        mode=space.mode,
        points_to_evaluate=first_points(space),
        sampler=sampler(seed=seed),
    )


def first_points(space: SearchSpace) -> list[dict[str, Any]]:
    """Return what is tried before Optuna suggests: the whole grid, or the default configuration."""
    return space.grid_points() if space.search == "grid" else [space.default_point()]


def make_scheduler(stop: EarlyTerminate | None, num_epochs: int) -> TrialScheduler:
    """Make the scheduler: ASHA, or FIFO if no trial is to be stopped before its last epoch."""
    if stop is None or stop.min_iter >= num_epochs:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch",
        # One epoch more than there are, so that a trial that reaches its end does not count as
        # stopped.
        max_t=num_epochs + 1,
        grace_period=stop.min_iter,
        reduction_factor=stop.eta,
    )


def _suggest(space: SearchSpace, trial: Any) -> dict[str, Any]:
    """Ask Optuna for a configuration, and add the trial's number."""
    return {**space.suggest(trial), "trial": trial.number}
