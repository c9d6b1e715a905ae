"""Pictures: they are PNGs that show what they should; what cannot be seen here is drawn anyway."""

import csv
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_ray.record.plots import confusion_csv, confusion_png, curves_png, losses_png

pytestmark = pytest.mark.lowest

NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")


def pixels(png: bytes) -> np.ndarray:
    with Image.open(BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def near(picture: np.ndarray, color: str) -> int:
    """How many pixels have this color."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - wanted).max(axis=-1) <= 4).sum())


def make_histogram(networks: int) -> dict[str, Any]:
    edges = np.linspace(0, 1, 51)
    heights = np.exp(-(((edges[:-1] - 0.2) / 0.1) ** 2)) * 100
    return {"edges": edges.tolist(), "counts": [heights.astype(int).tolist()] * networks}


def make_mixture(networks: int) -> dict[str, Any]:
    pairs = {"mean": [0.2, 0.7], "std": [0.07, 0.1], "weight": [0.8, 0.2]}
    return {key: [pair] * networks for key, pair in pairs.items()}


def test_csv_can_be_read_back() -> None:
    text = confusion_csv([[3, 1], [0, 2]], ["anger, or so", "fear"])
    assert list(csv.reader(StringIO(text))) == [
        ["true", "anger, or so", "fear"],
        ["anger, or so", "3", "1"],
        ["fear", "0", "2"],
    ]


@pytest.mark.parametrize("size", [1, 2, 8])
def test_confusion_is_shaded_by_row(size: int) -> None:
    counts = np.eye(size, dtype=int) * 7
    full = pixels(confusion_png(counts.tolist(), NAMES[:size], title="title"))
    empty = pixels(confusion_png(np.zeros_like(counts).tolist(), NAMES[:size], title="title"))
    darkest = "#08306b"
    assert near(full, darkest) > near(empty, darkest) + 2000 * size


def test_class_without_images_is_drawn() -> None:
    pixels(confusion_png([[0, 0], [1, 3]], ["fear", "anger"]))


def test_losses_show_both_components() -> None:
    picture = pixels(losses_png(make_histogram(2), make_mixture(2), title="epoch 3"))
    left, right = np.array_split(picture, 2, axis=1)
    for half in (left, right):
        assert near(half, "#0072B2") > 100
        assert near(half, "#D55E00") > 100


@pytest.mark.parametrize("networks", [1, 2])
def test_losses_without_mixture_show_the_histogram_only(networks: int) -> None:
    picture = pixels(losses_png(make_histogram(networks)))
    assert near(picture, "#C9CED6") > 1000
    assert near(picture, "#D55E00") == 0


def test_empty_histogram_and_collapsed_component_are_drawn() -> None:
    histogram = {"edges": [0.0, 0.5, 1.0], "counts": [[0, 0]]}
    mixture = {"mean": [[0.1, 0.1]], "std": [[0.0, 0.0]], "weight": [[1.0, 0.0]]}
    pixels(losses_png(histogram, mixture))


def test_curves_skip_what_is_missing() -> None:
    rows: list[dict[str, Any]] = [
        {"epoch": 1, "val/macro_recall": 0.2},
        {"epoch": 2, "val/macro_recall": 0.5, "val/recall/fear": float("nan")},
        {"epoch": 3, "val/macro_recall": 0.6, "val/recall/fear": None},
    ]
    without = pixels(curves_png(rows, ["val/macro_recall", "val/recall/fear"]))
    rows[1]["val/recall/fear"] = 0.3
    assert near(pixels(curves_png(rows, ["val/macro_recall", "val/recall/fear"])), "#0072B2") > (
        near(without, "#0072B2")
    )


@pytest.mark.parametrize("keys", [[], ["loss"], [f"val/recall/{name}" for name in NAMES * 2]])
def test_curves_of_any_number(keys: list[str]) -> None:
    pixels(curves_png([{"epoch": 1} | dict.fromkeys(keys, 0.5)], keys, title="title"))
    pixels(curves_png([], keys))


def test_same_picture_twice_is_the_same_file() -> None:
    first, second = (losses_png(make_histogram(1), make_mixture(1)) for _ in range(2))
    assert first == second
