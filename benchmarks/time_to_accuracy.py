"""How many seconds of training does a macro recall take, with an old recipe and with today's?

    python benchmarks/time_to_accuracy.py [--data SPEC] [--targets PERCENT ...] [--epochs N ...]
                                          [--seeds N] [--work FOLDER] [--quick]

Trains one cross_entropy network for several numbers of epochs with both recipes in turn. A learning
rate is fitted to the length of its run, so the time to a target is that of the shortest run whose
last epoch reaches it on the test set, in the mean over seeds; between two lengths, macro recall is
taken to be linear in the logarithm of the seconds.

`old` is SGD without a warm-up of the learning rate, without an average of the weights and with
milder views; `new` is the default. Seconds are those of one thread (of the wall clock on a GPU),
without evaluation. Finished runs are kept in --work. Writes
`results/time_to_accuracy-<hardware>.json`.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import report
from benchmarks.plan import digest, read_json, write_json
from benchmarks.points import accuracy_and_recall
from benchmarks.runs import clock, predict_all, read_run
from fer_ray.config import RunConfig, with_overrides
from fer_ray.training.learner import Learners
from fer_ray.training.loop import fit
from fer_ray.training.runtime import open_run_data, use_device
from fer_ray.training.state import new_state

OLD: Mapping[str, Any] = {
    "optim.name": "sgd",
    "optim.lr_warmup": 0.0,
    "optim.average_decay": 0.0,
    "augment.strength": 1.0,
    "augment.strong": {
        "rotate_deg": 10.0,
        "scale": 0.1,
        "shift": 0.05,
        "brightness": 0.3,
        "contrast": 0.2,
        "erase": 0.25,
        "erase_area": 0.2,
    },
}
RECIPES: Mapping[str, Mapping[str, Any]] = {"old": OLD, "new": {}}
QUICK_DATA = "synthetic:train=140,test=70,size=16"
GOAL = 2.0


def main() -> None:
    """Train the missing runs, print and write the results."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch if args.quick else args.work)
        work.mkdir(parents=True, exist_ok=True)
        runs = [
            (recipe, epochs, train(recipe, epochs, seed, args.data, work))
            for seed in range(args.seeds)
            for epochs in args.epochs
            for recipe in RECIPES
        ]
    rows = make_rows(runs)
    goals = make_goals(rows, args.targets)
    report.print_table(f"{args.data}, {args.seeds} seeds", [_shown(row) for row in rows])
    report.print_goals(goals)
    if not args.quick:
        more = {"num_seeds": args.seeds, "times": times(rows, args.targets)}
        result = report.Report(benchmark="time_to_accuracy", rows=rows, goals=goals, more=more)
        print("written:", result.write(f"time_to_accuracy-{report.slug(report.hardware())}").name)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; with `--quick`, what is not given is small."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", metavar="SPEC")
    parser.add_argument("--targets", type=float, nargs="+", metavar="PERCENT")
    parser.add_argument("--epochs", type=int, nargs="+", metavar="N")
    parser.add_argument("--seeds", type=int, metavar="N")
    parser.add_argument("--work", default="runs/time_to_accuracy", metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    args = parser.parse_args()
    args.data = args.data or (QUICK_DATA if args.quick else "synthetic")
    args.targets = args.targets or ([1] if args.quick else [50, 60, 70, 75, 80])
    args.epochs = sorted(args.epochs or ((1, 2) if args.quick else (4, 6, 8, 12, 16, 24, 36, 48)))
    args.seeds = args.seeds or (1 if args.quick else 3)
    return args


def train(recipe: str, epochs: int, seed: int, spec: str, work: Path) -> dict[str, float]:
    """Train a network unless it was trained before; return seconds, accuracy and macro recall."""
    base = {"data": spec, "method": "cross_entropy", "seed": seed}
    raw = with_overrides(base, {"optim.epochs": epochs, **RECIPES[recipe]})
    run = read_run(raw)
    path = work / f"{recipe}-{epochs}-seed{seed}-{digest(RunConfig.from_dict(raw).to_dict())}.json"
    if not path.exists():
        data, device = open_run_data(run), use_device(run)
        state = new_state(run, data, device)
        brief = replace(data, val=data.val.take(np.arange(1)))  # no time for validation
        start = clock()
        for _ in fit(run, brief, device, state):
            pass
        seconds = clock() - start
        learners = Learners(state.networks, state.averages, run.compute, device).evaluated
        answer = predict_all(learners, data.test, run, device).numpy().argmax(axis=1)
        accuracy, recall = accuracy_and_recall(data.test.label, answer)
        write_json(path, {"seconds": seconds, "accuracy": accuracy, "macro_recall": recall})
        print(f"{recipe}, {epochs} epochs, seed {seed}: {recall:.3f}, {seconds:.1f} s", flush=True)
    return read_json(path)


def make_rows(runs: Sequence[tuple[str, int, Mapping[str, float]]]) -> list[report.Row]:
    """Return means and standard deviations of every recipe and length, by recipe."""
    rows: list[report.Row] = []
    for recipe in RECIPES:
        for epochs in dict.fromkeys(epochs for _, epochs, _ in runs):
            ours = [run for name, length, run in runs if (name, length) == (recipe, epochs)]
            row: report.Row = {"case": f"{recipe}, {epochs} epochs"}
            row |= {"recipe": recipe, "epochs": epochs}
            rows.append(row | {key: report.mean_std([x[key] for x in ours]) for key in ours[0]})
    return rows


def times(rows: Sequence[report.Row], targets: Sequence[float]) -> list[dict[str, Any]]:
    """Return the seconds to every target by recipe; `None` where it is not reached."""
    found = []
    for target in targets:
        entry: dict[str, Any] = {"macro_recall": target}
        for recipe in RECIPES:
            ours = [row for row in rows if row["recipe"] == recipe]
            seconds = [row["seconds"]["mean"] for row in ours]
            recalls = [100 * row["macro_recall"]["mean"] for row in ours]
            entry[recipe] = time_to(target, seconds, recalls)
        found.append(entry)
    return found


def time_to(target: float, seconds: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the seconds at which the values first reach a target.

    Between two lengths the value is linear in the logarithm of the seconds.

    Args:
        target: The value to reach.
        seconds: Positive and increasing.
        values: The value after each of them.

    Returns:
        The first of the seconds if the shortest run reaches the target; `None` if none does.

    >>> time_to(50, [1, 4], [40, 60]), time_to(70, [1, 4], [40, 60])
    (2.0, None)
    """
    for place, value in enumerate(values):
        if value < target:
            continue
        if place == 0:
            return float(seconds[0])
        low, high = np.log(seconds[place - 1 : place + 1])
        share = (target - values[place - 1]) / (value - values[place - 1])
        return float(np.exp(low + share * (high - low)))
    return None


def make_goals(rows: Sequence[report.Row], targets: Sequence[float]) -> list[report.Goal]:
    """Compare the seconds of both recipes at the targets that both reach."""
    goals = []
    for entry in times(rows, targets):
        old, new = entry["old"], entry["new"]
        if old is None or new is None:
            continue
        goals.append(
            report.Goal(
                name=f"seconds to {entry['macro_recall']:g} % macro recall, old over new",
                goal=f">= {GOAL:g}",
                value=old / new,
                why=f"{old:.1f} s and {new:.1f} s",
            )
        )
    return goals


def _shown(row: report.Row) -> report.Row:
    keys = ("seconds", "accuracy", "macro_recall")
    return {"case": row["case"]} | {key: row[key]["mean"] for key in keys}


if __name__ == "__main__":
    main()
