"""How much faster are two workers than one, and what limits them?

    python benchmarks/scale.py [--quick] [--repeats N] [--data SPEC] [--workers N ...] [--set K=V]

Trains the runs of `python -m fer_ray.scale` in plain processes with one thread each, in turn, for
both ways to share the work:

  networks  each half of the workers trains one network; they communicate once per epoch
  images    all workers share the images of a batch; they communicate at every step
  ceiling   the upper bound of both: runs of one worker side by side, in processes that do not
            communicate, so that only the machine limits their speed

One worker trains alone before each of these. The command itself is measured too, with Ray, whose
own processes use a part of a small machine. Speedups are medians over the repeats. `--quick` leaves
Ray out. Writes `results/scale-<hardware>.json`.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


import torch

from benchmarks import report
from benchmarks.ranks import on_ranks
from fer_ray.commands.arguments import read_run
from fer_ray.config import RunConfig
from fer_ray.scale import build_parser
from fer_ray.training.loop import fit
from fer_ray.training.runtime import open_run_data, resolve_gpus, use_device
from fer_ray.training.scaling import Point, Scaling, make_cases, make_point
from fer_ray.training.state import new_state

ROOT = Path(__file__).resolve().parents[1]
WAYS = ("networks", "images")
Points = list[dict[str, Any]]
Rows = list[dict[str, Any]]


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    parser.add_argument("--repeats", type=int, default=2, metavar="N")
    parser.add_argument("--data", default="synthetic:train=7200,test=70", metavar="SPEC")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    data = "synthetic:train=200,test=70" if args.quick else args.data
    words = ["--data", data, "--workers", *map(str, sorted({1, *args.workers}))]
    words += [word for value in args.set for word in ("--set", value)]
    if args.quick:
        words += ["--epochs", "1", "--scaling", "strong", "--set", "optim.batch_size=16"]
    measured: defaultdict[str, list[Points]] = defaultdict(list)
    for _ in range(1 if args.quick else args.repeats):
        for name, points in one_round(words, WAYS[:1] if args.quick else WAYS).items():
            measured[name].append(points)
        if not args.quick:
            ray = [*words, "--set", f"workers.parallel={WAYS[0]}", "--scaling", "strong"]
            measured[f"{WAYS[0]}/ray"].append(by_command(ray))
    rows = [row for name, repeats in measured.items() for row in make_rows(name, repeats)]
    goals = make_goals(rows)
    report.print_table("Several workers", rows)
    report.print_goals(goals)
    if not args.quick:
        more = {"data": data, "repeats": args.repeats}
        result = report.Report(benchmark="scale", rows=rows, goals=goals, more=more)
        print("written:", result.write(f"scale-{report.slug(report.hardware())}").name)


def by_command(words: Sequence[str], storage: Path | None = None) -> Points:
    """Run `python -m fer_ray.scale` and return its points; its files stay in `storage` if given.

    Raises:
        SystemExit: If the command fails; has its output.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = storage or Path(scratch)
        command = [sys.executable, "-m", "fer_ray.scale", *words]
        command += ["--storage", str(folder), "--name", "scale"]
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
        if done.returncode != 0:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        points: Points = json.loads((folder / "scale" / "scale.json").read_text())["points"]
        return points


def one_round(words: Sequence[str], ways: Sequence[str]) -> dict[str, Points]:
    """Measure every way to share the work, and the ceiling, in plain processes.

    One worker trains alone before each of them, because the speed of a machine varies over time;
    all are compared with the median of these.

    Args:
        words: Options of `python -m fer_ray.scale`.
        ways: Values of `workers.parallel`.

    Returns:
        The points by way.
    """
    num_epochs = build_parser().parse_args(words).epochs
    one = _cases(words)[0][1]
    one = one.with_values({"workers.num_workers": 1})
    alone: Rows = []
    found: dict[str, list[tuple[Scaling, RunConfig, Rows]]] = {}
    for way in (*ways, "ceiling"):
        alone += on_ranks(1, train, one.to_dict())[-num_epochs:]
        options = ["--scaling", "strong"] if way == "ceiling" else [f"--set=workers.parallel={way}"]
        found[way] = []
        for scaling, run in _cases([*words, *options]):
            num = run.workers.num_workers
            if num > 1 and way == "ceiling":
                rows = _side_by_side(num, one)
            elif num > 1:
                rows = on_ranks(num, train, run.to_dict())
            else:
                rows = []  # later those of `alone`, which is not complete yet
            found[way].append((scaling, run, rows[-num_epochs:]))
    points: dict[str, Points] = {}
    for way, runs in found.items():
        own: list[Point] = []
        for scaling, run, rows in runs:
            own.append(make_point(scaling, run, rows or alone, own))
        points[f"{way}/processes"] = [asdict(point) for point in own]
    return points


def _side_by_side(num: int, one: RunConfig) -> Rows:
    """Train several runs of one worker side by side; return rows with their total speed."""
    rows = on_ranks(num, train, one.to_dict(), meet=False)
    return [row | {"time/images_per_s": num * row["time/images_per_s"]} for row in rows]


def _cases(words: Sequence[str]) -> list[tuple[Scaling, RunConfig]]:
    """Make the runs of all points, that of one worker first."""
    args = build_parser().parse_args(words)
    run = read_run(args)
    cases = make_cases(
        run,
        len(open_run_data(run).train),
        workers=args.workers,
        num_epochs=args.epochs,
        scalings=args.scaling,
    )
    return [(scaling, resolve_gpus(run, torch.cuda.device_count())) for scaling, run in cases]


def train(raw: dict[str, Any]) -> Rows:
    """Train a run on this rank, and return all rows."""
    run = RunConfig.from_dict(raw)
    device, data = use_device(run), open_run_data(run)
    return list(fit(run, data, device, new_state(run, data, device)))


def make_rows(name: str, repeats: Sequence[Points]) -> list[report.Row]:
    """Return a row per point, with medians over the repeats."""
    rows: list[report.Row] = []
    for points in zip(*repeats, strict=True):
        first = points[0]
        speedups = [x["efficiency"] * x["num_workers"] for x in points]
        rows.append(
            {
                "case": f"{name}/{first['scaling']}/{first['num_workers']}",
                "batch_size": first["batch_size"],
                "images_per_s": statistics.median(x["images_per_s"] for x in points),
                "speedup": statistics.median(speedups),
                "least": min(speedups),
                "most": max(speedups),
                **{
                    part: statistics.median(x["share"][part] for x in points)
                    for part in first["share"]
                },
            }
        )
    return rows


def make_goals(rows: Sequence[report.Row]) -> list[report.Goal]:
    """Return the goals for two workers, with the ceiling that the machine allows."""
    top = next((row for row in rows if row["case"] == "ceiling/processes/strong/2"), None)
    ceiling = top["speedup"] if top else math.nan
    return [
        report.Goal(
            name=f"images/s of two workers over one: {row['case'].rpartition('/')[0]}",
            goal=">= 1.9",
            value=row["speedup"],
            why=f"{row['least']:.2f} to {row['most']:.2f} over repeats; communication "
            f"{row['communication']:.0%}, split {row['split']:.0%} of an epoch; two that never "
            f"meet: {ceiling:.2f}",
        )
        for row in rows
        if row["case"].endswith("/2") and row is not top
    ]


if __name__ == "__main__":
    main()
