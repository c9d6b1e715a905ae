"""Tune's searcher, which suggests configurations, and its scheduler, which stops trials early."""

import functools
import warnings
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from fer_ray.search.space import SearchSpace
from fer_ray.search.sweep import EarlyTerminate

_MIN_RANDOM = 3


def make_searcher(space: SearchSpace, num_trials: int, seed: int) -> OptunaSearch:
    """Make Optuna's searcher for any kind of search; the default configuration is tried first."""
    return OptunaSearch(
        functools.partial(_suggest, space),
        metric=space.metric,
        mode=space.mode,
        points_to_evaluate=first_points(space),
        sampler=_sampler(space, num_trials, seed),
    )


def _sampler(space: SearchSpace, num_trials: int, seed: int) -> Any:
    """Return Optuna's sampler: random draws, or TPE after a few of them.

    TPE looks at all parameters together (in groups, where some exist in a part of the trials only),
    and counts trials that still run as bad ones, so that those beside them look elsewhere. Optuna's
    own 10 random trials are most of a search of 12; `benchmarks/searcher.py` compares settings.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if space.search != "bayes":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=max(_MIN_RANDOM, num_trials // 4),
            multivariate=True,
            group=len(space.methods) > 1,
            constant_liar=True,
            seed=seed,
        )


def first_points(space: SearchSpace) -> list[dict[str, Any]]:
    """Return what is tried before Optuna suggests: the whole grid, or the default configuration."""
    return space.grid_points() if space.search == "grid" else [space.default_point()]


def make_scheduler(stop: EarlyTerminate | None, num_epochs: int) -> TrialScheduler:
    """Make the scheduler: ASHA, or FIFO if no trial is to be stopped before its last epoch."""
    if stop is None or stop.min_iter is None or stop.min_iter >= num_epochs:
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
