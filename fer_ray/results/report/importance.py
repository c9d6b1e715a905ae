"""How much each hyperparameter of a search matters, by Optuna, and when that cannot be said."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_ray.results.report.records import SearchFound, Tried
from fer_ray.search.conditions import METHOD_KEY

MIN_TRIALS = 10
"""Fewer trials say nothing; nor do fewer than twice as many as there are parameters."""
EVALUATOR = "fANOVA of Optuna (a forest of 64 trees, seed 0)"
_MIN_PARAMETERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """The importance of some parameters over some trials.

    Attributes:
        title: Which trials.
        shares: By dotted key, the largest first; they sum to 1. Empty if it cannot be said.
        num_done: Trials that finished.
        num_stopped: Trials that were stopped early; they count with the best value they reached.
        reason: Why `shares` is empty.
    """

    title: str
    shares: Mapping[str, float]
    num_done: int
    num_stopped: int
    reason: str


def importances(search: SearchFound) -> list[Importance]:
    """Rate the parameters that all trials have; where methods are searched, those of each method.

    A parameter that only some trials have is rated among these alone.
    """
    trials = [trial for trial in search.trials if trial.has_result]
    found = [_rated("all trials", trials, search)]
    for method in dict.fromkeys(trial.params.get(METHOD_KEY) for trial in trials):
        own = [trial for trial in trials if trial.params.get(METHOD_KEY) == method]
        if method is not None and len(own) < len(trials):
            found.append(_rated(f"trials with {method}", own, search))
    return found


def _rated(title: str, trials: Sequence[Tried], search: SearchFound) -> Importance:
    keys = _common_keys(trials)
    done = sum(trial.status == "done" for trial in trials)
    need = max(MIN_TRIALS, 2 * len(keys))
    reason, shares = "", dict[str, float]()
    if not trials:
        reason = "none has a result"
    elif len(keys) < _MIN_PARAMETERS:
        reason = "fewer than two parameters vary among them"
    elif len(trials) < need:
        reason = (
            f"{len(keys)} parameters need at least {need} trials with a result, and there are "
            f"{len(trials)}"
        )
    elif len({trial.value for trial in trials}) == 1:
        reason = "all of them have the same value"
    else:
        shares = rate([{k: t.params[k] for k in keys} for t in trials], _values(trials), search)
    return Importance(
        title=title,
        shares=shares,
        num_done=done,
        num_stopped=len(trials) - done,
        reason=reason,
    )


def _common_keys(trials: Sequence[Tried]) -> list[str]:
    """Keys that all trials have, and that have more than one value."""
    keys = [key for key in (trials[0].params if trials else ())]
    return [
        key
        for key in keys
        if all(key in trial.params for trial in trials)
        and len({str(trial.params[key]) for trial in trials}) > 1
    ]


def _values(trials: Sequence[Tried]) -> list[float]:
    return [float(trial.value) for trial in trials if trial.value is not None]


def rate(
    params: Sequence[Mapping[str, Any]], values: Sequence[float], search: SearchFound
) -> dict[str, float]:
    """Rate parameters by what they explain of the values; the largest share first.

    Args:
        params: Values of the parameters, trial by trial; all trials have the same keys.
        values: The metric of every trial.
        search: Its mode is the direction, and it says which keys are logarithmic.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {
        key: _distribution([line[key] for line in params], is_log=key in search.log_keys)
        for key in params[0]
    }
    study = optuna.create_study(direction="maximize" if search.mode == "max" else "minimize")
    for line, value in zip(params, values, strict=True):
        text = {
            key: line[key] if _is_number(distributions[key]) else str(line[key]) for key in line
        }
        study.add_trial(
            optuna.trial.create_trial(params=text, distributions=distributions, value=value)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=64, seed=0)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _is_number(distribution: Any) -> bool:
    return hasattr(distribution, "low")


def _distribution(values: Sequence[Any], *, is_log: bool) -> Any:
    """The range of the values seen, or a choice among them."""
    import optuna

    is_number = all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
    if not is_number:
        return optuna.distributions.CategoricalDistribution(sorted({str(x) for x in values}))
    low, high = min(values), max(values)
    if all(isinstance(x, int) for x in values) and not is_log:
        return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high, log=is_log and low > 0)
