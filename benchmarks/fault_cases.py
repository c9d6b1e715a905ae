"""What happens to a command in each case of `faults.py`."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.fault_commands import LEFT_S, LIMIT_S, Place, find_process, processes_left, wait_for
from tests.command import Command
from tests.wandb_stub import running_stub

KILLED = -signal.SIGKILL
INTERRUPTED = (130, 0)  # 0 where all was done already
# Python and the package's first lines take this long; before them, SIGTERM ends a process as the
# system wants it, and nothing was started.
_PYTHON_S = 0.5
_TWICE_S = 3.0
_AGENTS_S = 75.0
_TMPFS = "24m"
_BLOCK = 2**16
_SLOW_S = 2.0


class TooLateError(RuntimeError):
    """The command had ended before the fault."""


@dataclass
class Try:
    """One try of a case.

    Attributes:
        place: Where the command runs.
        command: The command.
        known: Of the undisturbed job, see `fault_commands.undisturbed`.
        draw: Random numbers of this try.
        sooner: Part of the drawn time to wait; less after a try that came too late.
        number: The number of the try in its case.
    """

    place: Place
    command: Command
    known: Mapping[str, Any]
    draw: random.Random
    sooner: float
    number: int

    def wait_any_moment(self) -> float:
        """Wait until a random time of the whole command."""
        after_s: float = _PYTHON_S + self.sooner * self.draw.random() * 0.95 * self.known["whole_s"]
        time.sleep(after_s)
        if self.command.process.poll() is not None:
            raise TooLateError
        return after_s

    def wait_while_training(self) -> None:
        """Wait until a random epoch has been written, and for a random part of an epoch."""
        last = max(1, int(self.sooner * self.draw.random() * (self.known["n"] - 2)))
        if not wait_for(lambda: self.place.num_rows() >= last, self.command):
            raise TooLateError
        time.sleep(self.draw.random() * 0.3)

    def kill(self, prefix: str) -> None:
        """Kill a process of the command."""
        process = find_process(self.command, prefix)
        if process is None:
            raise TooLateError
        process.kill()


def _kill_worker(it: Try) -> None:
    it.wait_while_training()
    it.kill("ray::RayTrainWorker")


def _kill_trial(it: Try) -> None:
    it.wait_while_training()
    it.kill("ray::ImplicitFunc")


def _kill_head(it: Try) -> None:
    it.wait_while_training()
    for process in it.command.processes():
        with suppress(psutil.Error):
            if process.name() == "gcs_server":
                process.kill()
                return
    raise TooLateError


def _kill_command(it: Try) -> None:
    """Every second time with its Ray, as a machine that stops does."""
    it.wait_any_moment()
    if it.number % 2:
        it.command.kill()
    else:
        it.command.process.kill()


def _terminate(it: Try) -> None:
    """Every second time with its Ray, as Slurm does."""
    it.wait_any_moment()
    processes = it.command.processes() if it.number % 2 else []
    it.command.process.terminate()
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()


def _interrupt(it: Try) -> None:
    it.wait_any_moment()
    os.killpg(it.command.process.pid, signal.SIGINT)


def _interrupt_twice(it: Try) -> None:
    _interrupt(it)
    time.sleep(it.draw.random() * _TWICE_S)
    with suppress(ProcessLookupError):
        os.killpg(it.command.process.pid, signal.SIGINT)


def _half_a_checkpoint(it: Try) -> None:
    """Kill, and leave half of the newest checkpoint's files, with or without their list."""
    it.wait_while_training()
    it.command.kill()
    for folder in it.place.folder.rglob("checkpoints"):
        checkpoints = sorted(folder.glob("epoch_*"))
        for path in sorted(checkpoints[-1].iterdir()) if checkpoints else []:
            if path.name == "files.json":
                if it.number % 2:
                    path.unlink()
            elif path.stat().st_size > 1000:
                os.truncate(path, path.stat().st_size // 2)


def _fill_disk(it: Try) -> None:
    it.wait_while_training()
    with (it.place.storage / "filler").open("wb") as filler, suppress(OSError):
        while True:
            filler.write(b"0" * _BLOCK)
            filler.flush()


def _nothing(it: Try) -> None:
    del it


@contextmanager
def _small_disk(place: Place) -> Iterator[None]:
    options = ["-t", "tmpfs", "-o", f"size={_TMPFS}", "tmpfs", str(place.storage)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place.storage)], check=True)


