"""Plans the runs of a comparison: configurations, epochs at equal compute, and missing runs."""

import hashlib
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import report
from benchmarks.runs import Cost, calibrate, num_warmup, read_run, train_case
from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.errors import ConfigError

ENSEMBLE_OF = "cross_entropy"
_NOT_TUNED = ("data", "workers", "compute", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table.

    Attributes:
        name: Name in the table.
        raw: The whole configuration except the seed.
        epochs: Number of epochs as text; of each member of an ensemble.
        is_ensemble: Whether two such runs are combined in an ensemble.
        predicted_s: Seconds of training that the calibration predicts; NaN without calibration.
    """

    name: str
    raw: Mapping[str, Any]
    epochs: str
    is_ensemble: bool = False
    predicted_s: float = math.nan


def make_raws(
    data: str,
    common: Mapping[str, Any],
    searched: Path | None,
    assignments: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Make the configurations by name; the last is the reference.

    Args:
        data: Data set of all configurations.
        common: Values by dotted key for all; keys that a method does not have are left out there.
        searched: `summary.json` of a search, if there is one.
        assignments: Values by dotted key that override those of the search.

    Raises:
        ConfigError: If a key or value is wrong, or the best method of the search is not co_divide.
    """
    raws = {
        name: with_overrides({"data": data, "method": {"name": name}}, _known(common, name))
        for name in ("cross_entropy", "dividemix", "co_divide")
    }
    if searched is not None or assignments:
        found = {} if searched is None else _searched(searched)
        method = found.get("method", {})
        if isinstance(method, Mapping):
            found["method"] = {"name": "co_divide", **method}
        base = with_overrides(found | {"data": data}, _known(common, "co_divide"))
        raw = with_overrides(base, assignments)
        if RunConfig.from_dict(raw).to_dict()["method"]["name"] != "co_divide":
            raise ConfigError(f"{searched}: method: expected co_divide, got {raw['method']}")
        raws["co_divide, searched"] = raw
        for other in raws.values():
            other["model"] = raw.get("model", {})
    return {name: RunConfig.from_dict(raw).to_dict() for name, raw in raws.items()}


def _known(common: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the values without those of keys that the method does not have."""
    fields = RunConfig.from_dict({"method": {"name": method}}).to_dict()["method"]
    return {
        key: value
        for key, value in common.items()
        if not key.startswith("method.") or key.split(".")[1] in fields
    }


def _searched(path: Path) -> dict[str, Any]:
    """Read the best configuration of a search, with nested keys, dotted keys or both."""
    config = json.loads(path.read_text(encoding="utf-8"))["best"]["config"]
    nested = {key: value for key, value in config.items() if "." not in key}
    dotted = {key: value for key, value in config.items() if "." in key}
    raw = with_overrides(nested, dotted)
    return {key: value for key, value in raw.items() if key not in _NOT_TUNED}


def make_cases(
    raws: Mapping[str, Mapping[str, Any]],
    budget_epochs: int | None,
    work: Path,
    pool: ProcessPoolExecutor,
    *,
    jobs: int,
    num_later: int,
) -> tuple[float, list[Case]]:
    """Return the seconds of the reference, and every case with the epochs that fit in them.

    `jobs` processes calibrate at the same time, because the runs will also share caches and memory.
    """
    path = work / f"calibration-{digest(raws)}.json"
    if not path.exists():
        print(f"calibrating {len(raws)} configurations ...", flush=True)
        futures = [pool.submit(calibrate, raws, num_later) for _ in range(jobs)]
        write_json(path, _mean_costs([future.result() for future in futures]))
    costs = {name: Cost(**value) for name, value in read_json(path).items()}
    reference = list(raws)[-1]
    run = read_run(raws[reference])
    num_epochs = budget_epochs or run.optim.epochs
    budget = _seconds(costs[reference], num_warmup(run), num_epochs)
    cases = []
    for name, raw in raws.items():
        exact = num_epochs if name == reference else None
        cases.append(_case(name, raw, costs[name], budget, exact))
        if name == ENSEMBLE_OF:
            cases.append(_case(f"{name} x 2", raw, costs[name], budget, None, share=2))
    return budget, cases


def _mean_costs(measured: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Average the costs that all processes measured, by name."""
    return {
        name: {key: fmean(costs[name][key] for costs in measured) for key in measured[0][name]}
        for name in measured[0]
    }


def _case(
    name: str,
    raw: Mapping[str, Any],
    cost: Cost,
    budget: float,
    epochs: int | None,
    share: int = 1,
) -> Case:
    warmup = num_warmup(read_run(raw))
    if epochs is None:
        left = budget / share - warmup * cost.warmup_s
        epochs = warmup + max(1, round(left / cost.later_s))
    values: dict[str, Any] = {"optim.epochs": epochs}
    if warmup:  # a share of other epochs would be another number
        values["method.warmup_epochs"] = warmup
    return Case(
        name=name,
        raw=with_overrides(raw, values),
        is_ensemble=share > 1,
        epochs=str(epochs) if share == 1 else f"{share} x {epochs}",
        predicted_s=share * _seconds(cost, warmup, epochs),
    )


def _seconds(cost: Cost, warmup: int, epochs: int) -> float:
    warmup = min(warmup, epochs)
    return warmup * cost.warmup_s + (epochs - warmup) * cost.later_s


def train_all(
    cases: Sequence[Case],
    seeds: Iterable[int],
    work: Path,
    pool: ProcessPoolExecutor,
    train: Callable[..., dict[str, Any]] = train_case,
) -> dict[str, list[dict[str, Any]]]:
    """Train the runs that have no file in `work`; return outcomes by case, in the order of seeds.

    `train` has the arguments of `train_case` and runs in a process of `pool`.
    """
    paths = {(case.name, seed): _path(case, seed, work) for seed in seeds for case in cases}
    missing = [key for key, path in paths.items() if not path.exists()]
    by_name = {case.name: case for case in cases}
    print(f"{len(paths)} runs, {len(paths) - len(missing)} of them done before", flush=True)
    futures = {
        pool.submit(train, by_name[name].raw, seed, is_ensemble=by_name[name].is_ensemble): (
            name,
            seed,
        )
        for name, seed in missing
    }
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
