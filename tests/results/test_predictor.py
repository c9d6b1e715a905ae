"""Images are prepared as in training, and predicted as the run's test was."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fer_ray
from fer_ray.core.metrics import confusion_matrix
from fer_ray.data import DataError, FaceData
from fer_ray.data.packs.decode import luma
from fer_ray.data.packs.read import read_rgb
from fer_ray.results.predictor import Predictor, load
from fer_ray.results.run_folder import open_run
from tests.pages import leave_run, run_session
from tests.samples import CLASS_NAMES

ColourRun = tuple[Path, FaceData, Path]
RunAndData = tuple[Path, FaceData]


@pytest.fixture(scope="module")
def grey(run_and_data: RunAndData) -> Predictor:
    return load(run_and_data[0])


@pytest.fixture(scope="module")
def colour(colour_run: ColourRun) -> Predictor:
    return load(colour_run[0])


def files_of(root: Path, split: str) -> list[Path]:
    """Files of a subset in the order of its rows, which is that of their paths."""
    return sorted(path for path in (root / split).rglob("*") if path.is_file())


def test_a_file_is_prepared_bit_for_bit_as_its_pack_was(
    colour: Predictor, colour_run: ColourRun
) -> None:
    _, data, root = colour_run
    paths = files_of(root, "test")
    assert len(paths) == len(data.test) == 20
    assert data.image_size == (24, 24)
    assert len({read_rgb(path)[1] for path in paths}) == 4  # heights and widths
    for path, packed in zip(paths, np.asarray(data.test.images), strict=True):
        assert np.array_equal(colour.prepare(path), packed)


def test_the_files_of_the_test_set_are_predicted_as_in_the_test(
    colour: Predictor, colour_run: ColourRun
) -> None:
    _, data, root = colour_run
    found = colour.predict(files_of(root, "test"), batch_size=7)
    answer = torch.from_numpy(found.prob.argmax(axis=1))
    confusion = confusion_matrix(torch.from_numpy(data.test.label), answer, 3)
    assert confusion.tolist() == colour.run.summary["test"]["confusion_matrix"]


def test_a_chosen_point_is_that_of_the_test(grey: Predictor, run_and_data: RunAndData) -> None:
    folder, data = run_and_data
    images = np.asarray(data.test.images)[:, 0, :, :, None]
    for prior, point in ((None, "balanced"), ("given", "natural"), ("trained", "trained")):
        found = load(folder, prior=prior).predict(images)
        hits = found.prob.argmax(axis=1) == data.test.label
        assert hits.mean() == pytest.approx(grey.run.summary["test"]["points"][point]["accuracy"])
    assert not np.allclose(found.prob, grey.predict(images).prob)


def test_kinds_of_images_are_predicted_alike(grey: Predictor, run_and_data: RunAndData) -> None:
    packed = np.asarray(run_and_data[1].test.images)[:3]
    single = packed[0, 0]
    expected = grey.prob(packed).numpy()
    kinds: dict[str, Any] = {
        "batch of arrays": packed[:, 0, :, :, None],
        "batch of tensors": torch.from_numpy(packed),
        "list of arrays": list(packed[:, 0]),
        "generator of Pillow images": (Image.fromarray(image) for image in packed[:, 0]),
        "colour tensors": [torch.from_numpy(np.repeat(image, 3, axis=0)) for image in packed],
        "views that are not contiguous": list(packed[:, 0, ::-1, ::-1][:, ::-1, ::-1]),
        "one of each": [single, torch.from_numpy(packed[1]), Image.fromarray(packed[2, 0])],
    }
    for kind, images in kinds.items():
        np.testing.assert_allclose(grey.predict(images).prob, expected, atol=1e-6, err_msg=kind)
    for one in (single, torch.from_numpy(single), Image.fromarray(single)):
        np.testing.assert_allclose(grey.predict(one).prob, expected[:1], atol=1e-6)
    assert grey.predict([]).prob.shape == (0, 4)


def test_a_result_names_what_it_found(grey: Predictor, run_and_data: RunAndData) -> None:
    found = grey.predict(torch.from_numpy(np.asarray(run_and_data[1].test.images)))
    assert found.classes == grey.classes == CLASS_NAMES
    assert len(found) == len(found.label) == 40
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-6)
    for i, name in enumerate(found.label):
        assert found.probability[i] == found.prob[i, CLASS_NAMES.index(name)] == found.prob[i].max()


def test_colours_become_the_grey_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    assert np.array_equal(luma(pixels.transpose(2, 0, 1))[0], expected)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([np.zeros((16, 16), np.float32)], r"image 0: .*got float32 \[16, 16\]"),
        (np.zeros((2, 16, 16), np.uint8), r"image 0: .*uint8 \[2, 16, 16\]\. A batch has one"),
        ([np.zeros((16, 16), np.uint8), torch.zeros(2, 16, 16).byte()], "image 1: .*torch.uint8"),
        ([np.zeros((0, 16), np.uint8)], "image 0: "),
        ("none.png", "none.png: no such file"),
    ],
)
def test_what_is_no_image_is_refused_by_name(grey: Predictor, images: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        grey.predict(images)


def test_images_that_are_not_square_need_the_size_of_training(run_and_data: RunAndData) -> None:
    predictor = load(run_and_data[0])
    predictor.run = replace(predictor.run, image_size=(20, 16))
    assert predictor.predict(np.zeros((20, 16), np.uint8)).prob.shape == (1, 4)
    with pytest.raises(DataError, match="image 0: expected 16 x 20 pixels, got 20 x 16"):
        predictor.predict(np.zeros((16, 20), np.uint8))


def test_the_library_is_one_function(run_and_data: RunAndData, search_folder: Path) -> None:
    image = np.zeros((30, 20), np.uint8)
    one = fer_ray.load(run_and_data[0], prior={name: 1.0 for name in CLASS_NAMES}, device="cpu")
    other = fer_ray.load(str(search_folder)).predict(image)
    np.testing.assert_array_equal(one.predict(image).prob, other.prob)


def test_the_page_shows_what_happens(
    colour_run: ColourRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_run(colour_run[0], tmp_path)
    (tmp_path / "faces").mkdir()
    for name, path in zip(("1.png", "2.png"), files_of(colour_run[2], "test"), strict=False):
        shutil.copy(path, tmp_path / "faces" / name)
    monkeypatch.chdir(tmp_path)
    run_session("predict.md", "fer_ray.load")


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, fer_ray; print([x for x in ('torch', 'numpy', 'PIL') if x in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_open_run_needs_no_data(colour_run: ColourRun) -> None:
    assert open_run(colour_run[0]).image_size == (24, 24)
