"""What all benchmarks share: timing, hardware and versions, tables, result files."""

import json
import os
import platform
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = ("torch", "torchvision", "ray", "numpy", "scikit-learn")
_KEYS = ("benchmark", "command", "hardware", "versions", "date", "rows", "goals")

T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal and the measured value; missed goals are reported as missed.

    Attributes:
        name: What is measured.
        goal: The goal, such as `>= 2` or `<= 1.15`.
        value: The measured value.
        why: Why the goal was missed, or what the value does not show.
    """

    name: str
    goal: str
    value: float
    why: str = ""

    @property
    def met(self) -> bool:
        """Whether the value meets the goal."""
        sign, bound = self.goal.split()
        return self.value >= float(bound) if sign == ">=" else self.value <= float(bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a benchmark, as written to `results/`; every row needs a `case`."""

    benchmark: str
    rows: Sequence[Row]
    goals: Sequence[Goal]
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {
            "benchmark": self.benchmark,
            "command": command(),
            "hardware": hardware(),
            "versions": {"python": platform.python_version()} | {x: version(x) for x in _PACKAGES},
            "date": date.today().isoformat(),
            **self.more,
            "rows": [_short(dict(row)) for row in self.rows],
            "goals": [asdict(x) | {"value": _short(x.value), "met": x.met} for x in self.goals],
        }

    def write(self, name: str) -> Path:
        """Write `results/<name>.json` as strict JSON and return its path.

        Raises:
            ValueError: If the content is not valid; see `check`.
        """
        content = self.to_dict()
        check(content)
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.json"
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return path


def check(content: Mapping[str, Any]) -> None:
    """Check the content of a result file.

    Raises:
        ValueError: If a key is missing or wrong; names the key.
    """
    for key in _KEYS:
        if not content.get(key) and key != "goals":
            raise ValueError(f"{key}: expected a value, got {content.get(key)!r}")
    for row in content["rows"]:
        if not isinstance(row.get("case"), str):
            raise ValueError(f"rows: expected a case in every row, got {row!r}")
    for goal in content["goals"]:
        if set(goal) != {"name", "goal", "value", "met", "why"}:
            raise ValueError(
                f"goals: expected the keys name, goal, value, met, why; got {sorted(goal)}"
            )
        if Goal(name="", goal=goal["goal"], value=goal["value"]).met != goal["met"]:
            raise ValueError(
                f"goals: {goal['name']}: met is {goal['met']}, which is wrong for {goal['value']}"
            )
    if re.search(r"/(home|work|root|tmp|Users)\b|\.\./", json.dumps(content)):
        raise ValueError("expected no path of a machine in a result file; remove it")


def _short(value: Any) -> Any:
    """Round floats to four significant digits, also in lists and mappings."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _short(item) for key, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list | tuple) else value


def command() -> str:
    """Return the command line that repeats this, without folders of this machine.

    >>> without_folders("arrays:/data/faces.npz"), without_folders("optim.epochs=3")
    ('arrays:faces.npz', 'optim.epochs=3')
    """
    script = Path(sys.argv[0]).name
    return shlex.join(["python", f"benchmarks/{script}", *map(without_folders, sys.argv[1:])])


def without_folders(word: str) -> str:
    """Return a word of a command line with only the last part of its path."""
    return re.sub(r"([^:=,/]*/)+", "", word)


def hardware() -> str:
    """Return the name of the GPU; without one, of the processor, with the number of cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        names = re.findall(r"model name\s*:\s*(.+)", text)
    except OSError:
        names = []
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{os.cpu_count()}-core {name.strip()}, CPU"


def slug(text: str) -> str:
    """Return text in a form that fits into a file name.

    >>> slug("2-core EPYC, CPU")
    '2-core-epyc-cpu'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True, slots=True)
class Timing(Generic[T]):
    """Seconds of every round, and the results of the calls."""

    seconds: list[float] = field(default_factory=list)
    results: list[T] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


def interleaved(
    cases: Mapping[str, Callable[[], Callable[[], T]]], repeats: int, *, warmups: int = 1
) -> dict[str, Timing[T]]:
    """Time cases in turn (A B A B ...), so that other load on the machine affects all alike.

    Args:
        cases: Functions that prepare a round, untimed, and return the function to time.
        repeats: Number of rounds that count.
        warmups: Number of rounds before them that do not count.
    """
    timings: dict[str, Timing[T]] = {name: Timing() for name in cases}
    for number in range(-warmups, repeats):
        for name, prepare in cases.items():
            timed = prepare()
            _wait()
            start = time.perf_counter()
            result = timed()
            _wait()
            if number >= 0:
                timings[name].seconds.append(time.perf_counter() - start)
                timings[name].results.append(result)
    return timings


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the median over rounds of one value divided by another of the same round."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def mean_std(values: Sequence[float]) -> dict[str, float]:
    """Return mean and sample standard deviation (0 for a single value)."""
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "std": std}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print rows as a table; its columns are the union of their keys."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title, title_justify="left")
    for column in columns:
        is_text = any(isinstance(row.get(column), str) for row in rows)
        table.add_column(column.replace("_", " "), justify="left" if is_text else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    _console().print(table)


def print_goals(goals: Sequence[Goal]) -> None:
    """Print every goal and whether it was met."""
    rows = [
        {"name": x.name, "goal": x.goal, "value": x.value, "met": x.met, "why": x.why}
        for x in goals
    ]
    print_table("Goals", rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _console() -> Console:
    """Make a console as wide as the terminal; in a log file, wide enough for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=140)
