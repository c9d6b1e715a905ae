import io
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_ray.data import DataError, FaceData, list_records, open_data
from fer_ray.data.classes import canonical_name
from fer_ray.data.readers import npz
from tests.paths import SHARED

pytestmark = pytest.mark.lowest

REAL = SHARED / "data" / "fer2013plus" / "fer2013plus-small.npz"
FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def plain(num: int = 60) -> dict[str, Any]:
    """Two classes in native order angry, neutral; row i is filled with the number i."""
    return {
        "images": np.repeat(np.arange(num, dtype=np.uint8), 20).reshape(num, 4, 5),
        "labels": np.arange(num) % 2,
        "split": np.arange(num) % 3,
        "class_names": np.array(["angry", "neutral"]),
    }


def ferplus() -> dict[str, Any]:
    """Seven training rows, one per class, twice; six test rows of which three can be used."""
    label = np.tile(np.arange(7, dtype=np.int8), 3)[:20]
    majority = label.copy()
    majority[:3] = (6, 7, -1)  # wrong label, contempt, no majority
    majority[14:20] = (0, 1, 2, 8, -1, 3)
    near = np.zeros(20, dtype=np.float16)
    near[[0, 19]] = 0.99
    return {
        "images": np.random.default_rng(0).integers(0, 256, (20, 4, 4)).astype(np.uint8),
        "label_fer2013": label,
        "majority_ferplus": majority,
        "usage": np.repeat(np.array([0, 1], dtype=np.uint8), (14, 6)),
        "near_train": near,
        "dup_group": np.full(20, -1, dtype=np.int32),
        "row": np.arange(100, 120, dtype=np.int32),
        "class_names": np.array(FER2013),
    }


def write(folder: Path, arrays: dict[str, Any]) -> Path:
    path = folder / "faces.npz"
    np.savez(path, **arrays)
    return path


def read(folder: Path, arrays: dict[str, Any], **options: Any) -> FaceData:
    return open_data(f"arrays:{write(folder, arrays)}", **options)


def test_plain_layout(tmp_path: Path) -> None:
    data = read(tmp_path, plain())
    assert data.class_names == ("neutral", "anger")
    assert [len(data.train), len(data.val), len(data.test)] == [20, 20, 20]
    assert data.train.row.tolist() == list(range(0, 60, 3))
    assert data.test.images.shape == (20, 1, 4, 5)
    assert np.array_equal(np.asarray(data.test.images)[:, 0, 0, 0], data.test.row)
    assert np.array_equal(data.val.label, 1 - data.val.row % 2)  # native 0 is anger, now 1
    assert set(data.train.true_label.tolist()) == {-1}
    assert data.name == "arrays:faces.npz"


def test_training_images_may_come_without_a_label(tmp_path: Path) -> None:
    labels = np.arange(60) % 2
    labels[:10] = -1
    subset = np.where(np.arange(60) < 50, 0, 2)  # no validation rows: they are carved
    data = read(tmp_path, {**plain(), "labels": labels, "split": subset})
    missing = np.flatnonzero(data.train.label == -1)
    assert set(data.train.row[missing]) == set(range(10))
    assert (data.val.label >= 0).all()
    labels[-1] = -1
    with pytest.raises(DataError, match=r"test label\[9\]: expected 0 to 1 .*got -1"):
        read(tmp_path, {**plain(), "labels": labels, "split": subset})


def test_true_labels_follow_the_classes(tmp_path: Path) -> None:
    data = read(tmp_path, {**plain(), "true_labels": np.r_[-1, np.zeros(59, dtype=np.int16)]})
    assert data.train.true_label.tolist() == [-1] + [1] * 19


def test_colour_becomes_channels_first(tmp_path: Path) -> None:
    images = np.arange(60 * 4 * 5 * 3, dtype=np.int64).reshape(60, 4, 5, 3).astype(np.uint8)
    data = read(tmp_path, {**plain(), "images": images})
    assert data.num_channels == 3
    assert np.array_equal(data.train.images[1], images[3].transpose(2, 0, 1))


