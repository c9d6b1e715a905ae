"""Compares all methods on the same images and epochs, including the quality of their splits.

    python benchmarks/methods.py [--data SPEC] [--epochs N] [--seeds N] [--only NAME ...]
                                 [--work FOLDER] [--jobs N] [--quick]

Trains every method and its variants (`benchmarks/cases.py`) with the same recipe. The best epoch is
chosen on validation data; the test set is read once per run. Reports the mean and the standard
deviation over seeds of:

  accuracy, macro recall   of the networks' mean prediction
  common recall            macro recall without classes that have fewer than 10 test images, where
                           a single face changes the macro recall by points
  balanced macro recall    after dividing the predictions by their mean over the training images,
                           which is another operating point that users may want
  kept, precision, recall  of the labels that the last split kept, compared with the truth; only
                           for methods that split
  AUROC                    of finding right labels by the probability that the best networks give
                           to a training image's label; for every method
  seconds                  of one thread (of the wall clock on a GPU)

Cases named `oracle` read true labels, which methods must not do; they show how much could be
gained. Finished runs are kept in --work, and a second start trains only the missing ones. Writes
`results/methods-<data>.json` and prints a Markdown table.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import plan, report
from benchmarks.cases import BASELINE, make_cases, write_variants
from fer_ray.data import open_data

QUICK_DATA = "synthetic:train=140,test=70,size=16"
FIGURES = ("accuracy", "macro_recall")
FEWEST = 10
"""The common recall leaves out classes with fewer test images than this."""
SELECTION = ("kept", "precision", "recall", "auroc")


def main() -> None:
    """Train the missing runs, print and write the results."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch, plan.processes(args.jobs) as pool:
        work = Path(scratch if args.quick else args.work)
        work.mkdir(parents=True, exist_ok=True)
        specs = write_variants(args.data, work)
        cases = make_cases(specs, args.epochs, is_quick=args.quick)
        if args.only:
            cases = [case for case in cases if any(word in case.name for word in args.only)]
        outcomes = plan.train_all(cases, range(args.seeds), work, pool)
    data = open_data(args.data)
    rows = [make_row(case, outcomes[case.name]) for case in cases]
    goals = make_goals(outcomes)
    print(f"\nTest set of {data.name}, {args.seeds} seeds, mean ± standard deviation in per cent\n")
    print(markdown(rows, data.class_names))
    report.print_goals(goals)
    if not args.quick:
        more = {"data": data.name, "num_seeds": args.seeds, "epochs": args.epochs}
        result = report.Report(benchmark="methods", rows=rows, goals=goals, more=more)
        name = data.name.partition(":")[2] or data.name
        print("written:", result.write(f"methods-{report.slug(name.removesuffix('.npz'))}").name)


def parse_arguments(description: str | None = __doc__, name: str = "methods") -> argparse.Namespace:
    """Parse the command line; with `--quick`, what is not given is small."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", metavar="SPEC")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs per run (default: 40)")
    parser.add_argument("--seeds", type=int, metavar="N")
    parser.add_argument("--only", action="append", metavar="NAME", help="cases whose name has NAME")
    parser.add_argument("--work", default=f"runs/{name}", metavar="FOLDER")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: 2)")
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    args = parser.parse_args()
    args.data = args.data or (QUICK_DATA if args.quick else "synthetic")
    args.epochs = args.epochs or (2 if args.quick else 40)
    args.seeds = args.seeds or (1 if args.quick else 3)
    args.jobs = args.jobs or (1 if args.quick else 2)
    return args


def make_row(case: plan.Case, outcomes: Sequence[Mapping[str, Any]]) -> report.Row:
    """Return means, standard deviations and the figures of every seed of one case."""
    row: report.Row = {"case": case.name, "epochs": case.epochs}
    for figure in FIGURES:
        row[figure] = report.mean_std([outcome["test"][figure] for outcome in outcomes])
        row[f"balanced_{figure}"] = report.mean_std(
            [outcome["balanced"][figure] for outcome in outcomes]
        )
    row["common_recall"] = report.mean_std([common_recall(outcome) for outcome in outcomes])
    row["recall"] = {
        name: report.mean_std([outcome["test"]["recall"][name] for outcome in outcomes])
        for name in outcomes[0]["test"]["recall"]
    }
    row["selection"] = {
        key: report.mean_std([outcome["selection"][key] for outcome in outcomes])
        for key in SELECTION
        if all(key in outcome["selection"] for outcome in outcomes)
    }
    row["seconds"] = report.mean_std([outcome["seconds"] for outcome in outcomes])
    row["config"] = {key: case.raw[key] for key in ("model", "method", "optim")}
    row["seeds"] = list(outcomes)
    return row


def common_recall(outcome: Mapping[str, Any]) -> float:
    """Return the mean recall of the classes with enough test images; of all if none has enough."""
    test = outcome["test"]
    support = [sum(row) for row in test["confusion_matrix"]]
    pairs = list(zip(test["recall"].values(), support, strict=True))
    return fmean([recall for recall, num in pairs if num >= FEWEST] or test["recall"].values())


def make_goals(outcomes: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[report.Goal]:
    """Compare every case with the baseline, seed by seed."""
    goals = []
    for name, ours in outcomes.items():
        if name == BASELINE or BASELINE not in outcomes:
            continue
        pairs = list(zip(ours, outcomes[BASELINE], strict=True))
        gains = [100 * (a["test"]["macro_recall"] - b["test"]["macro_recall"]) for a, b in pairs]
        accuracy = fmean(100 * (a["test"]["accuracy"] - b["test"]["accuracy"]) for a, b in pairs)
        common = fmean(100 * (common_recall(a) - common_recall(b)) for a, b in pairs)
        goals.append(
            report.Goal(
                name=f"macro recall of {name} over {BASELINE}, points",
                goal=">= 0",
                value=fmean(gains),
                why=f"by seed: {', '.join(f'{gain:+.1f}' for gain in gains)}; "
                f"accuracy {accuracy:+.1f}, common recall {common:+.1f}",
            )
        )
    return goals


def markdown(rows: Sequence[report.Row], class_names: Sequence[str]) -> str:
    """Make the table of `docs/methods.md`."""
    head = ["method", "accuracy", "macro recall", "common recall", "balanced macro recall"]
    head += class_names
    head += [*SELECTION[:-1], "AUROC", "seconds"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        figures = ("accuracy", "macro_recall", "common_recall", "balanced_macro_recall")
        shares = [row[figure] for figure in figures]
        recall = [f"{100 * row['recall'][name]['mean']:.0f}" for name in class_names]
        selection = [
            f"{100 * row['selection'][key]['mean']:.0f}" if key in row["selection"] else ""
            for key in SELECTION
        ]
        lines.append(
            [
                row["case"],
                *(f"{100 * x['mean']:.1f} ± {100 * x['std']:.1f}" for x in shares),
                *recall,
                *selection,
                f"{row['seconds']['mean']:.0f}",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
