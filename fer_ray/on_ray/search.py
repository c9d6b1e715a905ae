"""Runs a search on Ray Tune, from a plan to finished trials."""

import functools
import posixpath
from typing import Any

from ray import tune

from fer_ray.config import RunConfig
from fer_ray.on_ray.cluster import Resources, max_concurrent
from fer_ray.on_ray.search_log import SearchLog
from fer_ray.on_ray.searcher import make_scheduler, make_searcher, reaches
from fer_ray.on_ray.trainer import quiet_ray
from fer_ray.on_ray.trial import run_trial, trial_resources
from fer_ray.on_ray.wandb_trials import stop_rule
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.wandb_run import place_of
from fer_ray.record.wandb_sweep import begin_sweep
from fer_ray.search.layout import WARMUP, best_row, trial_name
from fer_ray.search.plan import SearchPlan, largest_run
from fer_ray.search.wandb_format import search_sweep
from fer_ray.training.runtime import resolve_gpus

_MAX_FAILURES = 2
_KEEP = 3


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
    log = SearchLog(
        space=space,
        folder=plan.folder,
        class_names=plan.data.class_names,
        num_trials=num_runs(plan),
        wandb=plan.wandb,
        wandb_dir=wandb_dir,
    )
    tuner = _restored(plan, trainable) if plan.is_resumed else None
    if tuner is None:
        plan.save()
        tuner = _tuner(plan, trainable, largest, concurrent, log)
    sweep = search_sweep(plan.space, plan.folder.name)
    begin_sweep(plan.folder, sweep, plan.wandb, place_of(plan.source))
    try:
        grid = tuner.fit()
    except KeyboardInterrupt:
        return False
    is_short = len(grid) < num_runs(plan) and not _has_reached_target(plan)
    if is_short or not all(map(_is_over, grid)):
        return False
    plan.folder.delete(WARMUP)
    return True


def num_runs(plan: SearchPlan) -> int:
    """Return the number of trials, with the reference."""
    return plan.num_trials + (plan.space.reference is not None)


def _has_reached_target(plan: SearchPlan) -> bool:
    """Return whether a trial is so good that none is started after it."""
    space = plan.space
    for name in plan.folder.names():
        best = None
        if name.startswith("trial_"):
            best = best_row(JsonLinesTracker(plan.folder / name).rows, space.metric, space.mode)
        if best is not None and reaches(best[space.metric], space.target, space.mode):
            return True
    return False


def _is_over(result: Any) -> bool:
    """Return whether a trial ended; an interrupted search has trials that did not."""
    return bool(result.error) or bool((result.metrics or {}).get("done"))


def _restored(plan: SearchPlan, trainable: Any) -> tune.Tuner | None:
    """Restore the interrupted experiment; `None` if it ended before Tune saved anything."""
    path, store = plan.folder.path, plan.folder.filesystem
    if not tune.Tuner.can_restore(path, storage_filesystem=store):
        return None
    return tune.Tuner.restore(
        path, trainable, resume_unfinished=True, resume_errored=True, storage_filesystem=store
    )


def _tuner(
    plan: SearchPlan, trainable: Any, largest: RunConfig, concurrent: int, log: SearchLog
) -> tune.Tuner:
    space = plan.space
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=space.metric,
            mode=space.mode,
            num_samples=num_runs(plan),
            max_concurrent_trials=concurrent,
            search_alg=make_searcher(space, plan.num_trials, largest.seed),
            scheduler=make_scheduler(space.early_terminate, largest.optim.epochs),
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,
            # With one worker the loop ends with its trial. A process that drives workers may still
            # wait for them, so it cannot be reused.
            reuse_actors=largest.workers.num_workers == 1,
        ),
        run_config=tune.RunConfig(
            name=plan.folder.name,
            storage_path=posixpath.dirname(plan.folder.path),
            storage_filesystem=plan.folder.filesystem,
            verbose=0,
            callbacks=[log],
            stop=stop_rule,
            failure_config=tune.FailureConfig(max_failures=_MAX_FAILURES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=_KEEP),
            sync_config=tune.SyncConfig(sync_period=5),
        ),
    )


def _name_of(trial: Any) -> str:
    return trial_name(trial.config)
