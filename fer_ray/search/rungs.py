"""When a search compares its trials first: after the longest warm-up that any of them may have."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.methods.base import SplitMethod
from fer_ray.search.space import SearchSpace

_LENGTHS = ("method.warmup_epochs", "optim.epochs")


def with_first_rung(space: SearchSpace) -> SearchSpace:
    """Check `early_terminate.min_iter` against the longest warm-up, or choose it.

    Trials in warm-up differ by nothing that is searched; those stopped there are stopped by chance.
    Without `min_iter`, trials are first compared in the epoch after the longest warm-up, or, if
    that is later, after one part in `eta` of their epochs.

    Raises:
        ConfigError: If trials would be compared too early, or could be stopped in an epoch without
            a checkpoint.
    """
    stop = space.early_terminate
    if stop is None:
        return space
    run = space.run_config(space.default_params())
    warmup, num_epochs = longest_warmup(space), run.optim.epochs
    if run.checkpoint.every > 1:
        raise ConfigError(
            f"{space.place}: checkpoint.every: expected 1 in a search with early_terminate, got "
            f"{run.checkpoint.every}. The best trial is tested in its last epoch, and may be "
            "stopped in any. Leave out one of the two"
        )
    if stop.min_iter is None:
        first = max(warmup + 1, math.ceil(num_epochs / stop.eta))
        for_wandb = {**space.source["early_terminate"], "min_iter": first}  # it needs the number
        return replace(
            space,
            early_terminate=replace(stop, min_iter=first),
            source={**space.source, "early_terminate": for_wandb},
        )
    if stop.min_iter <= warmup:
        key = "min_iter" if stop.last is None else "max_iter"
        rung = "" if stop.last is None else " for the first rung, max_iter / eta^s"
        raise ConfigError(
            f"{space.place}: early_terminate.{key}: expected more than {warmup}, the longest "
            f"warm-up of the space, got {stop.min_iter}{rung}. Trials in warm-up cannot be told "
            f"apart: raise {key} or leave it out, or lower method.warmup_epochs"
        )
    return space


def longest_warmup(space: SearchSpace) -> int:
    """Return the most epochs that a trial of the space may spend in warm-up; 0 if none divides."""
    lengths = (
        run.method.num_warmup(run.optim.epochs)
        for run in _extreme_runs(space)
        if isinstance(run.method, SplitMethod)
    )
    return max(lengths, default=0)


def _extreme_runs(space: SearchSpace) -> Iterator[RunConfig]:
    """Yield the runs with the longest and shortest warm-ups and lengths, of every method."""
    for method in space.methods:
        domains = space.active(method)
        ends = [[(key, x) for x in domains[key].corners()] for key in _LENGTHS if key in domains]
        for values in itertools.product(*ends):
            yield space.run_config(space.default_params(method) | dict(values))
