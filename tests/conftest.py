"""Fixtures that several tests use. Data, runs and networks are functions in `tests.samples`."""

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
from tests.browser import browser as browser
from tests.browser import open_page as open_page
from tests.gloo import GlooRanks
from tests.wandb_stub import WandbStub, running_stub

# Tests do not fail on a busy machine, and do not depend on an earlier run.
hypothesis.settings.register_profile("fer_ray", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fer_ray")
torch.set_num_threads(1)
prepare()  # before any test imports Ray


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests on Ray first, because they take longest, so that xdist ends sooner."""
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
    """Two ranks, which start at the first call and live as long as the session."""
    pair = GlooRanks(tmp_path_factory.mktemp("gloo"))
    yield pair
    pair.stop()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """No W&B settings of the user, and a W&B library without state."""
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_SILENT", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, {"WANDB_SILENT": "true"}.get(name, "false"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    wandb.teardown()
    yield monkeypatch
    wandb.teardown()


@pytest.fixture
def server(machine: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    with running_stub() as stub:
        machine.setenv("WANDB_BASE_URL", stub.url)
        machine.setenv("WANDB_API_KEY", "0" * 40)
        yield stub


_MARK = "FER_RAY_TEST_MARK"


class Command:
    """`python -m fer_ray...` in its own session, with a mark in the environment of its processes.

    The mark finds them all: Ray's daemons and workers leave the process group of the driver, and
    outlive a killed driver for a while.
    """

    def __init__(self, log: Path, cache_dir: str, *argv: str) -> None:
        self._log = log
        self._mark = secrets.token_hex(8)
        # SPT_NOENV keeps the environment of a Ray worker readable after it renames itself.
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
        while left := self.processes():
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1.0)
        self.process.wait()


Launch = Callable[..., Command]


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory, cache_dir: str) -> Iterator[Launch]:
    """Starts commands; their remaining processes are killed after the tests of the module."""
    logs = tmp_path_factory.mktemp("commands")
    started: list[Command] = []

    def start(*argv: object) -> Command:
        command = Command(logs / f"{len(started)}.log", cache_dir, *map(str, argv))
        started.append(command)
        return command

    yield start
    for command in started:
        command.kill()
