"""Train one run on Ray Train workers: `python -m fer_ray.train`."""

if __name__ == "__main__":
    from fer_ray.on_ray import interrupts

    interrupts.install_early()  # before the imports below, which take seconds

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fer_ray.commands.arguments import (
    add_agent_words,
    agent_words,
    read_run,
    run_overrides,
    run_parser,
    with_absolute_paths,
)
from fer_ray.commands.folders import choose_folder, claim_folder, wandb_directory
from fer_ray.commands.output import Output, command_output
from fer_ray.commands.process import command, resumable
from fer_ray.commands.resuming import check_same_run, check_verified, stored_run
from fer_ray.commands.tables import print_config, print_notes, print_result
from fer_ray.config import RunConfig, with_overrides
from fer_ray.data import FaceData
from fer_ray.on_ray.cluster import connect, max_concurrent
from fer_ray.record.claims import was_only_claimed
from fer_ray.record.epoch_progress import EpochProgress
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.record.trackers import FanOut
from fer_ray.record.wandb_library import wandb_mode
from fer_ray.record.wandb_run import agents_run, open_wandb, sync_hint
from fer_ray.results.wandb_result import artifacts_of
from fer_ray.training.finish import (
    CHECKPOINTS,
    evaluation_device,
    finish_run,
    last_checkpoint,
    write_summary,
)
from fer_ray.training.runtime import check_run, open_run_data, resolve_gpus


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of `python -m fer_ray.train`."""
    parser = run_parser("train", "Train one run: co-trained networks on noisy, imbalanced labels.")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file of the run (default: all keys at their defaults), or of a search space, "
        "whose fixed part is the run",
    )
    add_agent_words(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(_train, argv)


def _train(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_intermixed_args(agent_words(words))
    with command_output(args) as output:
        run = _read_run(args)
        if args.print_config:
            print_config(output.console, run)
            output.result("config", config=run.to_dict())
            return 0
        return _run(run, args, output)


def _run(run: RunConfig, args: argparse.Namespace, output: Output) -> int:
    """Train, test and print a run."""
    data = open_run_data(run, refresh=args.refresh)
    check_run(run, data)
    name, resume = _chosen_name(args)
    with (
        claim_folder(args.storage, name, run.method.label, resume=resume) as folder,
        resumable(folder),
    ):
        return _run_in(folder, resume, run, data, args, output)


def _chosen_name(args: argparse.Namespace) -> tuple[str | None, bool]:
    """Return the name of the run's folder, if it is given, and whether the run in it goes on.

    An agent of W&B may start many runs at once, and one again that was cut off: their folders have
    the names of their runs.
    """
    own = agents_run()
    if args.name is not None or own is None:
        return args.name, args.resume
    return own, (Folder(args.storage) / own).exists()


def _run_in(
    folder: Folder,
    resume: bool,
    run: RunConfig,
    data: FaceData,
    args: argparse.Namespace,
    output: Output,
) -> int:
    check_verified(folder, run.data.verified, resume=resume)
    console, mode = output.console, wandb_mode(args.wandb)
    print_notes(console, data.notes)
    with connect(args.address) as have:
        from fer_ray.on_ray.trainer import RunFailedError  # imports Ray, whose environment is set

        run = resolve_gpus(run, have.gpus)
        max_concurrent(run.workers, have)
        folder.write_text("config.yaml", yaml.safe_dump(run.to_dict(), sort_keys=False))
        started = time.perf_counter()
        rows = JsonLinesTracker(folder)
        wandb = open_wandb(
            folder.name,
            search=folder.name,
            mode=mode,
            directory=wandb_directory(folder),
            class_names=data.class_names,
            config=run.to_dict(),
            resume=resume,
        )
        try:
            _fit(run, folder, rows, wandb)
        except RunFailedError as error:
            wandb.finish(failed=True)
            message = f"{error} The files so far are in {folder}."
            return output.failed(message, folder=str(folder), kind=error.kind)
        except KeyboardInterrupt:
            if agents_run() is not None:  # an agent stops weak runs, which is no failure
                wandb.finish(summary={"status": "stopped"})
                output.result("stopped", folder=str(folder))
                return 0
            wandb.finish(failed=True)
            raise
    wall_s = time.perf_counter() - started
    with last_checkpoint(folder / CHECKPOINTS) as checkpoint:
        summary, pictures = finish_run(run, data, checkpoint, folder, evaluation_device())
    summary["wall_s"] = wall_s
    write_summary(folder, summary)
    if args.artifacts or (args.artifacts is None and getattr(wandb, "mode", "") == "online"):
        for kind, files in artifacts_of(folder).items():
            wandb.artifact(kind, files)
    best = next(row for row in rows.rows if row["epoch"] == summary["best"]["epoch"])
    wandb.finish(summary={**summary, run.metric: best[run.metric]}, pictures=pictures)
    print_result(console, summary, data, folder)
    if mode == "offline":
        console.print(sync_hint(wandb_directory(folder)), highlight=False, soft_wrap=True)
    output.result("done", folder=str(folder), summary=summary)
    return 0


def _read_run(args: argparse.Namespace) -> RunConfig:
    """Read the run from file and command line; a resumed run, from its folder."""
    if not args.resume:
        return read_run(args)
    stem = read_run(args).method.label if args.name is None else ""
    folder = choose_folder(args.storage, args.name, stem, resume=True)
    args.name = folder.name
    if was_only_claimed(folder):  # the command was killed before it wrote anything
        return read_run(args)
    stored = stored_run(folder)
    if args.config is not None:
        asked = read_run(args)
    else:
        words = with_overrides(stored.to_dict(), run_overrides(args))
        asked = with_absolute_paths(RunConfig.from_dict(words))
    check_same_run(folder, stored, asked)
    return replace(stored, workers=asked.workers, checkpoint=asked.checkpoint)


def _fit(run: RunConfig, folder: Folder, rows: JsonLinesTracker, wandb: Any) -> None:
    from fer_ray.on_ray.trainer import fit_on_workers, quiet_ray

    tracker = FanOut([rows, wandb])
    quiet_ray()
    known = rows.rows[-1]["epoch"] if rows.rows else 0
    with EpochProgress(run.optim.epochs, done=known) as progress:

        def on_report(row: Mapping[str, Any]) -> None:
            tracker.log(row)
            progress.update(row)

        fit_on_workers(run, folder=folder, on_report=on_report, known=known)


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