def test_validation_is_carved_where_there_is_none(tmp_path: Path) -> None:
    subset = np.repeat([0, 2], (40, 20))
    group = np.r_[np.repeat(np.arange(10), 2), np.full(40, -1)]
    data = read(tmp_path, {**plain(), "split": subset, "dup_group": group}, val_fraction=0.25)
    assert len(data.train) + len(data.val) == 40
    assert 8 <= len(data.val) <= 12
    assert not set(data.train.row // 2) & set(data.val.row[data.val.row < 20] // 2)
    again = open_data(f"arrays:{tmp_path / 'faces.npz'}", val_fraction=0.25)
    assert np.array_equal(again.val.row, data.val.row)
    other = open_data(f"arrays:{tmp_path / 'faces.npz'}", val_fraction=0.25, seed=5)
    assert not np.array_equal(other.val.row, data.val.row)


def test_class_names_may_be_bytes(tmp_path: Path) -> None:
    data = read(tmp_path, {**plain(), "class_names": np.array([b"happy", b"sad"])})
    assert data.class_names == ("happiness", "sadness")


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    read(tmp_path, plain())
    changed = plain()
    changed["images"] += 100
    path = write(tmp_path, changed)
    os.utime(path, ns=(1, 1))
    assert np.asarray(open_data(f"arrays:{path}").train.images).min() == 100


def test_ferplus_layout(tmp_path: Path) -> None:
    data = read(tmp_path, ferplus(), val_fraction=0.3)
    assert data.class_names[0] == "neutral"
    assert (len(data.train) + len(data.val), len(data.test)) == (14, 3)
    assert data.test.row.tolist() == [114, 115, 116]
    assert data.test.label.tolist() == [6, 5, 4]  # anger, disgust, fear
    truth = dict(zip(data.train.row.tolist(), data.train.true_label.tolist(), strict=True))
    truth |= dict(zip(data.val.row.tolist(), data.val.true_label.tolist(), strict=True))
    assert [truth[row] for row in (100, 101, 102, 103)] == [0, -1, -1, 1]
    assert "12 of these 14" in data.notes[0]
    assert "2 of 6 images have none" in data.notes[1]
    assert data.notes[2].startswith("1 of 4 test images are copies of training images")
    everything = open_data(f"arrays:{tmp_path / 'faces.npz'}", deduplicate=False)
    assert everything.test.row.tolist() == [114, 115, 116, 119]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"images": np.zeros((60, 4, 5))},
            r"npz: images: expected uint8 .*got float64 \[60, 4, 5\]",
        ),
        ({"images": np.zeros((60, 4), dtype=np.uint8)}, r"images: .*got uint8 \[60, 4\]"),
        ({"labels": np.zeros(59, dtype=np.int64)}, r"labels: expected integers \[60\].*\[59\]"),
        ({"labels": np.zeros(60)}, "labels: .*got float64"),
        (
            {"labels": np.full(60, 2)},
            r"labels\[0\]: expected -1 .*to 1.*got 2 \(60 such rows\)",
        ),
        ({"true_labels": np.full(60, -2)}, r"true_labels\[0\]: expected -1 \(none\) to 1.*got -2"),
        ({"split": np.full(60, 3)}, r"split\[0\]: expected 0 \(train\).*got 3"),
        ({"split": np.zeros(60, dtype=np.int64)}, "test: expected at least one image"),
        ({"class_names": np.array([1, 2])}, "class_names: expected text"),
        ({"class_names": np.array(["angry", "bored"])}, r"npz: class name: .*got 'bored'"),
        ({"class_names": np.array(["angry", "mad"])}, "both mean anger"),
        ({"class_names": np.array(["sad", "mad", "happy"])}, "class happiness.*none in train"),
        ({"images": np.array([{}], dtype=object)}, "expected an .npz file of plain arrays"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, {**plain(), **changed})


@pytest.mark.parametrize("name", ["images", "labels", "split", "class_names"])
def test_a_missing_array_lists_the_found(tmp_path: Path, name: str) -> None:
    arrays = plain()
    del arrays[name]
    found = ", ".join(sorted(arrays))
    with pytest.raises(DataError, match=f"{name}: expected an array .*got only {found}"):
        read(tmp_path, arrays)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"usage": np.full(20, 2)}, r"usage: expected 0 \(Training\) .*got \[2\]"),
        (
            {"label_fer2013": np.full(20, 7)},
            r"label_fer2013\[0\]: expected -1 .*to 6.*got 7",
        ),
        ({"near_train": np.array(["x"] * 20)}, r"near_train: expected numbers \[20\]"),
    ],
)
def test_bad_ferplus_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, {**ferplus(), **changed})


