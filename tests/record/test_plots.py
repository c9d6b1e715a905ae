"""Files that show a run: any figure becomes a PNG, the matrix a CSV file."""

import csv
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_ray.record.plots import confusion_csv, confusion_png, curves_png, losses_png

pytestmark = pytest.mark.lowest

NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")


def check(png: bytes) -> None:
    """A picture that can be read and is not empty."""
    with Image.open(BytesIO(png)) as image:
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image.convert("L")))) > 2


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
@pytest.mark.parametrize("count", [0, 7])
def test_confusion_of_any_size_is_drawn(size: int, count: int) -> None:
    check(confusion_png((np.eye(size, dtype=int) * count).tolist(), NAMES[:size], title="title"))


@pytest.mark.parametrize("networks", [1, 2])
def test_losses_are_drawn_with_and_without_mixture(networks: int) -> None:
    check(losses_png(make_histogram(networks), make_mixture(networks), title="epoch 3"))
    check(losses_png(make_histogram(networks)))


def test_empty_histogram_and_collapsed_component_are_drawn() -> None:
    histogram = {"edges": [0.0, 0.5, 1.0], "counts": [[0, 0]]}
    mixture = {"mean": [[0.1, 0.1]], "std": [[0.0, 0.0]], "weight": [[1.0, 0.0]]}
    check(losses_png(histogram, mixture))


@pytest.mark.parametrize("keys", [[], ["loss"], [f"val/recall/{name}" for name in NAMES * 2]])
def test_curves_of_any_number(keys: list[str]) -> None:
    check(curves_png([{"epoch": 1} | dict.fromkeys(keys, 0.5)], keys, title="title"))
    check(curves_png([], keys))


def test_same_picture_twice_is_the_same_file() -> None:
    first, second = (losses_png(make_histogram(1), make_mixture(1)) for _ in range(2))
    assert first == second
