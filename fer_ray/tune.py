"""Search hyperparameters with Ray Tune: `python -m fer_ray.tune --space FILE`."""

if __name__ == "__main__":
    from fer_ray.on_ray import interrupts

    interrupts.install_early()  # before the imports below, which take seconds

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fer_ray.commands.arguments import at_least, run_overrides, run_parser, with_absolute_paths
from fer_ray.commands.folders import choose_folder, claim_folder, wandb_directory
from fer_ray.commands.output import Output, command_output
from fer_ray.commands.process import command, resumable
from fer_ray.commands.report import report_search
from fer_ray.commands.tables import (
    print_config,
    print_default,
    print_lead,
    print_line,
    print_notes,
    print_reference,
    print_result,
    sweep_hint,
)
from fer_ray.core.errors import ConfigError
from fer_ray.core.yaml_input import load_yaml
from fer_ray.on_ray.cluster import connect
from fer_ray.record.wandb_library import wandb_mode
from fer_ray.record.wandb_run import agents_run
from fer_ray.record.wandb_sweep import end_sweep, read_sweep, unsent_runs
from fer_ray.results.best_trial import finish_search, table_csv, trial_table
from fer_ray.results.lead import choose_trial
from fer_ray.results.wandb_result import send_result
from fer_ray.search.plan import SearchPlan, count_trials, largest_run, load_search, measurable
from fer_ray.search.reading import parse_space
from fer_ray.search.sharing import shares_warmup
from fer_ray.search.space import SearchSpace
from fer_ray.training.runtime import check_run, open_run_data


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of `python -m fer_ray.tune`."""
    parser = run_parser(
        "tune", "Search hyperparameters with Ray Tune. The best trial is tested once at the end."
    )
    parser.add_argument(
        "--space", type=Path, required=True, metavar="FILE", help="YAML file of the search space"
    )
    parser.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="number of trials (default: run_cap, else 12)",
    )
    parser.add_argument(
        "--concurrent",
        type=at_least(1),
        metavar="N",
        help="number of trials at a time (default: as many as fit on the cluster at the start); "
        "trials that do not fit wait, and an autoscaled cluster grows for them; this machine alone "
        "runs no more than fit",
    )
    parser.add_argument(
        "--no-shared-warmup",
        action="store_true",
        help="train the warm-up of every trial separately (slower, with the same results)",
    )
    parser.add_argument("--no-report", action="store_true", help="write no report.html at the end")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, but start no search"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(_tune, argv)


def _tune(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    with command_output(args) as output:
        overrides, source = run_overrides(args), load_yaml(args.space)
        if args.print_config:
            space = _space(source, str(args.space), overrides)
            run = space.run_config(space.default_params())
            print_config(output.console, run)
            output.result("config", config=run.to_dict())
            return 0
        return _search(_plan(args, source, overrides), args, output)


def _search(plan: SearchPlan, args: argparse.Namespace, output: Output) -> int:
    """Run the search of a plan, and print what it found; with `--dry-run` only what it is."""
    if args.dry_run:
        _print_plan(plan, output)
        params = plan.space.default_params()
        for key, value in params.items():
            output.console.print(f"  first trial: {key} = {value}", highlight=False)
        output.result("dry_run", folder=str(plan.folder), first_trial=params)
        return 0
    name = plan.folder.name if plan.is_resumed else args.name
    with (
        claim_folder(args.storage, name, plan.space.name, resume=plan.is_resumed) as folder,
        resumable(folder),
    ):
        return _run_in(replace(plan, folder=folder), args, output)


def _run_in(plan: SearchPlan, args: argparse.Namespace, output: Output) -> int:
    _print_plan(plan, output)
    largest = largest_run(plan.space)
    started = time.perf_counter()
    with connect(args.address, nested=largest.workers.num_workers > 1) as have:
        from fer_ray.on_ray.search import run_search  # imports Ray, now that its environment is set

        if not run_search(plan, have, str(wandb_directory(plan.folder))):
            raise KeyboardInterrupt
    return _report(plan, args, output, time.perf_counter() - started)


def _print_plan(plan: SearchPlan, output: Output) -> None:
    console, space, largest = output.console, plan.space, largest_run(plan.space)
    print_notes(console, plan.data.notes)
    console.print(
        f"{space.name}: {plan.num_trials} trials of {largest.optim.epochs} epochs, "
        f"{space.search} search for the best {space.metric}; files in {plan.folder}",
        highlight=False,
        soft_wrap=True,
    )
    if space.reference is not None:
        method, epochs = space.reference.method.label, space.reference.optim.epochs
        console.print(f"reference: {method}, {epochs} epochs", highlight=False)


def _space(source: Mapping[str, Any], place: str, overrides: Mapping[str, Any]) -> SearchSpace:
    """Read the space, and make the paths of its data and weights absolute."""
    space = parse_space(source, place, overrides)
    base = with_absolute_paths(space.bases[space.default_method])
    paths = {
        "data.spec": base.data.spec,
        "data.verified": base.data.verified,
        "model.weights": base.model.weights,
    }
    return space.fixed({key: x for key, x in paths.items() if key not in space.parameters})


def _plan(
    args: argparse.Namespace, source: Mapping[str, Any], overrides: Mapping[str, Any]
) -> SearchPlan:
    """Check everything that can be checked before a process starts.

    Raises:
        ConfigError, DataError, StorageError: If something is wrong.
    """
    if agents_run() is not None:
        raise ConfigError(
            "WANDB_SWEEP_ID: expected none, got that of a W&B agent, which chooses values itself. "
            "Let it run fer_ray.train; python -m fer_ray.sweep writes the file for it"
        )
    place = str(args.space)
    stem = str(source.get("name") or args.space.stem)
    folder = None
    if args.resume:
        folder = choose_folder(args.storage, args.name, stem, resume=True)
        source, overrides = load_search(folder, source, overrides, place)
    space = _space(source, place, overrides)
    folder = folder or choose_folder(args.storage, args.name, space.name, resume=False)
    num_trials = count_trials(space, args.trials)
    run = space.run_config(space.default_params())
    data = open_run_data(run, refresh=args.refresh)
    asked, overrides = overrides, measurable(source, overrides, data, place)
    if overrides != asked:
        space = _space(source, place, overrides)
        note = f"too few labels are verified to compare trials as {place} says: by {space.metric}"
        data = replace(data, notes=(*data.notes, note))
    for method in space.methods:  # the parameters of each may name classes
        check_run(space.run_config(space.default_params(method)), data)
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
        concurrent=args.concurrent,
    )


def _report(plan: SearchPlan, args: argparse.Namespace, output: Output, wall_s: float) -> int:
    """Test the best trial and the reference once, write the search's files, print the tables."""
    console, folder = output.console, str(plan.folder)
    table = trial_table(plan.folder, plan.space.metric, plan.space.mode, plan.space.select)
    plan.folder.write_text("trials.csv", table_csv(table))
    best, lead = choose_trial(plan, table)
    if best is None:
        failures = "; ".join(f"{row['trial']}: {row['failure']}" for row in table)
        message = f"no trial has a result. {failures}. See {plan.folder} for their rows."
        _write_report(plan, args, output)
        _finish_wandb(plan, args, output)
        return output.failed(message, folder=folder, trials=table)
    summary = finish_search(plan, table, best, wall_s, None if lead is None else asdict(lead))
    console.print(
        f"\nBest of the search: {best['trial']}, {plan.space.metric} {best['best']:.4f} "
        f"in epoch {best['best_epoch']}, after {wall_s:.0f} s",
        highlight=False,
    )
    if lead is not None:
        print_lead(console, lead)
    for key, value in best["params"].items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        console.print(f"  {key}: {shown}", highlight=False)
    print_result(console, summary, plan.data, plan.folder / best["trial"])
    print_default(console, summary)
    print_reference(console, summary)
    console.print(f"search: {plan.folder}", highlight=False, soft_wrap=True)
    _write_report(plan, args, output)
    wandb = _finish_wandb(plan, args, output)
    output.result("done", folder=folder, summary=summary, trials=table, wandb=wandb)
    return 0


def _write_report(plan: SearchPlan, args: argparse.Namespace, output: Output) -> None:
    """Write the page about the search, which is one of its artifacts, unless it is switched off."""
    if not args.no_report:
        report_search(output.console, plan.folder)


def _finish_wandb(
    plan: SearchPlan, args: argparse.Namespace, output: Output
) -> dict[str, Any] | None:
    """Send what the search found to W&B, stop the sweep, and say where it is or how it gets there.

    Returns:
        What `--json` says of it; `None` if W&B is disabled.
    """
    search = read_sweep(plan.folder)
    if search is None or search.mode == "disabled":
        return None
    directory = wandb_directory(plan.folder)
    if search.mode == "online":
        send_result(plan.folder, directory, artifacts=args.artifacts is not False)
        search = end_sweep(plan.folder) or search
    if search.url is not None:
        print_line(output.console, f"W&B sweep: {search.url}")
    if unsent_runs(directory):
        print_line(output.console, sweep_hint(plan.folder))
    return {"mode": search.mode, "sweep": search.place.sweep and search.path, "url": search.url}


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
