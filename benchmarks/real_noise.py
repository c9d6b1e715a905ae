"""Which method wins on real label noise, at equal cost and at three operating points?

    python benchmarks/real_noise.py [small|full|synthetic] [--images FOLDER] [--only NAME ...]
                                    [--seeds N] [--jobs N] [--work FOLDER] [--minutes N]
                                    [--report] [--quick]

Trains on the labels of FER2013 and tests on the majority of FER+ (`noise_sets.py`): `small` has
4,000 training and 21,917 test images, `full` 28,709 and 2,853; FOLDER has the two files.
`synthetic` trains on drawn faces of several noise rates and imbalances.

Equal cost: all methods have the recipe of the package, and as many epochs as fit into the network
passes of two cross-entropy networks (a forward pass of an image counts 1, its backward pass 2
more), which a short run of every method counts first. Seconds of one thread are reported beside.
The last epoch is judged: nothing is chosen on test images.

Predictions p are the mean of all networks over the image and its mirror image. With their mean m
over the test images, reports accuracy and macro recall at these operating points:

  as trained   p
  natural      p * pi / m, where pi are the shares of the true classes; `estimated` takes the pi
               that about 200 verified training images give
  balanced     p / m

and accuracy over macro recall between them; 95 % intervals from 1,000 resamples of the test images,
the same for all methods; the recall of every class; the share of training images that get their
given label; and the AUROC of finding right labels by the clean probability, over the training
images that nobody has verified.

Runs are resumed after their last epoch, and finished ones are kept in --work. `--minutes` ends
training after that time; `--report` trains nothing. Writes `results/real_noise-<set>.json`, where
cases without a run in --work keep their rows, and prints a Markdown table.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import noise_report, points, report
from benchmarks.cases import BASE, noise_cases
from benchmarks.noise_runs import (
    Case,
    PausedError,
    cost_path,
    fitted_epochs,
    known_cost,
    measure_cost,
    outcome_path,
    train_case,
    with_epochs,
)
from benchmarks.noise_sets import NoiseSet, make_sets
from benchmarks.options import parse_resumable, resumable_parser
from benchmarks.plan import processes, write_json

SETS = ("small", "full", "synthetic")
QUICK_CASES = ("cross_entropy", BASE, "co_divide")
FORWARDS = 3
"""Forward-equivalents of an image that cross-entropy learns from."""


def main() -> None:
    """Train the missing runs, print and write the results."""
    args = parse_arguments()
    deadline = time.time() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch if args.quick else args.work)
        work.mkdir(parents=True, exist_ok=True)
        sets = make_sets(args.set, args.images, work, is_quick=args.quick)
        cases = chosen_cases(args)
        is_complete = True
        if not args.report:
            with processes(args.jobs) as pool:
                is_complete = train_all(sets, cases, args.seeds, work, deadline, pool)
        rows: list[report.Row] = []
        for faces in sets:
            found = finished(faces, cases, args.seeds, work)
            if found:
                ours = [case for case in cases if case.name in found]
                rows += noise_report.make_rows(faces, ours, found, budget_of(faces), work)
    if not rows:
        raise SystemExit(f"{work}: no run is finished")
    if not args.quick:
        order = [case.name for case in noise_cases()]
        rows = noise_report.merged(rows, report.RESULTS / f"real_noise-{args.set}.json", order)
    show(args, rows, noise_report.make_goals(rows))
    if not is_complete:
        raise SystemExit("some runs are missing; start again to train them")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; with `--quick`, what is not given is small."""
    parser = resumable_parser(__doc__, "runs/real_noise")
    parser.add_argument("set", nargs="?", choices=SETS, default="small")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases of these names")
    parser.add_argument("--seeds", type=int, metavar="N")
    args = parse_resumable(parser)
    args.seeds = args.seeds or (1 if args.quick else 3)
    return args


