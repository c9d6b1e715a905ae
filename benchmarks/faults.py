"""Faults: a search or a run is disturbed at a random time, resumed, and compared.

    python benchmarks/faults.py [--tries N] [--only NAME ...] [--jobs N] [--seed N] [--quick]

Kills and SIGTERM are tried N times, all else less often (see `fault_cases.CASES`). A try
counts as survived if all of this holds:

- The command ended with the code that it should: 130 after SIGTERM and Ctrl-C, 0 where it goes on,
  1 where the head of the cluster is gone or the disk is full.
- The command that resumes ended with 0.
- All trials have the rows of an undisturbed job (but for durations), and the test is the same.
- No process is left 20 s after a command, also none of Ray's, no claim, and no temporary file. Only
  a command that was killed, or interrupted twice, may leave some, until the next has ended. Where
  it or the head was killed, 75 s: Ray's agents look a minute for a head that is gone.

Every fourth try has W&B offline, the others none. Temporary files are what lies in a TMPDIR of its
own, but for Ray's session folder, and the caches of torch and of Ray's dashboard. SIGTERM comes
half a second after the start at the earliest. `recover_s` is the median time from the fault, or
from the start of the command that resumes, until the next row is written. With `--jobs 2`, tries
run two at a time, and seconds are those of a busy machine. The result is written after every try;
tries of the same seed that are in the file are not repeated. `starts` lets processes choose a
folder at the same time, in forty pairs and 24 groups of five. `tests/test_lost_hosts.py` is about
the hosts of a cluster. Not tried: a trial out of memory.
"""

import argparse
import json
import multiprocessing
import os
import re
import statistics
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.fault_cases import CASES, attempt
from benchmarks.fault_commands import JOBS, LIMIT_S, undisturbed
from benchmarks.report import (
    RESULTS,
    Goal,
    Report,
    hardware,
    print_goals,
    print_table,
    slug,
)
from fer_ray.commands.folders import claim_folder


def _begin(storage: str, barrier: Any) -> None:
    barrier.wait()
    with claim_folder(storage, None, "run", resume=False) as folder:
        folder.write_text(f"by-{os.getpid()}", "")


def simultaneous(sizes: Sequence[int]) -> tuple[int, int]:
    """Start groups of processes at the same time; return starts, and folders of one alone."""
    context, started, alone = multiprocessing.get_context("fork"), 0, 0
    for size in sizes:
        with tempfile.TemporaryDirectory() as storage:
            barrier = context.Barrier(size)
            begun = [context.Process(target=_begin, args=(storage, barrier)) for _ in range(size)]
            for process in begun:
                process.start()
            for process in begun:
                process.join()
            alone += sum(len(list(path.iterdir())) == 1 for path in Path(storage).iterdir())
        started += size
    return started, alone


class Results:
    """The file of the results, written after every try; used by several threads.

    Attributes:
        tries: By case.
        known: What undisturbed jobs gave, by job.
        starts: The row of simultaneous starts, if they were tried.
    """

    def __init__(self, path: Path, num_jobs: int, seed: int) -> None:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if known.get("seed") != seed:
            known = {}
        self._path, self._num_jobs, self._seed = path, num_jobs, seed
        self._lock = threading.Lock()
        self.tries: dict[str, list[dict[str, Any]]] = known.get("tries", {})
        self.known: dict[str, dict[str, Any]] = known.get("undisturbed", {})
        self.starts = [row for row in known.get("rows", []) if row["case"] == "starts"]

    def missing(self, name: str, number: int) -> bool:
        """Whether a try has not been made."""
        return all(one["number"] != number for one in self.tries.get(name, []))

    def add(self, name: str, result: dict[str, Any]) -> None:
        """Take the result of a try, and write the file."""
        with self._lock:
            self.tries.setdefault(name, []).append(result)
            self.tries[name].sort(key=lambda one: int(one["number"]))
            self.report().write(self._path.stem)

    def report(self) -> Report:
        """The table so far."""
        rows = [_summary(name, self.tries[name]) for name in CASES if self.tries.get(name)]
        rows += [
            {"case": name, "tried": 0, "survived": 0, "why": reason}
            for name, case in CASES.items()
            if (reason := case.why_not()) is not None
        ]
        rows += self.starts
        goals = [
            Goal(
                name=f"survived, {row['case']}",
                goal=f">= {row['tried']}",
                value=row["survived"],
                why=_why(self.tries.get(row["case"], [])),
            )
            for row in rows
            if row["tried"]
        ]
        more: dict[str, Any] = {"seed": self._seed, "jobs": self._num_jobs}
        more |= {"undisturbed": self.known, "tries": self.tries}
        return Report(benchmark="faults", rows=rows, goals=goals, more=more)


def _summary(name: str, tries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "case": name,
        "tried": len(tries),
        "survived": sum(one["survived"] for one in tries),
        "recover_s": statistics.median(one["recover_s"] for one in tries),
    }


def _why(tries: list[dict[str, Any]]) -> str:
    """What was wrong, and how often; without random parts of names."""
    problems = [re.sub(r"(tmp|wandb-)[\w-]{8,}?(wandb-|$)", r"\1*\2", what)
                for one in tries for what in one["problems"]]  # fmt: skip
    return "; ".join(f"{what} ({number})" for what, number in Counter(problems).items())


def plan(names: Sequence[str], num_tries: int) -> list[tuple[str, int]]:
    """The tries in their order: round after round, so that a part of them is balanced."""
    at = []
    for name in names:
        asked = max(1, round(CASES[name].part * num_tries))
        at += [((number + 0.5) / asked, name, number) for number in range(asked)]
    return [(name, number) for _, name, number in sorted(at)]


def run_tries(results: Results, todo: Sequence[tuple[str, int]], num_jobs: int, seed: int) -> None:
    """Make tries, some at a time."""
    used = [job for job in JOBS if any(job in CASES[name].jobs for name, _ in todo)]
    jobs = [job for job in used if job not in results.known]
    with ThreadPoolExecutor(num_jobs) as pool:
        results.known |= zip(jobs, pool.map(undisturbed, jobs), strict=True)

        def one(task: tuple[str, int]) -> None:
            name, number = task
            try:
                result = attempt(name, number, seed, results.known)
            except Exception as error:
                result = {
                    "number": number, "survived": False, "recover_s": LIMIT_S,
                    "problems": [f"{type(error).__name__}"],
                }  # fmt: skip
                print(f"{name} {number}: {error}", flush=True)
            print(f"{name} {number}: {result['problems'] or 'survived'}", flush=True)
            results.add(name, result)

        list(pool.map(one, todo))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=20, metavar="N")
    parser.add_argument("--only", nargs="+", choices=[*CASES, "starts"], metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="tries at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    args = parser.parse_args()
    names = ["starts"] if args.quick else args.only or [*CASES, "starts"]
    path = RESULTS / f"faults-{slug(hardware())}.json"
    results = Results(Path("none") if args.quick else path, args.jobs, args.seed)
    if "starts" in names:
        started, alone = simultaneous([2, 5] if args.quick else [2] * 40 + [5] * 24)
        results.starts = [{"case": "starts", "tried": started, "survived": alone}]
    faults = [name for name in names if name in CASES and CASES[name].why_not() is None]
    todo = [task for task in plan(faults, args.tries) if results.missing(*task)]
    if todo:
        run_tries(results, todo, args.jobs, args.seed)
    report = results.report()
    print_table("Faults", report.rows)
    print_goals(report.goals)
    if not args.quick:
        report.write(path.stem)


if __name__ == "__main__":
    main()
