"""How much faster is a run on more workers? `python -m fer_ray.scale --workers 1 2 4`.

Every number of workers trains the same run for a few epochs, twice: with the same batch (strong
scaling: the numbers of the run stay what they are) and with a batch that grows with the workers
(weak scaling: the work of a worker stays what it is).
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fer_ray.commands.arguments import base_parser, raw_config
from fer_ray.commands.folders import choose_folder
from fer_ray.commands.process import InterruptedRunError, command
from fer_ray.config import ConfigError, RunConfig, with_overrides
from fer_ray.on_ray.cluster import Resources, connect, max_concurrent
from fer_ray.on_ray.trainer import RunFailedError, fit_on_workers, quiet_ray
from fer_ray.record.console import error_paragraph
from fer_ray.record.plots import scaling_png
from fer_ray.record.storage import Folder
from fer_ray.training.runtime import check_run, open_run_data, resolve_gpus

Scaling = Literal["strong", "weak"]
_SCALINGS: tuple[Scaling, ...] = ("strong", "weak")
# After fewer steps the networks keep very different numbers of labels, in turn, and one worker
# waits for the other.
_WARMUP_STEPS, _MOST_WARMUP = 220, 6
_EPOCHS = 4
PARTS = ("compute", "communication", "split", "input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement.

    Attributes:
        scaling: Whether the batch stays (`strong`) or grows with the workers (`weak`).
        num_workers: Ranks.
        batch_size: Labelled images a step, over all ranks.
        images_per_s: Images drawn for training over the seconds of the whole epoch; the median of
            the epochs measured.
        efficiency: `images_per_s` over `num_workers` times that of one worker (of the fewest
            workers measured, if one was not).
        share: Of an epoch of rank zero, in [0, 1], by part: `input` reads images and makes views,
            `communication` waits for gradients and statistics once the backward is done, `split`
            gathers losses, divides and hands the split on, `compute` is all the rest.
    """

    scaling: Scaling
    num_workers: int
    batch_size: int
    images_per_s: float
    efficiency: float
    share: Mapping[str, float]


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_ray.scale`."""
    parser = base_parser("scale", "Measure images per second on several numbers of workers.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML of the run")
    parser.add_argument("--workers", type=int, nargs="+", metavar="N", default=[1, 2])
    parser.add_argument(
        "--epochs", type=int, metavar="N", default=_EPOCHS, help="measured a point, after warm-up"
    )
    parser.add_argument("--scaling", choices=_SCALINGS, nargs="+", default=list(_SCALINGS))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return command(_scale, argv)


def _scale(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    data = open_run_data(RunConfig.from_dict(raw_config(args)))
    cases = make_cases(args, len(data.train))
    check_run(cases[0][1], data)
    folder = choose_folder(args.storage, args.name, "scale", resume=False)
    console = Console()
    with connect(args.address) as have:
        cases = [(scaling, resolve_gpus(run, have.gpus)) for scaling, run in cases]
        for _, run in cases:
            max_concurrent(run.workers, have)
        try:
            points = _measure_all(cases, args.epochs, console)
        except RunFailedError as error:
            error_paragraph(f"{error} Nothing was written to {folder}.")
            return 1
        except KeyboardInterrupt:
            raise InterruptedRunError("interrupted; nothing was measured to the end") from None
        device = _device(have, cases[0][1])
    rows = [asdict(point) for point in points]
    content = {"data": data.name, "device": device, "epochs": args.epochs, "points": rows}
    folder.write_text("config.yaml", yaml.safe_dump(cases[0][1].to_dict(), sort_keys=False))
    folder.write_text("scale.json", json.dumps(content, indent=2) + "\n")
    title = f"{cases[0][1].method.label}, {cases[0][1].model.name}, {data.name}"
    folder.write_bytes("scale.png", scaling_png(rows, title))
    console.print(_table(points, title))
    console.print(f"files: {folder}", highlight=False, soft_wrap=True)
    return 0


def make_cases(args: argparse.Namespace, num_images: int) -> list[tuple[Scaling, RunConfig]]:
    """The run of every point, checked; its warm-up is as short as the training images allow.

    Raises:
        ConfigError: If a number of workers or epochs is no such number, or does not fit the run.
    """
    counts = sorted(set(args.workers))
    if counts[0] < 1:
        raise ConfigError(f"--workers: at least 1 each, got {counts[0]}")
    if args.epochs < 1:
        raise ConfigError(f"--epochs: at least 1, got {args.epochs}")
    raw = raw_config(args)
    run = RunConfig.from_dict(raw)
    warmup = 0
    if hasattr(run.method, "warmup_epochs"):
        steps = max(1, num_images // run.optim.batch_size)
        warmup = min(_MOST_WARMUP, math.ceil(_WARMUP_STEPS / steps))
        raw = with_overrides(raw, {"method.name": run.method.label, "method.warmup_epochs": warmup})
    # One more: in the first epoch after warm-up much happens for the first time.
    raw = with_overrides(raw, {"optim.epochs": warmup + 1 + args.epochs})
    cases: list[tuple[Scaling, RunConfig]] = []
    for scaling in args.scaling:
        for num in counts:
            batch_size = run.optim.batch_size * (num if scaling == "weak" else 1)
            values = {"workers.num_workers": num, "optim.batch_size": batch_size}
            cases.append((scaling, RunConfig.from_dict(with_overrides(raw, values))))
    return cases


def _measure_all(
    cases: Sequence[tuple[Scaling, RunConfig]], num_epochs: int, console: Console
) -> list[Point]:
    """Train all cases, one after the other; equal ones (one worker) once."""
    quiet_ray()
    points: list[Point] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("workers", total=len(cases))
        known: dict[str, list[dict[str, Any]]] = {}
        for scaling, run in cases:
            progress.update(task, description=f"{scaling}, {run.workers.num_workers} workers")
            key = json.dumps(run.to_dict(), sort_keys=True)
            if key not in known:
                known[key] = _train(run)
            points.append(make_point(scaling, run, known[key][-num_epochs:], points))
            progress.advance(task)
    return points


def _train(run: RunConfig) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as storage:
        fit_on_workers(
            run,
            name="scale",
            storage=Folder(storage),
            on_report=lambda row, _: rows.append(dict(row)),
        )
    return rows


def make_point(
    scaling: Scaling, run: RunConfig, rows: Sequence[Mapping[str, Any]], before: Sequence[Point]
) -> Point:
    """The medians of the measured epochs, compared with the fewest workers."""
    shares = [_shares(row) for row in rows]
    speed = statistics.median(row["time/images_per_s"] for row in rows)
    num = run.workers.num_workers
    first = next((point for point in before if point.scaling == scaling), None)
    alone = first.images_per_s / first.num_workers if first else speed / num
    return Point(
        scaling=scaling,
        num_workers=num,
        batch_size=run.optim.batch_size,
        images_per_s=speed,
        efficiency=speed / (num * alone),
        share={part: statistics.median(share[part] for share in shares) for part in PARTS},
    )


def _shares(row: Mapping[str, Any]) -> dict[str, float]:
    """Shares of one epoch by part; they add up to 1."""
    whole = row["time/epoch_s"]
    share = {
        "communication": row["time/communication_s"] / whole,
        "split": row["time/division_s"] / whole,
        "input": row["time/input_s"] / whole,
    }
    return {"compute": 1 - sum(share.values()), **share}


def _table(points: Sequence[Point], title: str) -> Table:
    """A line per point."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("scaling")
    for column in ("workers", "batch", "images/s", "efficiency", *PARTS):
        table.add_column(column, justify="right")
    for point in points:
        shares = [f"{point.share[part]:.1%}" for part in PARTS]
        table.add_row(
            point.scaling,
            str(point.num_workers),
            str(point.batch_size),
            f"{point.images_per_s:,.0f}",
            f"{point.efficiency:.2f}",
            *shares,
        )
    return table


def _device(have: Resources, run: RunConfig) -> str:
    return "GPU" if have.gpus and run.workers.gpus_per_worker else "CPU"


if __name__ == "__main__":
    sys.exit(main())