def test_files_that_are_no_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.npz: expected .* file .*got nothing there"):
        open_data(f"arrays:{tmp_path / 'absent.npz'}")
    with pytest.raises(DataError, match="got no path"):
        open_data("arrays:")
    with pytest.raises(DataError, match="got a folder"):
        open_data(f"arrays:{tmp_path}")
    text = tmp_path / "text.npz"
    text.write_text("emotion,pixels")
    single = tmp_path / "single.npy"
    np.save(single, np.zeros(3))
    cut = tmp_path / "cut.npz"
    cut.write_bytes(write(tmp_path, plain()).read_bytes()[:-40])
    for path in (text, single, cut):
        with pytest.raises(DataError, match=f"{path.name}: expected an .npz file of plain arrays"):
            open_data(f"arrays:{path}")


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL.name} with real faces is not on this machine")
def test_real_noisy_faces() -> None:
    data = open_data(f"arrays:{REAL}")
    label = np.concatenate([data.train.label, data.val.label])
    truth = np.concatenate([data.train.true_label, data.val.true_label])
    counts = dict(zip(data.class_names, np.bincount(label).tolist(), strict=True))
    assert counts == {
        "anger": 556,
        "disgust": 61,
        "fear": 571,
        "happiness": 1005,
        "sadness": 673,
        "surprise": 442,
        "neutral": 692,
    }
    assert len(data.test) == 1000
    assert np.bincount(data.test.label).tolist() == [395, 290, 105, 99, 15, 5, 91]
    is_known = truth >= 0
    assert is_known.sum() == 3457
    assert (truth != label)[is_known].mean() == pytest.approx(0.318, abs=0.0005)
    start = time.perf_counter()
    open_data(f"arrays:{REAL}")
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("layout", [plain, ferplus])
def test_verified_labels_are_read_in_both_layouts(layout: Any, tmp_path: Path) -> None:
    arrays = layout()
    num = len(arrays["images"])
    if layout is ferplus:  # test images, some of which are left out, come first
        arrays = {x: v if x == "class_names" else v[::-1] for x, v in arrays.items()}
    is_test = arrays["split"] == 2 if layout is plain else arrays["usage"] == 1
    native = np.where(is_test, -1, np.arange(num) % 2)
    native[np.flatnonzero(~is_test)[1]] = -2
    sample = (np.arange(num) % 4 < 2).astype(np.int8)
    options = {"deduplicate": False, "use_verified": False}
    data = read(tmp_path, arrays | {"verified_labels": native.astype(np.int8)}, **options)
    chosen = read(
        tmp_path, arrays | {"verified_labels": native, "verified_sample": sample}, **options
    )
    names = [str(name) for name in arrays["class_names"]]
    place = np.argsort(arrays["row"]) if layout is ferplus else np.arange(num)
    first = 100 if layout is ferplus else 0
    for found, faces in ((data.verified, data.train), (data.verified_val, data.val)):
        assert found is not None
        for label, row in zip(found.label.tolist(), place[faces.row - first].tolist(), strict=True):
            number = int(native[row])
            expected = data.class_names.index(canonical_name(names[number])) if number >= 0 else -2
            assert label == expected
    assert data.verified is not None
    assert chosen.verified is not None
    assert data.verified.is_random.all()
    assert np.array_equal(chosen.verified.is_random, sample[place[chosen.train.row - first]] == 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"verified_labels": np.full(60, 2)}, r"verified_labels\[0\]: expected -1 .* got 2"),
        ({"verified_labels": np.full(60, -3)}, r"verified_labels\[0\]: expected -1 .* got -3"),
        ({"verified_labels": np.zeros(60)}, r"verified_labels: expected integers \[60\]"),
        ({"verified_sample": np.zeros(60, int)}, "verified_labels: expected an array"),
        (
            {"verified_labels": np.zeros(60, int), "verified_sample": np.full(60, 2)},
            r"verified_sample\[0\]: expected 0 \(picked\) or 1 \(random\), got 2",
        ),
        (
            {"verified_labels": np.zeros(60, int)},
            r"faces\.npz:2: expected a training or validation",
        ),
    ],
)
def test_bad_verified_labels_are_refused(
    columns: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, plain() | columns)


def zipped(path: Path, header: bytes, data: bytes, **changes: int) -> Path:
    """An archive with one array, whose entry in the directory says something else."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", header + data)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    for place in (at + 8, 6) if "flags" in changes else ():
        content[place] |= changes["flags"]
    for place in (at + 10, 8) if "compression" in changes else ():
        content[place : place + 2] = changes["compression"].to_bytes(2, "little")
    path.write_bytes(content)
    return path


def header_of(descr: str, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


@pytest.mark.parametrize(
    ("descr", "shape", "changes", "message"),
    [
        ("|u1", (8,), {"flags": 1}, r"images\.npy is encrypted"),
        ("|u1", (8,), {"compression": 99}, r"compression method"),
        ("|u1", (2 * 10**12,), {}, r"declares uint8 \[2000000000000\], .* and holds 8"),
        ("|u1", (-8,), {}, "declares"),
        ("|O", (1,), {}, "holds objects"),
    ],
)
def test_archives_are_refused_before_memory_is_taken(
    descr: str, shape: tuple[int, ...], changes: dict[str, int], message: str, tmp_path: Path
) -> None:
    path = zipped(tmp_path / "x.npz", header_of(descr, shape), bytes(8), **changes)
    with pytest.raises(DataError, match=message) as caught:
        list_records(f"arrays:{path}")
    assert "\n" not in str(caught.value)


def test_arrays_that_no_memory_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((20, 1000, 1000), np.uint8))
    monkeypatch.setattr(npz, "_memory", lambda: 10**7)
    with pytest.raises(DataError, match="more than memory holds"):
        list_records(f"arrays:{tmp_path / 'x.npz'}")
