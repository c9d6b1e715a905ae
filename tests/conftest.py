"""Fixtures that several tests use. Data, runs and networks are functions in `tests.samples`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from fer_ray.data.packs.cache import CACHE_VARIABLE
from fer_ray.on_ray.environment import prepare
from fer_ray.record.wandb_library import close_wandb
from tests.browser import browser as browser
from tests.browser import open_page as open_page
from tests.command import Command as Command
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
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_SILENT", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, {"WANDB_SILENT": "true"}.get(name, "false"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    close_wandb()
    yield monkeypatch
    close_wandb()


@pytest.fixture
def server(machine: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    with running_stub() as stub:
        machine.setenv("WANDB_BASE_URL", stub.url)
        machine.setenv("WANDB_API_KEY", "0" * 40)
        yield stub


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
