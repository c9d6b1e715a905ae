"""Trains the missing runs of a comparison, and keeps what is finished."""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table.

    Attributes:
        name: Name in the table.
        raw: The whole configuration except the seed.
        epochs: Number of epochs.
    """

    name: str
    raw: Mapping[str, Any]
    epochs: int


def train_all(
    cases: Sequence[Case],
    seeds: Iterable[int],
    work: Path,
    pool: ProcessPoolExecutor,
    train: Callable[[Mapping[str, Any], int], dict[str, Any]],
) -> dict[str, list[dict[str, Any]]]:
    """Train the runs that have no file in `work`; return outcomes by case, in the order of seeds.

    `train` gets a configuration and a seed, and runs in a process of `pool`.
    """
    paths = {(case.name, seed): _path(case, seed, work) for seed in seeds for case in cases}
    missing = [key for key, path in paths.items() if not path.exists()]
    by_name = {case.name: case for case in cases}
    print(f"{len(paths)} runs, {len(paths) - len(missing)} of them done before", flush=True)
    futures = {pool.submit(train, by_name[name].raw, seed): (name, seed) for name, seed in missing}
    for number, future in enumerate(as_completed(futures), start=1):
        name, seed = futures[future]
        outcome = future.result()
        write_json(paths[name, seed], outcome)
        recall = outcome["test"]["macro_recall"]
        print(
            f"[{number}/{len(missing)}] {name}, seed {seed}: macro recall {recall:.3f}, "
            f"{outcome['seconds']:.0f} s",
            flush=True,
        )
    return {
        case.name: [read_json(path) for (name, _), path in paths.items() if name == case.name]
        for case in cases
    }


@contextmanager
def processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Start `jobs` new processes; if an error ends the block, waiting tasks are cancelled."""
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        for _ in range(jobs):
            pool.submit(os.getpid)  # starts a process
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _path(case: Case, seed: int, work: Path) -> Path:
    """Return the file of a finished run; every configuration has its own."""
    return work / f"{report.slug(case.name)}-seed{seed}-{digest(case.raw)}.json"


def digest(content: Mapping[str, Any]) -> str:
    """Return a short name of what can be written as JSON."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file completely or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content), encoding="utf-8")
    part.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
