"""Runs a search on Ray Tune, from a plan to finished trials."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune

from fer_ray.config import RunConfig
from fer_ray.on_ray.cluster import Resources, max_concurrent
from fer_ray.on_ray.search_log import SearchLog
from fer_ray.on_ray.searcher import SpaceScheduler, make_scheduler, make_searcher, reaches
from fer_ray.on_ray.trainer import quiet_ray
from fer_ray.on_ray.trial import run_trial, trial_resources
from fer_ray.on_ray.wandb_trials import stop_rule
from fer_ray.record.scratch import scratch_folder
from fer_ray.record.wandb_library import wandb_library
from fer_ray.record.wandb_run import place_of
from fer_ray.record.wandb_sweep import begin_sweep
from fer_ray.search.layout import REFERENCE, WARMUP, best_row, trial_name
from fer_ray.search.plan import SearchPlan, largest_run
from fer_ray.search.stored import StoredTrial, read_trials
from fer_ray.search.wandb_format import search_sweep
from fer_ray.training.runtime import resolve_gpus

_MAX_FAILURES = 2


def run_search(plan: SearchPlan, have: Resources, wandb_dir: str) -> bool:
    """Run the trials of a search that have not ended.

    Args:
        plan: The search.
        have: Resources of the cluster.
        wandb_dir: Folder of W&B's local files.

    Returns:
        Whether all trials ended; if not, the search was interrupted and can be resumed.

    Raises:
        ConfigError: If not even one trial fits the cluster.
        OSError: If a file of the search cannot be written.
    """
    largest = resolve_gpus(largest_run(plan.space), have.gpus)
    space = plan.space.fixed({"workers.gpus_per_worker": largest.workers.gpus_per_worker})
    concurrent = max_concurrent(largest.workers, have, plan.concurrent)
    trainable = tune.with_resources(
        functools.partial(
            run_trial, space=space, folder=plan.folder, shares_warmup=plan.shares_warmup
        ),
        functools.partial(trial_resources, space=space, drivers=have.drivers),
    )
    quiet_ray()
    plan.save()
    stored = read_trials(plan.folder)
    num_open = _num_open(plan, stored)
    log = SearchLog(
        space=space,
        folder=plan.folder,
        class_names=plan.data.class_names,
        num_trials=num_runs(plan),
        wandb=plan.wandb,
        wandb_dir=wandb_dir,
        ended=[trial for trial in stored if trial.is_over],
    )
    sweep = search_sweep(plan.space, plan.folder.name)
    begin_sweep(plan.folder, sweep, plan.wandb, place_of(plan.source))
    if num_open:
        wandb_library()  # Tune imports it too, and would leave temporary files of it
        with scratch_folder() as scratch, unwrapped():
            _tuner(plan, trainable, largest, concurrent, log, stored, scratch).fit()
    if not _is_complete(plan):
        return False
    plan.folder.delete(WARMUP)
    return True


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise an operating-system error of our callbacks, such as a full disk, as it was.

    Tune raises an error of its own that holds the text of the first one.
    """
    try:
        yield
    except tune.TuneError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise cause from None


def num_runs(plan: SearchPlan) -> int:
    """Return the number of trials, with the reference."""
    return plan.num_trials + (plan.space.reference is not None)


def _num_open(plan: SearchPlan, stored: Sequence[StoredTrial]) -> int:
    """Return how many trials are still to be trained, with the reference."""
    num_started = max((trial.number + 1 for trial in stored), default=0)
    num_all = max(plan.num_trials, num_started) + (plan.space.reference is not None)
    return num_all - sum(trial.is_over for trial in stored)


def _is_complete(plan: SearchPlan) -> bool:
    """Return whether all trials have ended; an interrupted search has some that did not."""
    space, trials = plan.space, read_trials(plan.folder)
    if any(trial.end is None for trial in trials):
        return False
    best = [best_row(x.rows, space.metric, space.mode) for x in trials if x.name != REFERENCE]
    values = [row[space.metric] for row in best if row is not None]
    is_reached = any(reaches(value, space.target, space.mode) for value in values)
    has_reference = space.reference is None or len(best) < len(trials)
    return has_reference and (is_reached or len(best) >= plan.num_trials)


def _tuner(
    plan: SearchPlan,
    trainable: Any,
    largest: RunConfig,
    concurrent: int,
    log: SearchLog,
    stored: Sequence[StoredTrial],
    scratch: Path,
) -> tune.Tuner:
    """Make the tuner of the trials that have not ended.

    Tune's own state goes to a scratch folder: a search is resumed from the files of its trials.
    """
    space = plan.space
    searcher = make_searcher(space, plan.num_trials, largest.seed)
    searcher.recall(stored)
    scheduler = make_scheduler(space.early_terminate, largest.optim.epochs)
    if isinstance(scheduler, SpaceScheduler):
        scheduler.recall(stored, space.metric, space.mode)
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=space.metric,
            mode=space.mode,
            num_samples=_num_open(plan, stored),
            max_concurrent_trials=concurrent,
            search_alg=searcher,
            scheduler=scheduler,
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,
            # With one worker the loop ends with its trial. A process that drives workers may still
            # wait for them, so it cannot be reused.
            reuse_actors=largest.workers.num_workers == 1,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[log],
            stop=stop_rule,
            failure_config=tune.FailureConfig(max_failures=_MAX_FAILURES),
        ),
    )


def _name_of(trial: Any) -> str:
    return trial_name(trial.config)
