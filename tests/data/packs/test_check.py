"""A pack is checked when it is opened, and the file that is broken is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_ray.data import DataError
from fer_ray.data.packs.pack import open_pack
from fer_ray.data.packs.prepare import prepare
from tests.data.files import write_folder

pytestmark = pytest.mark.lowest


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    prepare(write_folder(root / "faces"), None, root / "pack")
    return root / "pack"


@pytest.fixture
def pack(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "pack"))


def refused(pack: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_pack(pack)
    assert str(caught.value).startswith(f"{pack}: expected a folder written by")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_names", None),
        ("class_names", "anger"),
        ("class_names", []),
        ("class_names", ["neutral", "neutral", "anger"]),
        ("class_names", ["anger", "happiness", "neutral"]),
        ("class_names", ["neutral", 3]),
        ("name", 3),
        ("notes", "one"),
        ("notes", [1]),
        ("problems", [{"path": "1.jpg"}]),
        ("problems", [{"path": 1, "listed": "", "kind": "", "reason": ""}]),
        ("problems", 3),
        ("made_of", 3),
    ],
)
def test_a_bad_manifest_is_named_with_its_key(key: str, value: Any, pack: Path) -> None:
    manifest = json.loads((pack / "pack.json").read_text())
    manifest[key] = value
    if value is None:
        del manifest[key]
    (pack / "pack.json").write_text(json.dumps(manifest))
    refused(pack, rf"pack\.json: {key}: expected")


@pytest.mark.parametrize("text", ["", "[]", "3", '{"version": 2', "[" * 100_000, "\0"])
def test_a_manifest_that_is_none_is_refused(text: str, pack: Path) -> None:
    (pack / "pack.json").write_text(text)
    refused(pack, "expected a folder written by")


@pytest.mark.parametrize(
    ("name", "row", "value"),
    [
        ("label", 3, 3),
        ("label", 3, -2),
        ("true_label", 0, 99),
        ("subset", 4, 99),
        ("near_train", 29, np.nan),
        ("near_train", 29, 2),
        ("group", 1, -7),
        ("row", 1, -1),
        ("original_size", 1, 0),
    ],
)
def test_a_value_out_of_range_is_named_with_its_row(
    name: str, row: int, value: float, pack: Path
) -> None:
    array = np.load(pack / f"{name}.npy")
    array[row] = value
    np.save(pack / f"{name}.npy", array)
    refused(pack, rf"{name}\.npy\[{row}\]: expected .*, got ")


@pytest.mark.parametrize("name", ["images", "label", "path", "near_train", "original_size"])
def test_an_array_of_another_shape_or_type_is_named(name: str, pack: Path) -> None:
    array = np.load(pack / f"{name}.npy")
    for other in (array[:7], array.astype("M8[s]") if name == "label" else array[..., None]):
        np.save(pack / f"{name}.npy", other)
        if name == "images" and other.ndim == 4:
            refused(pack, r"label\.npy: expected whole numbers \[7\]")
        else:
            refused(pack, rf"{name}\.npy: expected ")


@pytest.mark.parametrize("cut", [0, 5, 60, 100, -1])
def test_an_array_that_is_cut_short_is_named(cut: int, pack: Path) -> None:
    path = pack / "images.npy"
    path.write_bytes(path.read_bytes()[:cut])
    refused(pack, r"images\.npy: ")


def test_an_archive_in_place_of_an_array_is_refused(pack: Path) -> None:
    np.savez(pack / "label.npz", label=np.zeros(30, dtype=np.int64))
    (pack / "label.npz").rename(pack / "label.npy")
    refused(pack, r"label\.npy: ")
