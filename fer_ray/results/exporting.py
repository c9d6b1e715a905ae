"""Writes a run as one file that predicts without fer_ray, and holds it to `predict`."""

import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from fer_ray.core.errors import ConfigError
from fer_ray.data.synthetic.faces import draw_faces
from fer_ray.results.graph import FaceModel
from fer_ray.results.predictor import Predictor
from fer_ray.results.run_files import WEIGHTS
from fer_ray.results.run_folder import FinishedRun

Target = Literal["onnx", "torch"]
SUFFIXES: Mapping[Target, str] = {"onnx": ".onnx", "torch": ".pt2"}
TOLERANCE = 1e-4
INPUT, OUTPUT = "image", "probabilities"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Run = Callable[[np.ndarray], np.ndarray]
"""Probabilities [batch, class] of uint8 images [batch, 3, height, width]."""


class ParityError(RuntimeError):
    """An exported file predicts otherwise than the run."""


def check_packages(target: Target) -> None:
    """Refuse to export what needs packages that are not installed.

    Raises:
        ConfigError: With the command that installs them.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if target == "onnx" and missing:
        raise ConfigError(
            f"--to onnx: expected the packages {', '.join(_PACKAGES)}, got no "
            f"{', '.join(missing)}. Install them: uv sync --extra export"
        )


def export_run(
    run: FinishedRun, target: Target, out: Path, prior: str | Mapping[str, float] | None = None
) -> float:
    """Write a run's networks with all that predicting does to an image before and after them.

    Args:
        run: The run.
        target: `onnx`, or `torch` for `torch.export`.
        out: The file, which is whole as soon as it is there.
        prior: The operating point; by default the run's.

    Returns:
        The largest difference of a probability from `Predictor`, over a hundred drawn faces of
        several sizes.

    Raises:
        ConfigError: If the networks cannot be loaded, or the prior is none that the run can have.
        ParityError: If the difference is above `TOLERANCE`; no file is left then.
    """
    predictor = Predictor(run, prior=prior, device="cpu")
    shares = run.prior(prior)
    model = FaceModel(
        run.networks(),
        num_channels=run.num_channels,
        image_size=run.image_size,
        flip_average=run.config.flip_average,
        weight=None if shares is None else shares / run.mean_prediction,
    ).eval()
    # In a folder of its own, because a torch file repeats its name inside.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
        part = Path(scratch) / out.name
        exported = _write(model, run, target, part, prior)
        difference = largest_difference(predictor, exported)
        if not difference <= TOLERANCE:
            raise ParityError(
                f"{out}: expected probabilities as fer_ray.predict gives them, to {TOLERANCE:g}, "
                f"got a difference of {difference:.2g}; the file was not kept. This depends on the "
                "versions of torch, onnxscript, onnxruntime and Pillow: update them, or try the "
                "other --to"
            )
        part.rename(out)
    return difference


def _write(
    model: FaceModel,
    run: FinishedRun,
    target: Target,
    path: Path,
    prior: str | Mapping[str, float] | None,
) -> Run:
    """Write the file, and load what was written."""
    program = _traced(model, run.image_size)
    described = _description(run, prior)
    if target == "onnx":
        _write_onnx(program, path, described)
        return _onnx_run(path)
    torch.export.save(program, path, extra_files={"fer_ray.json": json.dumps(described)})
    return _torch_run(path)


def _traced(model: FaceModel, size: tuple[int, int]) -> torch.export.ExportedProgram:
    """The model as a graph for any batch and, if it scales images, any height and width."""
    height, width = size
    shape: dict[int, Any] = {0: torch.export.Dim("batch")}
    if height == width:
        shape |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
        height, width = 40, 52  # unlike each other and the size, so that neither becomes fixed
    image = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    program = torch.export.export(model, (image,), dynamic_shapes=(shape,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def _description(run: FinishedRun, prior: str | Mapping[str, float] | None) -> dict[str, str]:
    """What the file says of itself."""
    used = run.config.prediction.prior if prior is None else prior
    return {
        "classes": json.dumps(run.class_names),
        "colour_order": "RGB",
        "input": f"{INPUT}: uint8 [batch, 3, height, width], 0 to 255",
        "output": f"{OUTPUT}: float32 [batch, class]",
        "training_size": json.dumps(run.image_size),
        "prior": used if isinstance(used, str) else json.dumps(dict(used)),
        "fer_ray_version": run.version,
        "checkpoint_sha256": hashlib.sha256(run.folder.read_bytes(WEIGHTS)).hexdigest(),
    }


def _write_onnx(
    program: torch.export.ExportedProgram, path: Path, described: Mapping[str, str]
) -> None:
    """Write one file with its weights inside."""
    import onnx

    made = torch.onnx.export(
        program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
    )
    assert made is not None
    model = made.model_proto
    for part in (*model.graph.node, *model.graph.value_info, model.graph):
        del part.metadata_props[:]  # torch's, with folders of this machine
    onnx.helper.set_model_props(model, dict(described))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _onnx_run(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: np.asarray(session.run([OUTPUT], {INPUT: image})[0])


def _torch_run(path: Path) -> Run:
    module = torch.export.load(path).module()

    def run(image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(image)))

    return run


def largest_difference(predictor: Predictor, exported: Run) -> float:
    """The largest difference between two predictions of a hundred drawn faces.

    The faces are of the size of training, smaller, larger, wide, tall, and many times larger; in
    batches of one and of several.
    """
    found = 0.0
    for number, (height, width) in enumerate(_sizes(predictor.run.image_size)):
        faces = _faces(20, height, width, number)
        ours = predictor.predict(faces).prob
        planes = np.ascontiguousarray(faces.transpose(0, 3, 1, 2))
        batches = (planes[:1], planes[1:8], planes[8:])
        theirs = np.concatenate([exported(batch) for batch in batches])
        found = max(found, float(np.abs(ours - theirs).max()))
    return found


def _sizes(training: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths to compare at; five, or five times the one that the model takes."""
    height, width = training
    if height != width:
        return [training] * 5
    size = height
    return [
        (size, size),
        (size * 3 // 4, size * 3 // 4),
        (size * 5 // 4, size * 2 + 1),
        (size * 2 + 1, size + 3),
        (size * 7, size * 7 - 5),
    ]


def _faces(num: int, height: int, width: int, seed: int) -> np.ndarray:
    """Drawn faces in colours, uint8 [num, height, width, 3]."""
    grey = draw_faces(np.arange(num) % 7, 48, np.random.default_rng(seed))[0]
    colours = np.stack([grey, grey // 2 + 60, 255 - grey], axis=3)
    return np.stack([np.asarray(Image.fromarray(x).resize((width, height))) for x in colours])
