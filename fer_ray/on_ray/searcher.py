"""Tune's searcher, which suggests configurations, and its scheduler, which stops trials early."""

import functools
import warnings
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from fer_ray.search.early_terminate import EarlyTerminate
from fer_ray.search.layout import REFERENCE_CONFIG, is_reference
from fer_ray.search.space import SearchSpace

_MIN_RANDOM = 3


class SpaceSearch(OptunaSearch):
    """Optuna's search of a space, with the space's reference as one more trial.

    The reference is trained beside the first trials, so that no process waits for it at the end.
    Optuna does not know of it. Once a trial has reached the target, no other is started.
    """

    has_reference = False
    target: float | None = None
    _reference_id: str | None = None
    _is_reached = False

    def suggest(self, trial_id: str) -> Any:
        """Return the next configuration: the default one, the reference, then Optuna's.

        Once the target is reached, it is Tune's word for the end.
        """
        is_due = self.has_reference and self._reference_id is None and self._ot_trials
        if is_due or trial_id == self._reference_id:
            self._reference_id = trial_id
            return dict(REFERENCE_CONFIG)
        if self._is_reached:
            return str(self.FINISHED)
        params: dict[str, Any] = super().suggest(trial_id)
        return params

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell Optuna the result of an epoch."""
        if trial_id != self._reference_id:
            value = result.get(str(self.metric))
            self._is_reached |= reaches(value, self.target, str(self.mode))
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how a trial ended."""
        if trial_id != self._reference_id:
            super().on_trial_complete(trial_id, result, error)


class SpaceScheduler(ASHAScheduler):
    """ASHA that never stops the reference and does not compare trials with it.

    Attributes:
        last: Number of epochs after which no trial is stopped; `None` for the whole run.
    """

    last: float | None = None

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Put a trial into a bracket."""
        if not is_reference(trial.config):
            super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide whether a trial goes on."""
        is_past = self.last is not None and result["epoch"] > self.last
        if is_reference(trial.config) or is_past:
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Record the last result of a trial."""
        if not is_reference(trial.config):
            super().on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that ended before it ran."""
        if not is_reference(trial.config):
            super().on_trial_remove(tune_controller, trial)


def make_searcher(space: SearchSpace, num_trials: int, seed: int) -> SpaceSearch:
    """Make Optuna's searcher for any kind of search; the default configuration is tried first."""
    searcher = SpaceSearch(
        functools.partial(_suggest, space),
        metric=space.metric,
        mode=space.mode,
        points_to_evaluate=first_points(space),
        sampler=make_sampler(space, num_trials, seed),
    )
    searcher.has_reference = space.reference is not None
    searcher.target = space.target
    return searcher


def make_sampler(space: SearchSpace, num_trials: int, seed: int) -> Any:
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
    scheduler = SpaceScheduler(
        time_attr="epoch",
        # One epoch more than there are, so that a trial that reaches its end does not count as
        # stopped.
        max_t=num_epochs + 1,
        grace_period=stop.min_iter,
        reduction_factor=stop.eta,
    )
    scheduler.last = stop.last
    return scheduler


def reaches(value: float | None, target: float | None, mode: str) -> bool:
    """Return whether a value is as good as the target, if there is one.

    >>> reaches(0.8, 0.7, "max"), reaches(0.8, 0.7, "min"), reaches(0.8, None, "max")
    (True, False, False)
    """
    if value is None or target is None:
        return False
    return value >= target if mode == "max" else value <= target


def _suggest(space: SearchSpace, trial: Any) -> dict[str, Any]:
    """Ask Optuna for a configuration, and add the trial's number."""
    return {**space.suggest(trial), "trial": trial.number}
