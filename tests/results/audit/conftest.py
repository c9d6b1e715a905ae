"""Tiny runs on drawn faces that have finished; one has networks that were told verified labels."""

from pathlib import Path
from typing import Any

import pytest

from fer_ray.data import FaceData
from fer_ray.data.packs.cache import CACHE_VARIABLE
from fer_ray.results.audit.beliefs import Beliefs
from fer_ray.results.audit.reading import read_beliefs
from fer_ray.results.run_folder import open_run
from fer_ray.training.runtime import open_run_data
from tests.results.conftest import finish
from tests.samples import make_run

SPEC = "synthetic:train=200,test=70,size=16"


def finished(folder: Path, cache_dir: str, method: str = "peer_posterior", **values: Any) -> Path:
    """Train a run on drawn faces in this process, and write its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, cache_dir)
        run = make_run(method, data__spec=SPEC, **values)
        return finish(run, open_run_data(run), folder / method, folder / f"{method}-checkpoint")


@pytest.fixture(scope="session")
def posterior_run(tmp_path_factory: pytest.TempPathFactory, cache_dir: str) -> Path:
    """A run of two networks of `peer_posterior`; not to be written to."""
    return finished(tmp_path_factory.mktemp("audit"), cache_dir, method__num_networks=2)


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory, cache_dir: str) -> Path:
    """A run of cross-entropy, which never divides."""
    return finished(tmp_path_factory.mktemp("audit"), cache_dir, "cross_entropy")


def beliefs_of(folder: Path) -> tuple[Beliefs, FaceData]:
    """What a run says, and its data."""
    run = open_run(folder)
    data = open_run_data(run.config)
    return read_beliefs(run, data), data
