"""A tiny run that has finished, and a search whose best trial it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_ray.config import RunConfig
from fer_ray.data import FaceData, open_data
from fer_ray.data.packs.cache import CACHE_VARIABLE
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import save_checkpoint
from fer_ray.training.finish import finish_run, write_summary
from tests.data.files import drawn
from tests.samples import CPU, faces, make_run, train


def finish(run: RunConfig, data: FaceData, folder: Path, scratch: Path) -> Path:
    """Train a run in this process and write all files of its folder."""
    state, _ = train(run, data)
    scratch.mkdir()
    save_checkpoint(state, run, scratch)
    summary, _ = finish_run(run, data, scratch, Folder(folder), CPU)
    write_summary(Folder(folder), summary | {"wall_s": 1.0})
    return folder


@pytest.fixture(scope="session")
def run_and_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FaceData]:
    """The folder of a run of two networks on grey images, and its data; not to be written to."""
    root, data = tmp_path_factory.mktemp("finished"), faces()
    run = make_run(optim__epochs=3, prediction__prior="uniform")
    return finish(run, data, root / "run", root / "checkpoint"), data


def write_faces(root: Path) -> None:
    """A data set of image files of three classes: colour and grey, of several sizes and kinds."""
    kinds = (".png", ".jpg", ".bmp", ".webp")
    for number, face in enumerate(drawn(60, 64)):
        split = "test" if number % 3 == 0 else "train"
        name = ("happy", "sad", "anger")[number // 3 % 3]
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        colour = np.stack([face, face // 2 + 40, 255 - face], axis=2)
        image = Image.fromarray(face if number % 5 == 0 else colour)
        width, height = ((64, 64), (150, 100), (40, 52), (24, 24))[number % 4]
        image.resize((width, height)).save(folder / f"{number:03d}{kinds[number % 4]}")


@pytest.fixture(scope="session")
def colour_run(
    tmp_path_factory: pytest.TempPathFactory, cache_dir: str
) -> tuple[Path, FaceData, Path]:
    """The folder of a run on image files, its data, and the folder of the files."""
    root = tmp_path_factory.mktemp("colour")
    write_faces(root / "faces")
    spec = f"folder:{root / 'faces'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, cache_dir)
        data = open_data(spec, val_fraction=0.3, deduplicate=False)
    run = make_run("cross_entropy", optim__epochs=2, optim__batch_size=8, data__spec=spec)
    return finish(run, data, root / "run", root / "checkpoint"), data, root / "faces"


@pytest.fixture
def run_folder(run_and_data: tuple[Path, FaceData], tmp_path: Path) -> Path:
    """A copy of the run's folder, to be damaged."""
    return Path(shutil.copytree(run_and_data[0], tmp_path / "run"))


@pytest.fixture
def search_folder(run_and_data: tuple[Path, FaceData], tmp_path: Path) -> Path:
    """A search of two trials, the second of which is the run."""
    search = tmp_path / "search"
    shutil.copytree(run_and_data[0], search / "trial_002")
    (search / "search.yaml").write_text("source: {}\n")
    summary = json.loads((search / "trial_002" / "summary.json").read_text())
    summary |= {"best": {"trial": "trial_002", "epoch": 1}, "num_trials": 2}
    (search / "summary.json").write_text(json.dumps(summary))
    (search / "trials.csv").write_text("trial\n")
    for name in ("trial_001", "trial_002"):
        (search / name).mkdir(exist_ok=True)
        (search / name / "params.json").write_text("{}")
    (search / "trial_001" / "config.yaml").write_text("{}")
    return search
