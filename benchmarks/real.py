"""Trains a ResNet-18 on noisy faces from scratch, with cross_entropy and with co_divide.

    python benchmarks/real.py [--quick] [--data SPEC] [--epochs N] [--model NAME]

Uses the default recipe, chooses the epoch on validation images, and reads the test set once per
run. `--data arrays:fer2013plus.npz` is FER2013, with the majority of FER+ as the truth of its test
images. Needs a GPU to finish in reasonable time; `--quick` checks on any machine that it runs, with
the tiny network. Writes `results/real-<hardware>.json`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.runs import train_case

METHODS = ("cross_entropy", "co_divide")


def main() -> None:
    """Train, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    parser.add_argument("--data", metavar="SPEC")
    parser.add_argument("--epochs", type=int, default=20, metavar="N")
    parser.add_argument("--model", default="resnet18", metavar="NAME")
    args = parser.parse_args()
    rows = [train(method, args) for method in METHODS]
    plain, divided = (row["test_macro_recall"] for row in rows)
    goal = report.Goal(
        name="macro recall of co_divide over cross_entropy", goal=">= 0", value=divided - plain
    )
    report.print_table("Trained from scratch", rows)
    report.print_goals([goal])
    if not args.quick:
        result = report.Report(benchmark="real", rows=rows, goals=[goal])
        print("written:", result.write(f"real-{report.slug(report.hardware())}").name)


def train(method: str, args: argparse.Namespace) -> report.Row:
    """Train one run from scratch; return its seconds, validation and test metrics."""
    raw: dict[str, Any] = {
        "data": args.data or "synthetic",
        "method": {"name": method},
        "model": {"name": args.model},
        "optim": {"epochs": args.epochs, "batch_size": 128},
    }
    if args.quick:
        raw["data"], raw["model"] = "synthetic:train=200,test=70", {"name": "tiny"}
        raw["optim"] = {"epochs": 3, "batch_size": 32}
    if method != "cross_entropy":
        raw["method"]["warmup_epochs"] = max(1, raw["optim"]["epochs"] // 3)
    outcome = train_case(raw, 0)
    row = {
        "case": f"{method}/{raw['model']['name']}",
        "epochs": raw["optim"]["epochs"],
        "seconds": outcome["seconds"],
        "best_epoch": outcome["best_epoch"],
        "val_macro_recall": outcome["val"]["macro_recall"],
        "test_macro_recall": outcome["test"]["macro_recall"],
        "test_accuracy": outcome["test"]["accuracy"],
    }
    print(f"{row['case']}: macro recall {row['test_macro_recall']:.3f}", flush=True)
    return row


if __name__ == "__main__":
    main()
