"""Measure how a run scales with its workers: `python -m fer_ray.scale --workers 1 2 4`.

Every number of workers trains the same run for a few epochs, twice. In strong scaling the batch
stays the same, and so do the results of the run. In weak scaling the batch grows with the number of
workers, and the work of each worker stays the same.
"""

if __name__ == "__main__":
    from fer_ray.on_ray import interrupts

    interrupts.install_early()  # before the imports below, which take seconds

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fer_ray.commands.arguments import base_parser, read_run
from fer_ray.commands.folders import claim_folder
from fer_ray.commands.process import InterruptedRunError, command
from fer_ray.commands.tables import print_config, scaling_table
from fer_ray.config import RunConfig
from fer_ray.on_ray.cluster import connect, max_concurrent
from fer_ray.record.console import error_paragraph, open_console
from fer_ray.record.plots import scaling_png
from fer_ray.record.scratch import scratch_folder
from fer_ray.record.storage import Folder
from fer_ray.training.runtime import check_run, open_run_data, resolve_gpus
from fer_ray.training.scaling import SCALINGS, Point, Scaling, make_cases, make_point

_EPOCHS = 4


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of `python -m fer_ray.scale`."""
    parser = base_parser("scale", "Measure training speed with different numbers of workers.")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file of the run (default: all keys at their defaults)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        metavar="N",
        default=[1, 2],
        help="numbers of workers to measure (default: 1 2)",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        default=_EPOCHS,
        help=f"epochs to measure per number of workers, after warm-up (default: {_EPOCHS})",
    )
    parser.add_argument(
        "--scaling",
        choices=SCALINGS,
        nargs="+",
        default=list(SCALINGS),
        help="strong: the batch stays the same; weak: it grows with the workers (default: both)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(_scale, argv)


def _scale(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    run, console = read_run(args), open_console()
    if args.print_config:
        print_config(console, run)
        return 0
    data = open_run_data(run, refresh=args.refresh)
    cases = make_cases(
        run,
        len(data.train),
        workers=args.workers,
        num_epochs=args.epochs,
        scalings=args.scaling,
    )
    check_run(run, data)
    with claim_folder(args.storage, args.name, "scale", resume=False) as folder:
        return _run_in(folder, cases, data.name, args, console)


def _run_in(
    folder: Folder,
    cases: Sequence[tuple[Scaling, RunConfig]],
    data_name: str,
    args: argparse.Namespace,
    console: Console,
) -> int:
    with connect(args.address) as have:
        from fer_ray.on_ray.trainer import RunFailedError  # imports Ray, whose environment is set

        cases = [(scaling, resolve_gpus(run, have.gpus)) for scaling, run in cases]
        for _, run in cases:
            max_concurrent(run.workers, have)
        try:
            points = _measure_all(cases, args.epochs, console)
        except RunFailedError as error:
            error_paragraph(f"{error} Nothing was written to {folder}.")
            return 1
        except KeyboardInterrupt:
            raise InterruptedRunError("interrupted; nothing was written, start it again") from None
    first = cases[0][1]
    device = "GPU" if first.workers.gpus_per_worker else "CPU"
    rows = [asdict(point) for point in points]
    content = {"data": data_name, "device": device, "epochs": args.epochs, "points": rows}
    folder.write_text("config.yaml", yaml.safe_dump(first.to_dict(), sort_keys=False))
    folder.write_text("scale.json", json.dumps(content, indent=2) + "\n")
    title = f"{first.method.label}, {first.model.name}, {data_name}"
    folder.write_bytes("scale.png", scaling_png(rows, title))
    console.print(scaling_table(points, title))
    console.print(f"files: {folder}", highlight=False, soft_wrap=True)
    return 0


def _measure_all(
    cases: Sequence[tuple[Scaling, RunConfig]], num_epochs: int, console: Console
) -> list[Point]:
    """Train all cases one after the other; equal cases (those of one worker) only once."""
    points: list[Point] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("workers", total=len(cases))
        known: list[tuple[RunConfig, list[dict[str, Any]]]] = []
        for scaling, run in cases:
            progress.update(task, description=f"{scaling}, {run.workers.num_workers} workers")
            rows = next((rows for other, rows in known if other == run), None)
            if rows is None:
                rows = _train(run)
                known.append((run, rows))
            points.append(make_point(scaling, run, rows[-num_epochs:], points))
            progress.advance(task)
    return points


def _train(run: RunConfig) -> list[dict[str, Any]]:
    from fer_ray.on_ray.trainer import fit_on_workers, quiet_ray

    quiet_ray()
    rows: list[dict[str, Any]] = []
    with scratch_folder() as folder:
        fit_on_workers(run, folder=Folder(folder), on_report=lambda row: rows.append(dict(row)))
    return rows


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
