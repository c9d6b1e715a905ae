"""Fixtures of all tests. Data, runs and networks are plain functions in `tests.samples`."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis
import psutil
import pytest
import torch

from fer_ray.data.packs.cache import CACHE_VARIABLE
from fer_ray.on_ray.environment import prepare
from tests.gloo import GlooRanks

# A busy machine is no failure, and a run of the tests does not depend on the one before.
hypothesis.settings.register_profile("fer_ray", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fer_ray")
torch.set_num_threads(1)
prepare()  # before any test imports Ray


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin first, so that no process waits for one at the end."""
    on_ray = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in on_ray)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The cache of decoded data sets, shared by the tests of a session."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _own_cache(cache_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, cache_dir)


@pytest.fixture(scope="session")
def gloo_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GlooRanks]:
    """Two ranks, started at the first call and kept for the session."""
    pair = GlooRanks(tmp_path_factory.mktemp("gloo"))
    yield pair
    pair.stop()


_MARK = "FER_RAY_TEST_MARK"


class Command:
    """`python -m fer_ray...` in a session of its own; its processes' environment carries a mark.

    Ray's daemons and workers outlive a killed driver for a while, and leave its process group.
    """

    def __init__(self, log: Path, cache_dir: str, *argv: str) -> None:
        self._log = log
        self._mark = secrets.token_hex(8)
        # SPT_NOENV: a Ray worker that renames itself leaves its environment readable.
        own = {
            _MARK: self._mark,
            "SPT_NOENV": "1",
            "OMP_NUM_THREADS": "1",
            CACHE_VARIABLE: cache_dir,
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
        """What it printed so far, both streams."""
        return self._log.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """All that live and belong to the command, Ray's included."""
        return [process for process in psutil.process_iter() if self._is_own(process)]

    def _is_own(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            session = os.getsid(process.pid)
            return session == self.process.pid or process.environ().get(_MARK) == self._mark
        return False

    def wait(self, timeout_s: float = 300.0) -> int:
        """The exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no end within {timeout_s:g} s:\n{self.output[-4000:]}") from None

    def wait_until(self, happened: Callable[[], bool], timeout_s: float = 240.0) -> None:
        """Wait for something while the command runs."""
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert self.process.poll() is None, f"it ended before:\n{self.output[-4000:]}"
            assert time.monotonic() < deadline, f"not within {timeout_s} s:\n{self.output[-4000:]}"
            time.sleep(0.05)

    def leftovers(self, timeout_s: float = 10.0) -> list[str]:
        """Command lines of what is still there a while after the end."""
        deadline = time.monotonic() + timeout_s
        left = self.processes()
        while left and time.monotonic() < deadline:
            time.sleep(0.2)
            left = self.processes()
        return [str(process) for process in left]

    def kill(self) -> None:
        """Kill -9 all of it, newborn workers too."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        while left := self.processes():
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1.0)
        self.process.wait()


Launch = Callable[..., Command]


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory, cache_dir: str) -> Iterator[Launch]:
    """Starts a command; what is left of it is killed when the module's tests are over."""
    logs = tmp_path_factory.mktemp("commands")
    started: list[Command] = []

    def start(*argv: object) -> Command:
        command = Command(logs / f"{len(started)}.log", cache_dir, *map(str, argv))
        started.append(command)
        return command

    yield start
    for command in started:
        command.kill()
