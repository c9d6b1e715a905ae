"""Tune's searcher, which suggests configurations, and its scheduler, which stops trials early."""

import functools
import warnings
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from fer_ray.search.early_terminate import EarlyTerminate
from fer_ray.search.layout import REFERENCE, REFERENCE_CONFIG, is_reference, trial_name
from fer_ray.search.space import SearchSpace
from fer_ray.search.stored import StoredTrial
from fer_ray.search.sweep import MetricMode

_MIN_RANDOM = 3


class SpaceSearch(OptunaSearch):
    """Optuna's search of a space, with the space's reference as one more trial.

    The reference is trained beside the first trials, so that no process waits for it at the end.
    Optuna does not know of it. Once a trial has reached the target, no other is started.

    What a trial draws depends on the seed, its number, and what is known of the trials before it.
    So a resumed search, which is told of these, draws what an undisturbed one would have drawn.
    """

    def __init__(self, space: SearchSpace, num_trials: int, seed: int) -> None:
        """Start without trials.

        Args:
            space: What is searched.
            num_trials: How many trials are planned.
            seed: Seed of the draws.
        """
        self._sampler_of = functools.partial(_numbered_sampler, space, num_trials, seed)
        super().__init__(
            functools.partial(_suggest, space),
            metric=space.metric,
            mode=space.mode,
            sampler=self._sampler_of(0),
        )
        self._first, self._target = first_points(space), space.target
        self._has_reference, self._reference_id = space.reference is not None, ""
        self._is_reached = False
        self._waiting: list[Any] = []  # Optuna's trials that go on, or were never started

    def recall(self, trials: Sequence[StoredTrial]) -> None:
        """Tell Optuna of the trials of an earlier command; those that did not end come first."""
        stored = {trial.number: trial for trial in trials}
        for number in range(max(stored, default=-1) + 1):
            trial = stored.get(number)
            asked = self._ask(trial.config if trial is not None else None)
            self._space(asked)
            if trial is None or not trial.is_over:
                self._waiting.append(asked)
            else:
                self._tell(asked, trial)
        for trial in trials:
            if trial.name == REFERENCE:
                self._has_reference = not trial.is_over
            else:
                values = [row.get(str(self.metric)) for row in trial.rows]
                self._is_reached |= any(self._reaches(value) for value in values)

    def suggest(self, trial_id: str) -> Any:
        """Return the next configuration: the default one, the reference, then Optuna's.

        Once the target is reached, it is Tune's word for the end.
        """
        is_due = self._has_reference and not self._reference_id and self._num_asked
        if is_due or trial_id == self._reference_id:
            self._reference_id = trial_id
            return dict(REFERENCE_CONFIG)
        if trial_id not in self._ot_trials:
            if not self._waiting and self._is_reached:
                return str(self.FINISHED)
            asked = self._waiting.pop(0) if self._waiting else self._ask(None)
            self._ot_trials[trial_id] = asked
        params: dict[str, Any] = super().suggest(trial_id)
        return params

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell Optuna the result of an epoch."""
        if trial_id != self._reference_id:
            self._is_reached |= self._reaches(result.get(str(self.metric)))
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how a trial ended."""
        if trial_id != self._reference_id:
            super().on_trial_complete(trial_id, result, error)

    @property
    def _num_asked(self) -> int:
        return len(self._ot_study.get_trials(deepcopy=False))

    def _ask(self, draw: Mapping[str, Any] | None) -> Any:
        """Ask Optuna for the next trial; with what it drew before, if it did."""
        number, study = self._num_asked, self._ot_study
        study.sampler = self._sampler_of(number)
        if draw is None and number < len(self._first):
            draw = self._first[number]
        if draw is not None:
            study.enqueue_trial(dict(draw))
        return study.ask()

    def _tell(self, asked: Any, trial: StoredTrial) -> None:
        from optuna.trial import TrialState

        value = trial.end["value"] if trial.end is not None else None
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        self._ot_study.tell(asked, value, state=state)

    def _reaches(self, value: float | None) -> bool:
        return reaches(value, self._target, str(self.mode))


class SpaceScheduler(ASHAScheduler):
    """ASHA that never stops the reference and does not compare trials with it.

    Attributes:
        last: Number of epochs after which no trial is stopped; `None` for the whole run.
    """

    last: float | None = None

    def recall(self, trials: Sequence[StoredTrial], metric: str, mode: MetricMode) -> None:
        """Record the results of an earlier command's trials, by which others are judged.

        The last row of a trial that goes on is left out: it reports that row again, and may be
        stopped by it.
        """
        sign = 1.0 if mode == "max" else -1.0
        for trial in trials:
            rows = trial.rows if trial.is_over else trial.rows[:-1]
            for row in rows if trial.name != REFERENCE else ():
                if row.get(metric) is not None and not self._is_past(row):
                    named = SimpleNamespace(trial_id=trial.name)
                    self._brackets[0].on_result(named, row["epoch"], sign * row[metric])

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Put a trial into a bracket, with what is recorded of it under its name."""
        if is_reference(trial.config):
            return
        super().on_trial_add(tune_controller, trial)
        for _, recorded in self._brackets[0]._rungs:
            if trial_name(trial.config) in recorded:
                recorded[trial.trial_id] = recorded.pop(trial_name(trial.config))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide whether a trial goes on."""
        if is_reference(trial.config) or self._is_past(result):
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

    def _is_past(self, result: Mapping[str, Any]) -> bool:
        return self.last is not None and result["epoch"] > self.last


def make_searcher(space: SearchSpace, num_trials: int, seed: int) -> SpaceSearch:
    """Make Optuna's searcher for any kind of search; the default configuration is tried first."""
    return SpaceSearch(space, num_trials, seed)


def _numbered_sampler(space: SearchSpace, num_trials: int, seed: int, number: int) -> Any:
    """Make the sampler for the draws of one trial."""
    own = np.random.SeedSequence((seed, number)).generate_state(1)[0]
    return make_sampler(space, num_trials, int(own))


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
