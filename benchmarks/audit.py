"""How well are wrong labels found, and what is it worth to review them?

    python benchmarks/audit.py [find|worth] [--images FOLDER] [--only NAME ...] [--seeds N]
                               [--jobs N] [--work FOLDER] [--minutes N] [--report] [--quick]

`find` ranks the training labels of FER2013 (28,709 images) by how likely they are wrong, with
nothing verified and with 203 verified labels (29 of every given label), and judges the rankings by
FER+'s majority where there is one: AUROC, average precision, precision at 100 and at 1,000, of all
images and of every given label. Verified images are not judged.

  audit      `fer_ray.audit` of a run of peer_posterior
  cleanlab   its usual recipe (Northcutt et al. 2021, arXiv:1911.00068): the same network, five-fold
             cross-validation, images ranked by self-confidence p[y] or by the normalised margin
             p[y] - max of the others; written from the paper. Verified labels are trained on.

Both have the network passes of two cross-entropy networks of 20 epochs; seconds are reported too.

`worth` trains peer_posterior on 4,000 faces after 0, 100, 200, 500 and 1,000 images were reviewed,
drawn at random (as many of every given label), picked (the likeliest errors by the run before), or
half of each. A reviewer answers as FER+'s majority, and cannot tell where there is none. Reports
accuracy at the natural and macro recall at the balanced operating point (see `real_noise.py`).

Runs are resumed after their last epoch, and finished ones are kept in --work. `--minutes` ends
training after that time; `--report` trains nothing. Writes `results/audit-find.json` or
`results/audit-worth.json`.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.audit_find import find_rows, find_tasks, make_goals
from benchmarks.audit_runs import Task
from benchmarks.audit_worth import COUNTS, QUICK_COUNTS, first_tasks, later_tasks, worth_rows
from benchmarks.noise_runs import PausedError
from benchmarks.noise_sets import make_sets
from benchmarks.options import parse_resumable, resumable_parser
from benchmarks.plan import processes


def main() -> None:
    """Train what is missing, print and write the results."""
    args = parse_arguments()
    deadline = time.time() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch if args.quick else args.work)
        work.mkdir(parents=True, exist_ok=True)
        answers = {"find": find, "worth": worth}
        complete = [answers[question](args, work, deadline) for question in args.questions]
    if not all(complete):
        raise SystemExit("some runs are missing; start again to train them")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; with `--quick`, what is not given is small."""
    parser = resumable_parser(__doc__, "runs/audit")
    parser.add_argument("question", nargs="?", choices=("find", "worth"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="ways or strategies")
    parser.add_argument("--seeds", type=int, metavar="N")
    args = parse_resumable(parser)
    args.questions = (args.question,) if args.question else ("find", "worth")
    args.seeds = args.seeds or (1 if args.quick else 2)
    return args


def find(args: argparse.Namespace, work: Path, deadline: float) -> bool:
    """Answer how well wrong labels are found; return whether no run is missing."""
    (faces,) = make_sets("full", args.images, work, is_quick=args.quick)
    tasks = find_tasks(faces, work, args.seeds, args.only)
    is_complete = args.report or run_all(tasks, deadline, args.jobs)
    rows = find_rows(faces, work, args.seeds, args.only)
    show("find", rows, make_goals(rows), args)
    return is_complete


def worth(args: argparse.Namespace, work: Path, deadline: float) -> bool:
    """Answer what it is worth to review images; return whether no run is missing."""
    (faces,) = make_sets("small", args.images, work, is_quick=args.quick)
    counts = QUICK_COUNTS if args.quick else COUNTS
    only = args.only or (["both"] if args.quick else None)
    later = later_tasks(faces, work, args.seeds, only, counts)
    is_complete = args.report or (
        run_all(first_tasks(faces, work, args.seeds), deadline, args.jobs)
        and run_all(later, deadline, args.jobs)
    )
    show("worth", worth_rows(faces, work, args.seeds, counts), [], args)
    return is_complete


def run_all(tasks: Sequence[Task], deadline: float, jobs: int) -> bool:
    """Run tasks until the deadline; return whether all have come to their end."""
    num_done = 0
    with processes(jobs) as pool:
        futures = {pool.submit(work, *values, deadline): name for name, work, values in tasks}
        for future in as_completed(futures):
            try:
                future.result()
            except PausedError:
                continue
            except Exception as error:  # the other runs go on
                print(f"{futures[future]}: failed: {error}", flush=True)
                continue
            num_done += 1
            print(f"[{num_done}/{len(tasks)}] {futures[future]}", flush=True)
    return num_done == len(tasks)


def show(
    question: str,
    rows: Sequence[report.Row],
    goals: Sequence[report.Goal],
    args: argparse.Namespace,
) -> None:
    """Print the table and the goals, and write them."""
    if not rows:
        print(f"{question}: no run is finished")
        return
    flat = [
        {
            key: x["mean"] if isinstance(x, Mapping) else x
            for key, x in row.items()
            if key != "classes"
        }
        for row in rows
    ]
    report.print_table(f"{question}: mean of up to {args.seeds} seeds", flat)
    report.print_goals(goals)
    if not args.quick:
        result = report.Report(benchmark="audit", rows=rows, goals=goals)
        print("written:", result.write(f"audit-{question}").name)


if __name__ == "__main__":
    main()
