"""Fixtures of all tests. Data, runs and networks are plain functions in `tests.samples`."""

from collections.abc import Iterator

import hypothesis
import pytest
import torch

from fer_ray.data.cache import CACHE_VARIABLE
from tests.gloo import GlooPair

# A busy machine is no failure, and a run of the tests does not depend on the one before.
hypothesis.settings.register_profile("fer_ray", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fer_ray")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The cache of decoded data sets, shared by the tests of a session."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _own_cache(cache_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, cache_dir)


@pytest.fixture(scope="session")
def gloo_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GlooPair]:
    """Two ranks, started at the first call and kept for the session."""
    pair = GlooPair(tmp_path_factory.mktemp("gloo"))
    yield pair
    pair.stop()