def chosen_cases(args: argparse.Namespace) -> list[Case]:
    """Return the cases that the command line names.

    Raises:
        SystemExit: If a name is unknown.
    """
    cases = {case.name: case for case in noise_cases()}
    names = args.only or (QUICK_CASES if args.quick else cases)
    unknown = [name for name in names if name not in cases]
    if unknown:
        raise SystemExit(f"--only: {unknown[0]!r} is none of: {'; '.join(cases)}")
    return [cases[name] for name in cases if name in names]


def budget_of(faces: NoiseSet) -> float:
    """Return the forward-equivalents per training image of two cross-entropy networks."""
    return 2.0 * FORWARDS * faces.epochs


def train_all(
    sets: Sequence[NoiseSet],
    cases: Sequence[Case],
    num_seeds: int,
    work: Path,
    deadline: float,
    pool: ProcessPoolExecutor,
) -> bool:
    """Train what is missing until the deadline; return whether nothing is missing then."""
    tasks = [(seed, faces, case) for seed in range(num_seeds) for faces in sets for case in cases]
    futures = {
        pool.submit(train_one, case, faces, seed, work, deadline): (faces, case, seed)
        for seed, faces, case in tasks
    }
    num_done = 0
    for future in as_completed(futures):
        faces, case, seed = futures[future]
        name = f"{faces.name} {case.name}, seed {seed}".strip()
        try:
            seconds = future.result()
        except PausedError:
            continue
        except Exception as error:  # the other runs go on
            print(f"{name}: failed: {error}", flush=True)
            continue
        num_done += 1
        if seconds:
            print(f"[{num_done}/{len(tasks)}] {name}: {seconds:.0f} s", flush=True)
    return num_done == len(tasks)


def train_one(case: Case, faces: NoiseSet, seed: int, work: Path, deadline: float) -> float:
    """Train a run unless it is finished; return its seconds.

    Raises:
        PausedError: If the deadline has passed.
    """
    start = time.time()
    epochs = epochs_of(case, faces, work, deadline)
    raw = with_epochs(case.raw(faces, work, seed), epochs)
    if outcome_path(case, faces, raw, seed, work).exists():
        return 0.0
    if start > deadline:
        raise PausedError
    train_case(case, faces, epochs, seed, work, deadline)
    return time.time() - start


def epochs_of(case: Case, faces: NoiseSet, work: Path, deadline: float) -> int:
    """Return the epochs of the budget; measure what an epoch costs unless it is known.

    Raises:
        PausedError: If it is not known and the deadline has passed.
    """
    found = known_cost(case, faces, work)
    if found is None:
        if time.time() > deadline:
            raise PausedError
        found = measure_cost(case, faces, work)
        write_json(cost_path(case, faces, work), found)
    return fitted_epochs(case.raw(faces, work, 0), found, budget_of(faces))


def finished(
    faces: NoiseSet, cases: Sequence[Case], num_seeds: int, work: Path
) -> dict[str, dict[int, noise_report.Outcome]]:
    """Read the finished runs of a data set: by case and seed, without cases that have none."""
    found: dict[str, dict[int, noise_report.Outcome]] = {}
    for case in cases:
        cost = known_cost(case, faces, work)
        if cost is None:
            continue
        for seed in range(num_seeds):
            raw = case.raw(faces, work, seed)
            epochs = fitted_epochs(raw, cost, budget_of(faces))
            path = outcome_path(case, faces, with_epochs(raw, epochs), seed, work)
            if path.exists():
                found.setdefault(case.name, {})[seed] = noise_report.read_outcome(path)
    return found


def show(
    args: argparse.Namespace, rows: Sequence[report.Row], goals: Sequence[report.Goal]
) -> None:
    """Print the table and the goals, and write them."""
    print(f"\nAccuracy / macro recall in per cent, mean of up to {args.seeds} seeds\n")
    print(noise_report.markdown(rows))
    report.print_goals(goals)
    if not args.quick:
        more = {"exponents": points.EXPONENTS}
        result = report.Report(benchmark="real_noise", rows=rows, goals=goals, more=more)
        print("written:", result.write(f"real_noise-{args.set}").name)


if __name__ == "__main__":
    main()
