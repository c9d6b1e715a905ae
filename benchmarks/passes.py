"""How many network passes does DivideMix need, and how much recall do cheaper forms lose?

    python benchmarks/passes.py [--data SPEC] [--epochs N] [--seeds N] [--only NAME ...]
                                [--work FOLDER] [--jobs N] [--quick]

Trains the CIFAR and the Clothing1M form as published (`fresh` guesses), and with guesses from the
scores that the split needs anyway (`scored`), the Clothing1M form also with one view per image.
Counts the images that pass through the networks (`counting.py`): 1 for a forward pass and 2 more
for its backward pass. Reports, for the epochs after warm-up, the mean and the standard deviation
over seeds of:

  passes per image         forward-equivalents of an epoch, of both networks, per training image
  scoring, guessing, gradient   the parts of these
  passes per label         the same per labelled image drawn
  over CIFAR, Clothing1M   passes per image of the published form, divided by those of the case
  epoch, seconds           seconds of an epoch after warm-up, and of the whole run, on one thread
                           (of the wall clock on a GPU)
  accuracy, macro recall   on the test set, for the best epoch on validation data

Finished runs are kept in --work, and a second start trains only the missing ones. Writes
`results/passes-<data>.json` and prints a Markdown table.
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
from benchmarks.counting import PARTS, train_counted
from fer_ray.config import RunConfig, with_overrides
from fer_ray.data import open_data

QUICK_DATA = "synthetic:train=140,test=70,size=16"
FIGURES = ("accuracy", "macro_recall")
CIFAR, CLOTHING = "CIFAR form", "Clothing1M form"
FEWER = {CIFAR: 3.0, CLOTHING: 1.8}
"""Goal: published form -> its passes divided by those of a scored Clothing1M form, at least."""
_CIFAR_FORM = {"form": "cifar", "unlabeled_weight": 25.0, "alpha": 4.0}
_SCORED = {"guesses": "scored"}
FORMS: Mapping[str, Mapping[str, Any]] = {
    CIFAR: _CIFAR_FORM,
    CLOTHING: {},
    f"{CIFAR}, scored": _SCORED | _CIFAR_FORM,
    f"{CLOTHING}, scored": _SCORED,
    f"{CLOTHING}, scored, one view": _SCORED | {"num_views": 1},
}
"""Fields of DivideMix that differ from the defaults."""
Outcomes = Mapping[str, Sequence[Mapping[str, Any]]]


def main() -> None:
    """Train the missing runs, print and write the results."""
    args = parse_arguments()
    cases = make_cases(args)
    with tempfile.TemporaryDirectory() as scratch, plan.processes(args.jobs) as pool:
        work = Path(scratch if args.quick else args.work)
        work.mkdir(parents=True, exist_ok=True)
        outcomes = plan.train_all(cases, range(args.seeds), work, pool, train_counted)
    data = open_data(args.data)
    rows = [make_row(case, outcomes) for case in cases]
    goals = [*fewer_goals(outcomes), *recall_goals(outcomes)]
    print(f"\nTest set of {data.name}, {args.seeds} seeds, mean ± standard deviation in per cent\n")
    print(markdown(rows))
    report.print_goals(goals)
    if not args.quick:
        more = {"data": data.name, "num_seeds": args.seeds, "epochs": args.epochs}
        result = report.Report(benchmark="passes", rows=rows, goals=goals, more=more)
        name = data.name.partition(":")[2] or data.name
        print("written:", result.write(f"passes-{report.slug(name.removesuffix('.npz'))}").name)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; with `--quick`, what is not given is small."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", metavar="SPEC")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs per run (default: 40)")
    parser.add_argument("--seeds", type=int, metavar="N")
    parser.add_argument("--only", action="append", metavar="NAME", help="cases whose name has NAME")
    parser.add_argument("--work", default="runs/passes", metavar="FOLDER")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: 2)")
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    args = parser.parse_args()
    args.data = args.data or (QUICK_DATA if args.quick else "synthetic")
    args.epochs = args.epochs or (2 if args.quick else 40)
    args.seeds = args.seeds or (1 if args.quick else 3)
    args.jobs = args.jobs or (1 if args.quick else 2)
    return args


def make_cases(args: argparse.Namespace) -> list[plan.Case]:
    """Make the cases that the command line names."""
    common: dict[str, Any] = {"data.spec": args.data, "optim.epochs": args.epochs}
    if args.quick:
        common |= {"optim.batch_size": 32, "method.warmup_epochs": 1}
    cases = []
    for name, fields in FORMS.items():
        raw = with_overrides({"method": {"name": "dividemix", **fields}}, common)
        config = RunConfig.from_dict(raw).to_dict()
        cases.append(plan.Case(name=name, raw=config, epochs=args.epochs))
    return [case for case in cases if not args.only or any(x in case.name for x in args.only)]


def make_row(case: plan.Case, outcomes: Outcomes) -> report.Row:
    """Return means, standard deviations and the figures of every seed of one case."""
    ours = outcomes[case.name]
    row: report.Row = {"case": case.name, "epochs": case.epochs}
    for key in ("per_image", *PARTS, "per_labeled", "labeled"):
        row[f"passes_{key}" if key != "labeled" else "labeled_per_image"] = report.mean_std(
            [outcome["passes"][key] for outcome in ours]
        )
    for full, key in ((CIFAR, "ratio_to_cifar"), (CLOTHING, "ratio_to_clothing1m")):
        if full in outcomes:
            row[key] = report.mean_std(ratios(outcomes, full, case.name, "per_image"))
    for figure in FIGURES:
        row[figure] = report.mean_std([outcome["test"][figure] for outcome in ours])
    for key in ("epoch_s", "seconds"):
        row[key] = report.mean_std([outcome[key] for outcome in ours])
    row["config"] = {key: case.raw[key] for key in ("model", "method", "optim")}
    row["seeds"] = list(ours)
    return row


def ratios(outcomes: Outcomes, over: str, under: str, key: str) -> list[float]:
    """Return the passes of one case divided by those of another, seed by seed."""
    pairs = zip(outcomes[over], outcomes[under], strict=True)
    return [a["passes"][key] / b["passes"][key] for a, b in pairs]


def fewer_goals(outcomes: Outcomes) -> list[report.Goal]:
    """Return the goals for the passes of the published forms over those of the scored forms."""
    goals = []
    for name in outcomes:
        for full, bound in FEWER.items():
            if not name.startswith(f"{CLOTHING}, scored") or full not in outcomes:
                continue
            by_label = fmean(ratios(outcomes, full, name, "per_labeled"))
            goals.append(
                report.Goal(
                    name=f"passes per image of the {full} over the {name}",
                    goal=f">= {bound:g}",
                    value=fmean(ratios(outcomes, full, name, "per_image")),
                    why=f"per labelled image drawn {by_label:.2f}; the forms keep "
                    "different numbers of labels",
                )
            )
    return goals


def recall_goals(outcomes: Outcomes) -> list[report.Goal]:
    """Return the goals for macro recall: a scored form loses no more than noise."""
    goals = []
    for name, ours in outcomes.items():
        full = name.partition(", scored")[0]
        if name == full or full not in outcomes:
            continue
        recalls = [[100 * x["test"]["macro_recall"] for x in one] for one in (ours, outcomes[full])]
        gains = [a - b for a, b in zip(*recalls, strict=True)]
        noise = fmean(report.mean_std(recall)["std"] ** 2 for recall in recalls) ** 0.5
        goals.append(
            report.Goal(
                name=f"macro recall of the {name} over its full form, points",
                goal=f">= {-noise:.2f}",
                value=fmean(gains),
                why=f"by seed: {', '.join(f'{gain:+.1f}' for gain in gains)}; the bound is the "
                "deviation of a run of the two",
            )
        )
    return goals


def markdown(rows: Sequence[report.Row]) -> str:
    """Make the table of `docs/methods.md`."""
    counts = {
        "passes per image": "passes_per_image",
        **{part: f"passes_{part}" for part in PARTS},
        "passes per label": "passes_per_labeled",
        "over CIFAR": "ratio_to_cifar",
        "over Clothing1M": "ratio_to_clothing1m",
        "epoch": "epoch_s",
        "seconds": "seconds",
    }
    head = ["DivideMix", *counts, *(figure.replace("_", " ") for figure in FIGURES)]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        cells = [f"{row[key]['mean']:.3g}" if key in row else "" for key in counts.values()]
        shares = [f"{100 * row[x]['mean']:.1f} ± {100 * row[x]['std']:.1f}" for x in FIGURES]
        lines.append([row["case"], *cells, *shares])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
