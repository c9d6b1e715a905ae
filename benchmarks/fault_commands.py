"""Commands that faults happen to: how they start, what they leave, and what they must give."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.command import Command

LIMIT_S = 400.0
NAME = "it"
LEFT_S = 20.0
"""Seconds after a command until which its processes may end."""
_RUN = {
    "data": "synthetic:train=300,test=70",
    "model": {"name": "tiny"},
    "method": {"name": "cross_entropy"},
    "optim": {"epochs": 6, "batch_size": 20},
}
_SPACE = {
    "run": _RUN,
    "method": "random",
    "parameters": {
        "optim.learning_rate": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1}
    },
}
_JOBS = {
    "search": ["fer_ray.tune", "--trials", "2", "--no-report"],
    "run": ["fer_ray.train"],
    "run on two workers": ["fer_ray.train", "--workers", "2"],
}
JOBS = tuple(_JOBS)
"""What is disturbed: a search of two trials, a run, and a run on two workers."""
# Ray's own folder, and what torch and Ray's dashboard keep.
_OTHERS = ("ray", "torchinductor_", "pymp-")


@dataclass
class Place:
    """A folder of its own for one try, with a short temporary folder, where Ray puts sockets.

    Attributes:
        storage: Folder of the results.
        env: Variables of the commands, besides those of this process.
        words: More words of the commands.
    """

    job: str
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="f")))
    storage: Path = field(init=False)
    env: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=lambda: ["--wandb", "disabled"])
    num_started: int = 0

    def __post_init__(self) -> None:
        self.storage = self.root / "s"
        (self.root / "t").mkdir()
        self.storage.mkdir()
        name = "space.yaml" if self.job == "search" else "run.yaml"
        content = _SPACE if self.job == "search" else _RUN
        (self.root / name).write_text(yaml.safe_dump(content), encoding="utf-8")

    @property
    def folder(self) -> Path:
        """Folder of the search or run."""
        return self.storage / NAME

    def start(self, *words: str) -> Command:
        """Start the job; with `--resume` if its folder is there."""
        self.num_started += 1
        module, *own = _JOBS[self.job]
        is_search = self.job == "search"
        option, file = ("--space", "space.yaml") if is_search else ("--config", "run.yaml")
        own += [option, str(self.root / file), "--storage", str(self.storage), "--name", NAME]
        resume = ["--resume"] if self.folder.exists() else []
        env = {"TMPDIR": str(self.root / "t"), "PYTHONPATH": os.pathsep.join(_paths()), **self.env}
        env["RAY_worker_niceness"] = "0"  # else other work on the machine goes first
        log = self.root / f"{self.num_started}.log"
        cache = str(self.root / "cache")
        return Command(log, cache, module, *own, *self.words, *resume, *words, env=env)

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of all trials, or of the run, without durations."""
        found = {}
        for path in self._row_files():
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            found[path.parent.name] = [
                {key: value for key, value in row.items() if not key.startswith("time/")}
                for row in rows
            ]
        return found

    def num_rows(self) -> int:
        """How many rows there are; a row that is being written counts."""
        return sum(path.read_bytes().count(b"\n") for path in self._row_files())

    def _row_files(self) -> list[Path]:
        pattern = "*/metrics.jsonl" if self.job == "search" else "metrics.jsonl"
        return sorted(self.folder.glob(pattern))

    def outcome(self) -> dict[str, str]:
        """Digests of what a disturbed job must have in common with an undisturbed one."""
        summary = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
        return {"rows": _digest(self.rows()), "test": _digest(summary["test"])}

    def left(self) -> list[str]:
        """What a command that has ended must not leave: claims and temporary files."""
        found = [path.name for path in self.storage.rglob("in_use*")]
        for path in sorted((self.root / "t").iterdir()):
            if path.name.startswith("fer_ray-"):
                found += [f"scratch {inside.name}" for inside in path.iterdir()]
            elif not path.name.startswith(_OTHERS):
                found.append(f"temporary {path.name}")
        return found

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.root, ignore_errors=True)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _paths() -> Sequence[str]:
    """Where the processes of a command look for the package: where this one found it."""
    import fer_ray

    return [str(Path(fer_ray.__file__).parent.parent)]


def processes_left(command: Command, left_s: float = LEFT_S) -> list[str]:
    """Names of the processes of a command that has ended which do not end within some seconds."""
    deadline = time.monotonic() + left_s
    while (left := command.processes()) and time.monotonic() < deadline:
        time.sleep(0.5)
    names = []
    for process in left:
        try:
            names.append(f"process {Path(process.cmdline()[0]).name}")
        except (psutil.Error, IndexError):
            continue
    return names


def find_process(command: Command, prefix: str) -> psutil.Process | None:
    """A process of a command whose name starts like this, such as `ray::RayTrainWorker`."""
    for process in command.processes():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if words and words[0].startswith(prefix):
            return process
    return None


def wait_for(happened: Callable[[], bool], command: Command, limit_s: float = LIMIT_S) -> bool:
    """Wait until something happens; `False` if the command ended first."""
    deadline = time.monotonic() + limit_s
    while not happened():
        if command.process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s:g} s: {command.output[-2000:]}")
        time.sleep(0.1)
    return True


def undisturbed(job: str) -> dict[str, Any]:
    """Run a job to its end: its outcome, its seconds (`whole_s`), and its number of rows (`n`)."""
    place = Place(job)
    since = time.perf_counter()
    try:
        command = place.start()
        if command.wait(LIMIT_S) != 0:
            raise RuntimeError(command.output[-2000:])
        whole_s = time.perf_counter() - since
        left = [*place.left(), *processes_left(command)]
        if left:
            raise RuntimeError(f"left undisturbed: {left}")
        return {**place.outcome(), "whole_s": whole_s, "n": place.num_rows()}
    finally:
        place.remove()