@contextmanager
def _usual(place: Place) -> Iterator[None]:
    del place
    yield


def _wandb(place: Place, url: str) -> None:
    place.words = ["--wandb", "online"]
    place.env |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40}
    place.env |= {"HOME": str(place.root), "NETRC": str(place.root / "netrc")}


@contextmanager
def _no_server(place: Place) -> Iterator[None]:
    with socket.socket() as probe:  # bound, but not listening
        probe.bind(("127.0.0.1", 0))
        _wandb(place, f"http://127.0.0.1:{probe.getsockname()[1]}")
        yield


@contextmanager
def _slow_server(place: Place) -> Iterator[None]:
    with running_stub() as stub:
        stub.delay_s = _SLOW_S
        _wandb(place, stub.url)
        yield


@contextmanager
def _refusing_server(place: Place) -> Iterator[None]:
    with running_stub() as stub:
        stub.refused = {"upsertBucket", "createRunFiles"}
        _wandb(place, stub.url)
        yield


def _make_space(place: Place) -> None:
    (place.storage / "filler").unlink(missing_ok=True)


def _no_disk() -> str | None:
    return None if os.geteuid() == 0 and shutil.which("mount") else "needs root, to mount a disk"


@dataclass(frozen=True)
class Case:
    """A kind of fault.

    Attributes:
        act: Waits for the moment, and does it.
        jobs: What it happens to, in turn.
        codes: With what the command must end; those that end otherwise than 0 are resumed.
        setting: What is around the commands of a try.
        repair: What a user does before resuming.
        why_not: Why the case cannot be tried here; `None` if it can.
        part: Share of the tries that are asked for.
        left_s: Seconds after which no process may be left. Ray's agents look a minute for a head
            that is gone.
    """

    act: Callable[[Try], None]
    jobs: Sequence[str] = ("search",)
    codes: tuple[int, ...] = (0,)
    setting: Callable[[Place], Any] = _usual
    repair: Callable[[Place], None] | None = None
    why_not: Callable[[], str | None] = lambda: None
    part: float = 1.0
    left_s: float = LEFT_S


CASES: dict[str, Case] = {
    "kill a training worker": Case(_kill_worker, jobs=("run on two workers",)),
    "kill a trial": Case(_kill_trial),
    "kill the head": Case(
        _kill_head, jobs=("search", "run"), codes=(1,), part=0.2, left_s=_AGENTS_S
    ),
    "kill command": Case(_kill_command, codes=(KILLED,), left_s=_AGENTS_S),
    "SIGTERM": Case(_terminate, jobs=("search", "search", "search", "run"), codes=INTERRUPTED),
    "Ctrl-C": Case(_interrupt, codes=INTERRUPTED, part=0.25),
    "Ctrl-C twice": Case(_interrupt_twice, codes=INTERRUPTED, part=0.25, left_s=_AGENTS_S),
    "half-written checkpoint": Case(
        _half_a_checkpoint, codes=(KILLED,), part=0.2, left_s=_AGENTS_S
    ),
    "disk full": Case(
        _fill_disk,
        jobs=("run", "search"),
        codes=(1,),
        setting=_small_disk,
        repair=_make_space,
        why_not=_no_disk,
        part=0.2,
    ),
    "W&B unreachable": Case(_nothing, setting=_no_server, part=0.1),
    "W&B slow": Case(_nothing, setting=_slow_server, part=0.1),
    "W&B rejecting": Case(_nothing, setting=_refusing_server, part=0.1),
}


