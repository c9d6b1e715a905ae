"""A command of the package in its own session, of which all processes can be found."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from fer_ray.data.packs.cache import CACHE_VARIABLE

_MARK = "FER_RAY_TEST_MARK"


class Command:
    """`python -m fer_ray...` in its own session, with a mark in the environment of its processes.

    The mark finds them all: Ray's daemons and workers leave the process group of the driver, and
    outlive a killed driver for a while.
    """

    def __init__(
        self, log: Path, cache_dir: str, *argv: str, env: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        self._mark = secrets.token_hex(8)
        # SPT_NOENV keeps the environment of a Ray worker readable after it renames itself.
        own = {
            _MARK: self._mark,
            "SPT_NOENV": "1",
            "OMP_NUM_THREADS": "1",
            CACHE_VARIABLE: cache_dir,
            **(env or {}),
        }
        env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | own
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has printed so far, on both streams."""
        return self._log.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """Return all running processes of the command, including Ray's."""
        return [process for process in psutil.process_iter() if self._is_own(process)]

    def _is_own(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            session = os.getsid(process.pid)
            return session == self.process.pid or process.environ().get(_MARK) == self._mark
        return False

    def wait(self, timeout_s: float = 300.0) -> int:
        """Wait for the end and return the exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no end within {timeout_s:g} s:\n{self.output[-4000:]}") from None

    def wait_until(self, happened: Callable[[], bool], timeout_s: float = 240.0) -> None:
        """Wait for a condition while the command runs."""
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert self.process.poll() is None, f"it ended before:\n{self.output[-4000:]}"
            assert time.monotonic() < deadline, f"not within {timeout_s} s:\n{self.output[-4000:]}"
            time.sleep(0.05)

    def leftovers(self, timeout_s: float = 10.0) -> list[str]:
        """Return the processes that still run `timeout_s` after the end."""
        deadline = time.monotonic() + timeout_s
        left = self.processes()
        while left and time.monotonic() < deadline:
            time.sleep(0.2)
            left = self.processes()
        return [str(process) for process in left]

    def kill(self) -> None:
        """Send SIGKILL to all processes, also to workers that start meanwhile."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()  # before psutil does, which would lose its exit code
        while left := self.processes():
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1.0)
