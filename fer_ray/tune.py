"""Search hyperparameters with Ray Tune: `python -m fer_ray.tune --space FILE`."""

import argparse
import csv
import functools
import io
import json
import posixpath
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console

from fer_ray.commands.arguments import run_overrides, run_parser
from fer_ray.commands.folders import choose_folder, wandb_directory
from fer_ray.commands.process import InterruptedRunError, command
from fer_ray.commands.tables import print_result
from fer_ray.config import ConfigError, RunConfig, load_yaml
from fer_ray.data import FaceData
from fer_ray.on_ray.cluster import Resources, connect, max_concurrent
from fer_ray.on_ray.trainer import quiet_ray
from fer_ray.on_ray.trials import (
    FAILURE,
    PARAMS,
    WARMUP,
    SearchLog,
    best_row,
    checkpoints_of,
    run_trial,
    trial_name,
    trial_resources,
)
from fer_ray.record.console import error_paragraph
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.record.wandb_run import WandbMode, sync_hint, wandb_mode
from fer_ray.search.sharing import shares_warmup
from fer_ray.search.space import SearchSpace, parse_space
from fer_ray.search.sweep import EarlyTerminate
from fer_ray.training.finish import evaluation_device, finish_run, newest_checkpoint, write_summary
from fer_ray.training.runtime import check_run, open_run_data, resolve_gpus

