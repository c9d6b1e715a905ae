"""Faults: a search is killed or interrupted at a random time, resumed, and compared.

    python benchmarks/faults.py [--tries N] [--only NAME ...] [--seed N] [--quick]

A try counts as survived if the command that resumes ends with 0, all trials have the rows of an
undisturbed search (but for durations), and no file of a claim is left. `recover_s` is the time of
the command that resumes. The result is written after every try; tries of the same seed that are in
the file are not repeated. `starts` lets processes choose a folder at the same time, in forty pairs
and 24 groups of five.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

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
from fer_ray.record.claims import CLAIM

_SPACE = {
    "run": {
        "data": "synthetic:train=200,test=70",
        "model": {"name": "tiny"},
        "method": {"name": "cross_entropy"},
        "optim": {"epochs": 3},
    },
    "method": "random",
    "parameters": {
        "optim.learning_rate": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1}
    },
}
_LIMIT_S = 300.0
_Fault = Callable[["subprocess.Popen[bytes]"], None]


def _kill_all(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command and its Ray, as a machine that stops does."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in reversed(family):
        if member.is_running():
            member.kill()


def _kill_driver(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process of one trial, if one runs."""
    for member in psutil.Process(process.pid).children(recursive=True):
        if member.name().startswith("ray::Implicit") or "ray::run_trial" in member.name():
            member.kill()
            return


FAULTS: dict[str, _Fault] = {
    "kill command": lambda process: process.kill(),
    "kill command and Ray": _kill_all,
    "kill a trial": _kill_driver,
    "SIGTERM": lambda process: process.terminate(),
    "Ctrl-C": lambda process: process.send_signal(signal.SIGINT),
}


def _start(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    space = folder / "space.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    space.write_text(yaml.safe_dump(_SPACE), encoding="utf-8")
    line = [sys.executable, "-m", "fer_ray.tune", "--space", str(space), "--storage", str(folder)]
    line += ["--name", "search", "--trials", "2", "--wandb", "disabled", "--no-report", *words]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)


def _rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of all trials, without durations."""
    found = {}
    for path in sorted(folder.glob("search/*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found[path.parent.name] = [
            {key: value for key, value in row.items() if not key.startswith("time/")}
            for row in rows
        ]
    return found


def undisturbed(folder: Path) -> tuple[dict[str, list[dict[str, Any]]], float]:
    """Search to the end; return the rows and the seconds."""
    since = time.perf_counter()
    if _start(folder).wait(_LIMIT_S) != 0:
        raise RuntimeError((folder / "log.txt").read_text(encoding="utf-8")[-2000:])
    return _rows(folder), time.perf_counter() - since


def disturb(name: str, folder: Path, after_s: float, expected: Any) -> dict[str, Any]:
    """Search with one fault, resume, and compare with the undisturbed rows."""
    process = _start(folder)
    time.sleep(after_s)
    if process.poll() is None:
        FAULTS[name](process)
    code = process.wait(_LIMIT_S)
    since = time.perf_counter()
    while code != 0:
        resume = ("--resume",) if (folder / "search").exists() else ()
        again = _start(folder, *resume).wait(_LIMIT_S)
        if again != 0:
            break
        code = 0
    left = [path.name for path in folder.glob(f"search/{CLAIM}")]
    return {
        "after_s": after_s,
        "survived": code == 0 and _rows(folder) == expected and not left,
        "recover_s": time.perf_counter() - since,
    }


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


def _summary(name: str, tries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "case": name,
        "tried": len(tries),
        "survived": sum(one["survived"] for one in tries),
        "recover_s": statistics.median(one["recover_s"] for one in tries),
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=20, metavar="N")
    parser.add_argument("--only", nargs="+", choices=[*FAULTS, "starts"], metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    args = parser.parse_args()
    names = args.only or [*FAULTS, "starts"]
    if args.quick:
        names, args.tries = ["starts"], 1
    path = RESULTS / f"faults-{slug(hardware())}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    done: dict[str, list[dict[str, Any]]] = {} if args.quick else known.get("tries", {})
    rows: list[dict[str, Any]] = []

    def report() -> Report:
        cases = [_summary(name, tries) for name, tries in done.items() if tries]
        shown = [*cases, *rows]
        goals = [
            Goal(name=f"survived, {row['case']}", goal=f">= {row['tried']}", value=row["survived"])
            for row in shown
        ]
        return Report(benchmark="faults", rows=shown, goals=goals, more={"tries": done})

    if "starts" in names:
        started, alone = simultaneous([2, 5] if args.quick else [2] * 40 + [5] * 24)
        rows.append({"case": "starts", "tried": started, "survived": alone})
    elif not args.quick:
        rows += [row for row in known.get("rows", []) if row["case"] == "starts"]
    faults = [name for name in names if name in FAULTS]
    with tempfile.TemporaryDirectory() as work:
        if faults:
            expected, whole_s = undisturbed(Path(work, "whole"))
        for number in range(args.tries):
            for name in faults:
                tries = done.setdefault(name, [])
                if len(tries) <= number:
                    draw = random.Random(f"{args.seed} {name} {number}")
                    folder = Path(work, f"{name} {number}".replace(" ", "-"))
                    tries.append(disturb(name, folder, draw.uniform(0.2, 1) * whole_s, expected))
                    report().write(path.stem)
    print_table("Faults", report().rows)
    print_goals(report().goals)
    if not args.quick:
        report().write(path.stem)


if __name__ == "__main__":
    main()
