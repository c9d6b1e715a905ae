"""An exported file predicts as the run does, without fer_ray, or there is no file."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fer_ray import export
from fer_ray.data import FaceData
from fer_ray.results.graph import FaceModel
from fer_ray.results.predictor import load
from fer_ray.results.run_folder import open_run
from tests.data.files import drawn
from tests.pages import run_session
from tests.samples import CLASS_NAMES

ColourRun = tuple[Path, FaceData, Path]
RunAndData = tuple[Path, FaceData]
SIZES = [(16, 16), (48, 48), (30, 50), (61, 40), (200, 170), (9, 12)]


def photographs(num: int, height: int, width: int) -> np.ndarray:
    """Drawn faces in colours: [num, height, width, 3]."""
    colours = [np.stack([face, 255 - face, face // 2], axis=2) for face in drawn(num, 48, 5)]
    return np.stack([np.asarray(Image.fromarray(x).resize((width, height))) for x in colours])


def planes(images: np.ndarray) -> np.ndarray:
    """[num, 3, height, width]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


@pytest.fixture(scope="module")
def onnx_file(run_and_data: RunAndData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    out = tmp_path_factory.mktemp("onnx") / "faces.onnx"
    assert export.main([str(run_and_data[0]), "--to", "onnx", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def session(onnx_file: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])


def test_onnxruntime_predicts_a_hundred_faces_as_the_run_does(
    session: Any, run_and_data: RunAndData
) -> None:
    faces = photographs(100, 48, 48)
    expected = load(run_and_data[0]).predict(faces).prob
    (found,) = session.run(None, {"image": planes(faces)})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(np.unique(expected.round(3), axis=0)) > 50, "faces that all look alike prove little"


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("num", [1, 7])
def test_any_batch_and_any_size_is_taken(
    session: Any, run_and_data: RunAndData, num: int, height: int, width: int
) -> None:
    faces = photographs(num, height, width)
    (found,) = session.run(["probabilities"], {"image": planes(faces)})
    expected = load(run_and_data[0]).predict(faces).prob
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_onnx_file_says_what_it_is(onnx_file: Path, run_and_data: RunAndData) -> None:
    import onnx

    assert sorted(path.name for path in onnx_file.parent.iterdir()) == [
        "MODEL_CARD.md",
        "faces.onnx",
    ]
    model = onnx.load(str(onnx_file))
    said = {item.key: item.value for item in model.metadata_props}
    assert json.loads(said["classes"]) == list(CLASS_NAMES)
    assert (said["colour_order"], said["prior"]) == ("RGB", "uniform")
    assert said["fer_ray_version"] == open_run(run_and_data[0]).version
    assert str(Path(export.__file__).parent.parent).encode() not in onnx_file.read_bytes()


def test_the_page_shows_what_happens(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").symlink_to(onnx_file)
    monkeypatch.chdir(tmp_path)
    run_session("predict.md", "onnxruntime")


def test_the_torch_file_needs_no_fer_ray(
    colour_run: ColourRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "faces.pt2"
    assert export.main([str(colour_run[0]), "--to", "torch", "--out", str(out)]) == 0
    assert "at most" in capsys.readouterr().out
    faces = photographs(5, 70, 40)
    np.save(tmp_path / "faces.npy", planes(faces))
    code = (
        "import sys, numpy, torch\n"
        "sys.modules['fer_ray'] = None\n"
        "more = {'fer_ray.json': ''}\n"
        "module = torch.export.load('faces.pt2', extra_files=more).module()\n"
        "prob = module(torch.from_numpy(numpy.load('faces.npy')))\n"
        "numpy.save('prob.npy', prob.detach().numpy())\n"
        "print(more['fer_ray.json'])"
    )
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = load(colour_run[0]).predict(faces).prob
    np.testing.assert_allclose(np.load(tmp_path / "prob.npy"), expected, atol=1e-5)
    assert json.loads(ended.stdout)["training_size"] == "[24, 24]"


def test_networks_of_images_that_are_not_square_take_that_size(run_and_data: RunAndData) -> None:
    networks = open_run(run_and_data[0]).networks()
    model = FaceModel(
        networks, num_channels=1, image_size=(20, 16), flip_average=False, weight=None
    )
    image = torch.zeros(2, 3, 20, 16, dtype=torch.uint8)
    expected = torch.stack([x(torch.zeros(2, 1, 20, 16)).logits.softmax(1) for x in networks])
    torch.testing.assert_close(model(image), expected.mean(dim=0))


def test_a_file_that_predicts_otherwise_is_not_kept(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fer_ray.results.graph.weighted", lambda prob, weight: prob)
    assert export.main([str(run_folder), "--to", "torch"]) == 1
    message = capsys.readouterr().err
    assert "to 0.0001, got a difference of" in message
    assert list((run_folder / "export").iterdir()) == []


def test_missing_packages_are_named_with_the_command(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    assert export.main([str(run_folder), "--to", "onnx"]) == 2
    message = capsys.readouterr().err
    assert "got no onnxscript. Install them: uv sync --extra export" in message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{run}", "--out", "{run}/config.yaml"], "expected a new file, got one that exists"),
        (["{run}", "--out", "{run}/none/model.pt2"], "expected a file in a folder that exists"),
        (["{run}", "--out", "{run}/model.pt2"], "expected no card, or that of this model"),
        (["{run}", "--prior", "verified"], "has none or too few"),
        (["{run}/checkpoints"], "expected the folder of a finished run or search"),
    ],
)
def test_bad_input_is_one_paragraph(
    run_folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "MODEL_CARD.md").write_text("of another model")
    assert export.main([word.format(run=run_folder) for word in words] + ["--to", "torch"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    assert said in message
    assert not list(run_folder.rglob("*.pt2"))
