"""How much time does a search take beyond its trials, and how much does a shared warm-up save?

    python benchmarks/search.py [--quick] [--trials N] [--data SPEC]

Runs `python -m fer_ray.tune` on `search_spaces/thresholds.yaml`, but with random draws and without
early stops: once with a separate warm-up for every trial, and once with shared warm-ups. Checks
that both give the same numbers. Compares the wall time of the whole command, which includes the
start of Python and Ray and the test of the best trial, with the bare training: the seconds of all
epochs of all trials, measured in the loop, divided by the number of concurrent trials. An epoch of
a shared warm-up counts with the seconds of the trial that trained it. Writes
`results/search-<hardware>.json`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report

ROOT = Path(__file__).resolve().parents[1]
SPACE = ROOT / "search_spaces" / "thresholds.yaml"
_LIMIT_S = 3600.0
Rows = list[list[dict[str, Any]]]


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    parser.add_argument("--trials", type=int, default=12, metavar="N")
    parser.add_argument("--data", default="synthetic:train=2400,test=280", metavar="SPEC")
    args = parser.parse_args()
    space = yaml.safe_load(SPACE.read_text(encoding="utf-8")) | {"method": "random"}
    del space["early_terminate"]
    space["run"]["data"] = "synthetic:train=200,test=70" if args.quick else args.data
    if args.quick:
        space["run"]["optim"] = {"epochs": 3, "batch_size": 32}
        space["parameters"] = {"method.penalty_weight": {"values": [0.5, 1.0]}}
        space["run"]["method"] = {"name": "co_divide", "warmup_epochs": 2}
    num_trials = 2 if args.quick else args.trials
    cases = {"every warm-up anew": ["--no-shared-warmup"], "shared warm-up": []}
    measured = {name: search(space, num_trials, options) for name, options in cases.items()}
    rows = [make_row(name, *figures) for name, figures in measured.items()]
    check_same([figures[0] for figures in measured.values()])
    goals = make_goals(rows)
    report.print_table(f"A search of {num_trials} trials", rows)
    report.print_goals(goals)
    if not args.quick:
        more = {"trials": num_trials, "data": space["run"]["data"], "slots": num_slots()}
        result = report.Report(benchmark="search", rows=rows, goals=goals, more=more)
        print("written:", result.write(f"search-{report.slug(report.hardware())}").name)


def num_slots() -> int:
    """Return the number of concurrent trials; each has one CPU."""
    return len(os.sched_getaffinity(0))


def search(
    space: dict[str, Any], num_trials: int, options: Sequence[str]
) -> tuple[Rows, float, float]:
    """Run a search; return the rows of its trials, its seconds, and those to its first epoch's end.

    Raises:
        SystemExit: If the command fails; has the end of its output.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "space.yaml").write_text(yaml.safe_dump(space), encoding="utf-8")
        words = ["--space", str(folder / "space.yaml"), "--storage", scratch, "--name", "search"]
        words += ["--trials", str(num_trials), "--wandb", "disabled", *options]
        start = time.perf_counter()
        with (folder / "log.txt").open("w") as log:
            command = [sys.executable, "-m", "fer_ray.tune", *words]
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            first_s = 0.0
            while process.poll() is None and time.perf_counter() - start < _LIMIT_S:
                if not first_s and any(folder.glob("search/trial_*/metrics.jsonl")):
                    first_s = time.perf_counter() - start
                time.sleep(0.1)
        wall_s = time.perf_counter() - start
        if process.poll() != 0:
            process.kill()
            raise SystemExit((folder / "log.txt").read_text()[-4000:])
        files = sorted(folder.glob("search/trial_*/metrics.jsonl"))
        return [_rows(path) for path in files], wall_s, first_s


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make_row(name: str, trials: Rows, wall_s: float, first_s: float) -> report.Row:
    """Return the row of a search: its wall time, compared with the bare training of all trials."""
    bare_s = sum(row["time/epoch_s"] for rows in trials for row in rows) / num_slots()
    return {
        "case": name,
        "trials": len(trials),
        "epochs": sum(len(rows) for rows in trials),
        "wall_s": wall_s,
        "bare_s": bare_s,
        "ratio_to_bare": wall_s / bare_s,
        "until_first_epoch_s": first_s - trials[0][0]["time/epoch_s"],
    }


def check_same(searches: Sequence[Rows]) -> None:
    """Check that the trials of both searches have the same rows, except for seconds.

    Random draws do not depend on earlier results, so trial k is the same in both searches.

    Raises:
        SystemExit: If they differ.
    """
    plain = [
        [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]
        for trials in searches
        for rows in trials
    ]
    half = len(plain) // 2
    if json.dumps(plain[:half]) != json.dumps(plain[half:]):
        raise SystemExit("a shared warm-up changed the rows of a trial")


def make_goals(rows: Sequence[report.Row]) -> list[report.Goal]:
    """Return the goals of both searches."""
    bounds = (("<= 1.15", rows[0]), ("<= 0.8", rows[1]))
    return [
        report.Goal(
            name=f"wall time over bare training, {row['case']}",
            goal=goal,
            value=row["ratio_to_bare"],
            why=f"{row['until_first_epoch_s']:.0f} s before the first epoch: Python, Ray, a first "
            "trial's process",
        )
        for goal, row in bounds
    ]


if __name__ == "__main__":
    main()