def attempt(
    name: str, number: int, seed: int, known: Mapping[str, Any], sooner: float = 1.0
) -> dict[str, Any]:
    """Disturb a job, resume it if it has ended, and compare it with the undisturbed one.

    Args:
        name: A case.
        number: Number of the try.
        seed: Of the random numbers.
        known: What undisturbed jobs give, by job.
        sooner: See `Try`.

    Returns:
        `number`, `job`, `after_s` (from the start to the fault), `exit`, `survived`, `problems`,
        and `recover_s`: from the fault, or from the start of the command that resumes, until the
        next row is written, or the end if there is none.
    """
    case = CASES[name]
    job = case.jobs[number % len(case.jobs)]
    place = Place(job)
    if number % 4 == 0:
        place.words = ["--wandb", "offline"]
    problems: list[str] = []
    try:
        with case.setting(place):
            since = time.perf_counter()
            command = place.start()
            it = Try(place, command, known[job], random.Random(f"{seed} {name} {number}"), sooner,
                     number)  # fmt: skip
            try:
                case.act(it)
            except TooLateError:
                command.kill()
                if sooner < 0.1:
                    raise
                return attempt(name, number, seed, known, sooner / 2)
            struck = time.perf_counter()
            recover_s = _seconds_to_row(place, command, struck)
            code = command.wait(LIMIT_S)
            if code not in case.codes:
                problems.append(f"exit {code}")
            if code not in (0, KILLED):
                problems += _left(place, command, case.left_s, "Ctrl-C twice" not in name)
                problems += ["a traceback"] if "Traceback" in command.output else []
            if code != 0:
                if case.repair is not None:
                    case.repair(place)
                recover_s = _resume(place, problems)
            if not problems or code == 0:
                problems += _left(place, command, case.left_s, True)
            problems += _differences(place, known[job])
    finally:
        _keep_log(place, name, number, problems)
        place.remove()
    after_s = struck - since
    return {
        "number": number, "job": job, "after_s": after_s, "exit": code,
        "survived": not problems, "problems": problems, "recover_s": recover_s,
    }  # fmt: skip


def _resume(place: Place, problems: list[str]) -> float:
    """Resume a job that ended; add what is wrong, and return the seconds to a new row."""
    since = time.perf_counter()
    again = place.start()
    recover_s = _seconds_to_row(place, again, since)
    code = again.wait(LIMIT_S)
    if code != 0:
        problems.append(f"resumed: exit {code}")
    problems += [f"resumed: {what}" for what in _left(place, again, LEFT_S, True)]
    return recover_s


def _seconds_to_row(place: Place, command: Command, since: float) -> float:
    """Wait for a new row or the end of a command; the seconds until then."""
    before = place.num_rows()
    wait_for(lambda: place.num_rows() > before, command)
    return time.perf_counter() - since


def _left(place: Place, command: Command, left_s: float, is_tidy: bool) -> list[str]:
    """What must not be left; one that was ended at once may leave temporary files."""
    left = processes_left(command, left_s)
    return left + (place.left() if is_tidy else [])


def _differences(place: Place, known: Mapping[str, Any]) -> list[str]:
    """In what a job differs from the undisturbed one."""
    try:
        outcome = place.outcome()
    except (OSError, ValueError, KeyError) as error:
        return [f"no result: {type(error).__name__}"]
    return [f"other {key}" for key in ("rows", "test") if outcome[key] != known[key]]


def _keep_log(place: Place, name: str, number: int, problems: Sequence[str]) -> None:
    """Keep what the commands of a failed try printed, if FAULT_LOGS names a folder for it."""
    logs = os.environ.get("FAULT_LOGS")
    if logs and problems:
        folder = Path(logs, f"{name} {number}".replace(" ", "-"))
        folder.mkdir(parents=True, exist_ok=True)
        for path in place.root.glob("*.log"):
            shutil.copy(path, folder)
        (folder / "problems").write_text("\n".join(problems) + "\n", encoding="utf-8")
