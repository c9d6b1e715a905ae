"""How much do co-training and the search improve the test metrics at equal compute?

    python benchmarks/compare.py [--data SPEC] [--searched SUMMARY.json] [--set KEY=VALUE ...]
                                 [--common KEY=VALUE ...] [--budget-epochs N] [--seeds N]
                                 [--work FOLDER] [--jobs N] [--quick]

Compares, over several seeds:

  cross_entropy        one network, trained on every label
  cross_entropy x 2    an ensemble of two of them, with half the epochs each
  dividemix            as published (Clothing1M form)
  co_divide            with its defaults
  co_divide, searched  with the best configuration of a search (--searched) or --set

Equal compute: a short calibration measures the seconds of an epoch of each method, during and after
warm-up. Each method gets as many epochs as fit in the seconds of the reference, which is the last
row with `--budget-epochs` (by default its own epochs). Seconds are those of one thread (of the wall
clock on a GPU). The best epoch is chosen on validation data; the test set is read once per run.
`--common` sets keys of every row. Finished runs are kept in --work, and a second start trains only
the missing ones. Writes `results/compare-<data>.json` and prints a Markdown table.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import plan, report
from benchmarks.runs import read_run
from fer_ray.commands.arguments import parse_assignments
from fer_ray.data import FaceData
from fer_ray.training.runtime import open_run_data

QUICK_DATA = "synthetic:train=140,test=70,size=16"
QUICK_COMMON = ("optim.batch_size=32", "method.warmup_epochs=1")
NUM_RAREST = 2
FIGURES = ("accuracy", "macro_recall")


def main() -> None:
    """Calibrate, train the missing runs, print and write the results."""
    args = parse_arguments()
    common = parse_assignments([*(QUICK_COMMON if args.quick else ()), *args.common])
    raws = plan.make_raws(args.data, common, args.searched, parse_assignments(args.assignments))
    with tempfile.TemporaryDirectory() as scratch, plan.processes(args.jobs) as pool:
        work = Path(scratch if args.quick else args.work)
        work.mkdir(parents=True, exist_ok=True)
        budget, cases = plan.make_cases(
            raws, args.budget_epochs, work, pool, jobs=args.jobs, num_later=args.later
        )
        for case in cases:
            print(f"{case.name}: {case.epochs} epochs, {case.predicted_s:.0f} s predicted")
        outcomes = plan.train_all(cases, range(args.seeds), work, pool)
    data = open_run_data(read_run(cases[0].raw))
    rarest = rarest_classes(data)
    rows = [make_row(case, outcomes[case.name], rarest) for case in cases]
    goals = make_goals(cases, outcomes, budget)
    print(f"\nTest set of {data.name}, {args.seeds} seeds, mean ± standard deviation in per cent\n")
    print(markdown(rows, rarest))
    report.print_goals(goals)
    if not args.quick:
        more = {"data": data.name, "num_seeds": args.seeds, "budget_s": budget}
        result = report.Report(benchmark="compare", rows=rows, goals=goals, more=more)
        name = data.name.partition(":")[2] or data.name
        print("written:", result.write(f"compare-{report.slug(name.removesuffix('.npz'))}").name)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; with `--quick`, what is not given is small."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", metavar="SPEC")
    parser.add_argument("--searched", type=Path, metavar="PATH", help="summary.json of a search")
    parser.add_argument(
        "--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE"
    )
    parser.add_argument("--common", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--budget-epochs", type=int, metavar="N")
    parser.add_argument("--seeds", type=int, metavar="N")
    parser.add_argument("--work", default="runs/compare", metavar="FOLDER")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: 2)")
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    args = parser.parse_args()
    args.data = args.data or (QUICK_DATA if args.quick else "synthetic")
    args.seeds = args.seeds or (1 if args.quick else 3)
    args.jobs = args.jobs or (1 if args.quick else 2)
    args.later = 1 if args.quick else 3
    args.budget_epochs = args.budget_epochs or (2 if args.quick else None)
    return args


def rarest_classes(data: FaceData) -> list[str]:
    """Return the classes with the fewest training images, by true label if it is known."""
    label = data.train.true_label if (data.train.true_label >= 0).any() else data.train.label
    counts = {name: int((label == number).sum()) for number, name in enumerate(data.class_names)}
    return sorted(counts, key=lambda name: counts[name])[:NUM_RAREST]


def make_row(
    case: plan.Case, outcomes: Sequence[Mapping[str, Any]], rarest: Sequence[str]
) -> report.Row:
    """Return means, standard deviations and the figures of every seed of one case."""
    row: report.Row = {
        "case": case.name,
        "epochs": case.epochs,
        "predicted_s": case.predicted_s,
        "seconds": report.mean_std([outcome["seconds"] for outcome in outcomes]),
    }
    for figure in FIGURES:
        row[figure] = report.mean_std([outcome["test"][figure] for outcome in outcomes])
    row["recall"] = {
        name: report.mean_std([outcome["test"]["recall"][name] for outcome in outcomes])
        for name in outcomes[0]["test"]["recall"]
    }
    row["rarest"] = list(rarest)
    row["config"] = {key: case.raw[key] for key in ("model", "method", "optim", "augment")}
    row["seeds"] = list(outcomes)
    return row


def make_goals(
    cases: Sequence[plan.Case],
    outcomes: Mapping[str, Sequence[Mapping[str, Any]]],
    budget: float,
) -> list[report.Goal]:
    """Compare the last case with all others, seed by seed; and check that compute was equal."""
    goals = []
    reference = cases[-1]
    for case in cases[:-1]:
        pairs = zip(outcomes[reference.name], outcomes[case.name], strict=True)
        gains = [100 * (a["test"]["macro_recall"] - b["test"]["macro_recall"]) for a, b in pairs]
        goals.append(
            report.Goal(
                name=f"macro recall of {reference.name} over {case.name}, points",
                goal=">= 0",
                value=report.mean_std(gains)["mean"],
                why="by seed: " + ", ".join(f"{gain:+.1f}" for gain in gains),
            )
        )
    seconds = [outcome["seconds"] for case in cases for outcome in outcomes[case.name]]
    goals.append(
        report.Goal(
            name="largest relative distance of a run's seconds from the budget",
            goal="<= 0.1",
            value=max(abs(value / budget - 1) for value in seconds),
            why="how many labels are kept, and so what an epoch costs, changes during a run",
        )
    )
    return goals


def markdown(rows: Sequence[report.Row], rarest: Sequence[str]) -> str:
    """Make the table of `docs/methods.md`."""
    head = [
        "method",
        "epochs",
        "seconds",
        "accuracy",
        "macro recall",
        *(f"{x} recall" for x in rarest),
    ]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        shares = [row["accuracy"], row["macro_recall"], *(row["recall"][name] for name in rarest)]
        lines.append(
            [
                row["case"],
                row["epochs"],
                f"{row['seconds']['mean']:.0f}",
                *(f"{100 * x['mean']:.1f} ± {100 * x['std']:.1f}" for x in shares),
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
