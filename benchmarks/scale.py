"""How much faster are two workers than one, and where does the rest go?

    python benchmarks/scale.py [--quick] [--repeats N] [--data SPEC] [--workers N ...] [--set K=V]

Runs `python -m fer_ray.scale` several times, in turn for both ways to share the work: a network on
each half of the workers, which meet once an epoch (`workers.parallel=networks`), and images of a
batch, which meet at every step (`images`). In between the same runs are trained by plain processes
of one thread without Ray, whose own processes take a share of a small machine. Speedups are medians
over the repeats, each of figures taken right after one another. Writes
`results/scale-<hardware>.json`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import report
from benchmarks.ranks import on_ranks
from fer_ray import scale
from fer_ray.config import RunConfig
from fer_ray.loop import fit
from fer_ray.runtime import open_run_data, resolve_gpus, use_device
from fer_ray.state import new_state

ROOT = Path(__file__).resolve().parents[1]
WAYS = ("networks", "images")
RUNNERS = ("ray", "processes")
Points = list[dict[str, Any]]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="prove that it runs; write nothing")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--data", default="synthetic:train=2400,test=280", metavar="SPEC")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    data = "synthetic:train=200,test=70" if args.quick else args.data
    words = ["--data", data, "--workers", *map(str, args.workers)]
    words += [word for value in args.set for word in ("--set", value)]
    if args.quick:
        words += ["--epochs", "1", "--scaling", "strong", "--set", "optim.batch_size=16"]
    ways = WAYS[:1] if args.quick else WAYS
    measured: dict[str, list[Points]] = {f"{way}/{by}": [] for way in ways for by in RUNNERS}
    for _ in range(1 if args.quick else args.repeats):
        for way in ways:
            own = [*words, "--set", f"workers.parallel={way}"]
            measured[f"{way}/ray"].append(by_command(own))
            measured[f"{way}/processes"].append(by_processes(own))
    rows = [row for name, repeats in measured.items() for row in make_rows(name, repeats)]
    goals = make_goals(rows)
    report.print_table("Several workers", rows)
    report.print_goals(goals)
    if not args.quick:
        more = {"data": data, "repeats": args.repeats}
        result = report.Report(benchmark="scale", rows=rows, goals=goals, more=more)
        print("written:", result.write(f"scale-{report.slug(report.hardware())}").name)


def by_command(words: Sequence[str]) -> Points:
    """The points of one run of `python -m fer_ray.scale`."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "fer_ray.scale", *words]
        command += ["--storage", scratch, "--name", "scale"]
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
        if done.returncode != 0:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        points: Points = json.loads((Path(scratch) / "scale" / "scale.json").read_text())["points"]
        return points


def by_processes(words: Sequence[str]) -> Points:
    """The same points of the same runs, by plain processes."""
    args = scale.build_parser().parse_args(words)
    points: list[scale.Point] = []
    for scaling, run in scale.make_cases(args):
        run = resolve_gpus(run, torch.cuda.device_count())
        rows = on_ranks(run.workers.num_workers, train, run.to_dict())
        points.append(scale.make_point(scaling, run, rows[-args.epochs :], points))
    return [asdict(point) for point in points]


def train(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """All epochs of a run, on one rank."""
    run = RunConfig.from_dict(raw)
    device, data = use_device(run), open_run_data(run)
    return list(fit(run, data, device, new_state(run, data, device)))


def make_rows(name: str, repeats: Sequence[Points]) -> list[report.Row]:
    """Medians over the repeats, a row per point."""
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
    """What was hoped for of two workers."""
    return [
        report.Goal(
            name=f"images/s of two workers over one: {row['case'].rpartition('/')[0]}",
            goal=">= 1.9",
            value=row["speedup"],
            why=f"{row['least']:.2f} to {row['most']:.2f} over repeats; communication "
            f"{row['communication']:.0%}, split {row['split']:.0%} of an epoch",
        )
        for row in rows
        if row["case"].endswith("/2")
    ]


if __name__ == "__main__":
    main()