_SEARCH_FILE = "search.yaml"
_DEFAULT_TRIALS = 12
_WORKERS = "workers.num_workers"
_MAX_FAILURES = 2
_KEEP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """A search that has been checked and can start.

    Attributes:
        space: What is searched, with the overrides of the command line in it.
        overrides: Those overrides.
        source: The space as its file has it.
        num_trials: Trials in all.
        folder: Where everything goes.
        data: The data of every trial.
        wandb: Whether and how trials are recorded in W&B.
        is_resumed: Whether the folder holds a search to go on with.
        shares_warmup: Whether trials that agree up to their first split train it once.
    """

    space: SearchSpace
    overrides: Mapping[str, Any]
    source: Mapping[str, Any]
    num_trials: int
    folder: Folder
    data: FaceData
    wandb: WandbMode
    is_resumed: bool
    shares_warmup: bool


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_ray.tune`."""
    parser = run_parser("tune", "Search hyperparameters; the best trial is tested once at the end.")
    parser.add_argument("--space", type=Path, required=True, metavar="FILE", help="a search space")
    parser.add_argument("--trials", type=int, metavar="N", help="trials (default: run_cap)")
    parser.add_argument(
        "--no-shared-warmup",
        action="store_true",
        help="train every trial's warm-up anew (the numbers are the same)",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, start nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return command(_tune, argv)


def _tune(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    plan = _plan(args)
    console = Console()
    for note in plan.data.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    default = largest_run(plan.space)
    console.print(
        f"{plan.space.name}: {plan.num_trials} trials of {default.optim.epochs} epochs, "
        f"{plan.space.search} search for the best {plan.space.metric}; files in {plan.folder}",
        highlight=False,
        soft_wrap=True,
    )
    if args.dry_run:
        for key, value in plan.space.default_params().items():
            console.print(f"  first trial: {key} = {value}", highlight=False)
        return 0
    started = time.perf_counter()
    with connect(args.address, nested=default.workers.num_workers > 1) as have:
        _search(plan, have)
    return _report(plan, console, time.perf_counter() - started)


def _plan(args: argparse.Namespace) -> SearchPlan:
    """Check everything that can be wrong before a process is started.

    Raises:
        ConfigError, DataError, StorageError: With the place, what was expected and the remedy.
    """
    overrides = run_overrides(args)
    source = load_yaml(args.space)
    place = str(args.space)
    space = parse_space(source, place, overrides)
    folder = choose_folder(args.storage, args.name, space.name, resume=args.resume)
    if args.resume:
        source, overrides, space = _stored(folder, source, overrides, place)
    run = space.run_config(space.default_params())
    data = open_run_data(run)
    for method in space.methods:  # the parameters of each may name classes
        check_run(space.run_config(space.default_params(method)), data)
    num_trials = args.trials if args.trials is not None else space.run_cap or _DEFAULT_TRIALS
    if num_trials < 1:
        raise ConfigError(f"--trials: at least 1, got {num_trials}")
    if space.search == "grid":
        num_trials = min(num_trials, len(space.grid_points()))
    return SearchPlan(
        space=space,
        overrides=overrides,
        source=source,
        num_trials=num_trials,
        folder=folder,
        data=data,
        wandb=wandb_mode(args.wandb),
        is_resumed=args.resume,
        shares_warmup=shares_warmup(space) and not args.no_shared_warmup,
    )


def _stored(
    folder: Folder, source: Mapping[str, Any], overrides: Mapping[str, Any], place: str
) -> tuple[dict[str, Any], dict[str, Any], SearchSpace]:
    """The search as it was begun; a resumed search may not change what it searches.

    Raises:
        ConfigError: If the folder holds no search, or the command line describes another one.
    """
    if not folder.exists(_SEARCH_FILE):
        raise ConfigError(f"--resume: {folder} holds no search; start one without --resume")
    stored = yaml.safe_load(folder.read_text(_SEARCH_FILE))
    if stored["space"] != json.loads(json.dumps(source)):
        raise ConfigError(
            f"--resume: {place} is not the space that {folder} was begun with, kept in its "
            f"{_SEARCH_FILE}; start a new search for a new space"
        )
    changed = {key for key in overrides if overrides[key] != stored["overrides"].get(key)}
    if changed:
        raise ConfigError(
            f"--resume: {', '.join(sorted(changed))} differs from what {folder} was begun with; "
            "leave it out, or start a new search"
        )
    return (
        stored["space"],
        stored["overrides"],
        parse_space(stored["space"], place, stored["overrides"]),
    )


def _search(plan: SearchPlan, have: Resources) -> None:
    """Run the trials that are not finished.

    Raises:
        InterruptedRunError: If the user stopped it; the message says how to go on.
    """
    run = resolve_gpus(largest_run(plan.space), have.gpus)
    gpus = {"workers.gpus_per_worker": run.workers.gpus_per_worker}
    space = parse_space(plan.source, plan.space.place, {**plan.overrides, **gpus})
    concurrent = max_concurrent(run.workers, have)
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
        num_trials=plan.num_trials,
        wandb=plan.wandb,
        wandb_dir=str(wandb_directory(plan.folder)),
    )
    tuner = _restored(plan, trainable) if plan.is_resumed else None
    if tuner is None:
        search = {"space": dict(plan.source), "overrides": dict(plan.overrides)}
        plan.folder.write_text(_SEARCH_FILE, yaml.safe_dump(search, sort_keys=False))
        tuner = _tuner(plan, trainable, run, concurrent, log)
    try:
        grid = tuner.fit()
    except KeyboardInterrupt:
        raise _interrupted(plan) from None
    if len(grid) < plan.num_trials or any(not _is_over(plan, result) for result in grid):
        raise _interrupted(plan)
    plan.folder.delete(WARMUP)


def _is_over(plan: SearchPlan, result: Any) -> bool:
    """Whether a trial ended; a search that was interrupted has some that did not."""
    return bool(result.error) or bool((result.metrics or {}).get("done"))


def _interrupted(plan: SearchPlan) -> InterruptedRunError:
    return InterruptedRunError(
        f"interrupted; {plan.folder} keeps every trial. Go on with the same command and "
        f"--name {plan.folder.name} --resume"
    )


def _restored(plan: SearchPlan, trainable: Any) -> tune.Tuner | None:
    """The interrupted experiment; `None` if it was broken off before Tune saved anything."""
    path, store = plan.folder.path, plan.folder.filesystem
    if not tune.Tuner.can_restore(path, storage_filesystem=store):
        return None
    return tune.Tuner.restore(
        path, trainable, resume_unfinished=True, resume_errored=True, storage_filesystem=store
    )


def _tuner(
    plan: SearchPlan, trainable: Any, run: RunConfig, concurrent: int, log: SearchLog
) -> tune.Tuner:
    space = plan.space
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=space.metric,
            mode=space.mode,
            num_samples=plan.num_trials,
            max_concurrent_trials=concurrent,
            search_alg=_searcher(space, run.seed),
            scheduler=make_scheduler(space.early_terminate, run.optim.epochs),
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,
            # A loop ends with its trial; a process that drives workers may have to wait for them.
            reuse_actors=run.workers.num_workers == 1,
        ),
        run_config=tune.RunConfig(
            name=plan.folder.name,
            storage_path=posixpath.dirname(plan.folder.path),
            storage_filesystem=plan.folder.filesystem,
            verbose=0,
            callbacks=[log],
            failure_config=tune.FailureConfig(max_failures=_MAX_FAILURES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=_KEEP),
            sync_config=tune.SyncConfig(sync_period=5),
        ),
    )


def largest_run(space: SearchSpace) -> RunConfig:
    """The default run, with as many workers as any trial may have."""
    params = space.default_params()
    if _WORKERS in params:
        params[_WORKERS] = max(space.parameters[_WORKERS].corners())
    return space.run_config(params)


def make_scheduler(stop: EarlyTerminate | None, num_epochs: int) -> TrialScheduler:
    """What stops trials early; nothing does if none is to be stopped before its last epoch."""
    if stop is None or stop.min_iter >= num_epochs:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch",
        # One epoch more than there are: a trial that ends by itself is not stopped at its end.
        max_t=num_epochs + 1,
        grace_period=stop.min_iter,
        reduction_factor=stop.eta,
    )


def _name_of(trial: Any) -> str:
    return trial_name(trial.config)


def _searcher(space: SearchSpace, seed: int) -> OptunaSearch:
    """Optuna for all three kinds of search; the default configuration comes first."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    points = [space.default_point()]
    if space.search == "grid":
        points = space.grid_points()
    sampler = (
        optuna.samplers.TPESampler(seed=seed)
        if space.search == "bayes"
        else optuna.samplers.RandomSampler(seed=seed)
    )
    return OptunaSearch(
        functools.partial(_suggest, space),
        metric=space.metric,
        mode=space.mode,
        points_to_evaluate=points,
        sampler=sampler,
    )


def _suggest(space: SearchSpace, trial: Any) -> dict[str, Any]:
    """What Optuna is asked, and the trial's number."""
    return {**space.suggest(trial), "trial": trial.number}


def _report(plan: SearchPlan, console: Console, wall_s: float) -> int:
    """Test the best trial once, write `trials.csv` and `summary.json`, print the tables."""
    table = _trial_table(plan)
    plan.folder.write_text("trials.csv", _csv(table))
    scored = [row for row in table if row["failure"] is None and row["best"] is not None]
    if not scored:
        failures = "; ".join(f"{row['trial']}: {row['failure']}" for row in table)
        error_paragraph(f"no trial has a result. {failures}. See {plan.folder}")
        return 1
    sign = 1 if plan.space.mode == "max" else -1
    best = max(scored, key=lambda row: sign * row["best"])
    run = plan.space.run_config(best["params"])
    run = resolve_gpus(run, 1.0 if evaluation_device().type == "cuda" else 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = newest_checkpoint(checkpoints_of(plan.folder, best["trial"]), Path(scratch))
        summary, _ = finish_run(
            run, plan.data, checkpoint, plan.folder / best["trial"], evaluation_device()
        )
    write_summary(plan.folder / best["trial"], summary | {"wall_s": best["seconds"]})
    trial = {"trial": best["trial"], **summary["best"], "config": best["params"]}
    head = {"metric": plan.space.metric, "mode": plan.space.mode, "num_trials": len(table)}
    write_summary(plan.folder, {**head, "wall_s": wall_s, **summary, "best": trial})
    for name in ("confusion_matrix.csv", "confusion_matrix.png"):
        plan.folder.write_bytes(name, (plan.folder / best["trial"]).read_bytes(name))
    _print(plan, console, best, summary, wall_s)
    return 0


def _trial_table(plan: SearchPlan) -> list[dict[str, Any]]:
    """A row per trial from what it left on file."""
    table = []
    for name in plan.folder.names():
        folder = plan.folder / name
        if not name.startswith("trial_") or not folder.exists(PARAMS):
            continue
        config = json.loads(folder.read_text(PARAMS))
        rows = JsonLinesTracker(folder).rows
        best = best_row(rows, plan.space)
        failure = json.loads(folder.read_text(FAILURE)) if folder.exists(FAILURE) else None
        table.append(
            {
                "trial": name,
                "epochs": rows[-1]["epoch"] if rows else 0,
                "best_epoch": best["epoch"] if best else None,
                "best": best[plan.space.metric] if best else None,
                "seconds": sum(row["time/epoch_s"] for row in rows),
                "failure": f"{failure['kind']}: {failure['message']}" if failure else None,
                "params": config,
            }
        )
    return table


def _csv(table: Sequence[Mapping[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for row in table for key in row["params"]))
    buffer = io.StringIO()
    fixed = ["trial", "epochs", "best_epoch", "best", "seconds", "failure"]
    writer = csv.DictWriter(buffer, fieldnames=[*fixed, *keys])
    writer.writeheader()
    for row in table:
        writer.writerow({**{key: row[key] for key in fixed}, **row["params"]})
    return buffer.getvalue()


def _print(
    plan: SearchPlan,
    console: Console,
    best: Mapping[str, Any],
    summary: Mapping[str, Any],
    wall_s: float,
) -> None:
    console.print(
        f"\nBest of the search: {best['trial']}, {plan.space.metric} {best['best']:.4f} "
        f"in epoch {best['best_epoch']}, after {wall_s:.0f} s",
        highlight=False,
    )
    for key, value in best["params"].items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        console.print(f"  {key}: {shown}", highlight=False)
    print_result(console, summary, plan.data, plan.folder / best["trial"])
    console.print(f"search: {plan.folder}", highlight=False, soft_wrap=True)
    if plan.wandb == "offline":
        console.print(sync_hint(wandb_directory(plan.folder)), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
