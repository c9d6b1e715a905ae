"""How much faster are two workers than one, and where does the rest go?

    python benchmarks/scale.py [--quick] [--repeats N] [--data SPEC] [--workers N ...] [--set K=V]

Runs `python -m fer_ray.scale` several times, in turn for both ways to share the work: a network on
each half of the workers, which meet once an epoch (`workers.parallel=networks`), and images of a
batch, which meet at every step (`images`). In between the same runs, and those of weak scaling, are
trained by plain processes of one thread without Ray, whose own processes take a share of a small
machine; and, as the ceiling of all these, runs of one worker side by side in processes that never
meet: what keeps them from being as fast as one alone is the machine. Speedups are medians over the
repeats, each of figures taken right after one another. `--quick` leaves Ray out. Writes
`results/scale-<hardware>.json`.
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
from fer_ray import scale
from fer_ray.commands import raw_config
from fer_ray.config import RunConfig, with_overrides
from fer_ray.loop import fit
from fer_ray.runtime import open_run_data, resolve_gpus, use_device
from fer_ray.state import new_state

ROOT = Path(__file__).resolve().parents[1]
WAYS = ("networks", "images")
Points = list[dict[str, Any]]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="prove that it runs; write nothing")
    parser.add_argument("--repeats", type=int, default=2, metavar="N")
    parser.add_argument("--data", default="synthetic:train=7200,test=70", metavar="SPEC")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    data = "synthetic:train=200,test=70" if args.quick else args.data
    words = ["--data", data, "--workers", *map(str, args.workers)]
    words += [word for value in args.set for word in ("--set", value)]
    if args.quick:
        words += ["--epochs", "1", "--scaling", "strong", "--set", "optim.batch_size=16"]
    measured: defaultdict[str, list[Points]] = defaultdict(list)
    for _ in range(1 if args.quick else args.repeats):
        alone: dict[str, list[dict[str, Any]]] = {}
        for way in WAYS[:1] if args.quick else WAYS:
            own = [*words, "--set", f"workers.parallel={way}"]
            measured[f"{way}/processes"].append(by_processes(own, alone))
            if not args.quick:
                measured[f"{way}/ray"].append(by_command([*own, "--scaling", "strong"]))
        measured["ceiling/processes"].append(side_by_side([*words, "--scaling", "strong"], alone))
    rows = [row for name, repeats in measured.items() for row in make_rows(name, repeats)]
    goals = make_goals(rows)
    report.print_table("Several workers", rows)
    report.print_goals(goals)
    if not args.quick:
        more = {"data": data, "repeats": args.repeats}
        result = report.Report(benchmark="scale", rows=rows, goals=goals, more=more)
        print("written:", result.write(f"scale-{report.slug(report.hardware())}").name)


def by_command(words: Sequence[str], storage: Path | None = None) -> Points:
    """The points of one run of `python -m fer_ray.scale`; its files stay in a given storage.

    Raises:
        SystemExit: If it fails, with what it printed.
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


def by_processes(words: Sequence[str], alone: dict[str, list[dict[str, Any]]]) -> Points:
    """The same points of the same runs, by plain processes.

    Args:
        words: Options of `python -m fer_ray.scale`.
        alone: Rows of runs of one worker that were trained already, by their configuration; grows.
    """
    args = scale.build_parser().parse_args(words)
    points: list[scale.Point] = []
    for scaling, run in _cases(args):
        if run.workers.num_workers == 1:
            rows = _alone(run, alone)
        else:
            rows = on_ranks(run.workers.num_workers, train, run.to_dict())
        points.append(scale.make_point(scaling, run, rows[-args.epochs :], points))
    return [asdict(point) for point in points]


def side_by_side(words: Sequence[str], alone: dict[str, list[dict[str, Any]]]) -> Points:
    """Runs of one worker, as many at once as a point has workers, in processes that never meet."""
    args = scale.build_parser().parse_args(words)
    cases = _cases(args)
    one = next(run for _, run in cases if run.workers.num_workers == 1)
    points: list[scale.Point] = []
    for scaling, run in cases:
        num = run.workers.num_workers
        rows = _alone(one, alone) if num == 1 else on_ranks(num, train, one.to_dict(), meet=False)
        together = [
            row | {"time/images_per_s": num * row["time/images_per_s"]}
            for row in rows[-args.epochs :]
        ]
        points.append(scale.make_point(scaling, run, together, points))
    return [asdict(point) for point in points]


def _cases(args: argparse.Namespace) -> list[tuple[scale.Scaling, RunConfig]]:
    num_gpus = torch.cuda.device_count()
    num_images = len(open_run_data(RunConfig.from_dict(raw_config(args))).train)
    cases = scale.make_cases(args, num_images)
    return [(scaling, resolve_gpus(run, num_gpus)) for scaling, run in cases]


def _alone(run: RunConfig, known: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """All epochs of a run of one worker, trained once; how workers would share is no matter."""
    raw = with_overrides(run.to_dict(), {"workers.parallel": "auto"})
    key = json.dumps(raw, sort_keys=True)
    if key not in known:
        known[key] = on_ranks(1, train, raw)
    return known[key]


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
    """What was hoped for of two workers, beside what the machine allows."""
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
