import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_ray.data import DataError, FaceData, Faces
from fer_ray.data.faces import NOT_VERIFIED, Verified
from fer_ray.data.images import ImageRows

NO_COPIES = -1


def faces(label: list[int], size: int = 4) -> Faces:
    num = len(label)
    return Faces(
        images=np.zeros((num, 1, size, size + 1), dtype=np.uint8),
        label=np.array(label, dtype=np.int64),
        true_label=np.full(num, -1, dtype=np.int64),
        row=np.arange(num, dtype=np.int64),
    )


def face_data(**changed: Any) -> FaceData:
    subsets = {"train": faces([0, 1, 2]), "val": faces([0, 1]), "test": faces([2])}
    names = ("neutral", "happiness", "fear")
    return FaceData(**{"name": "toy", "class_names": names, **subsets, **changed})


def test_shapes_are_read_off_the_images() -> None:
    data = face_data()
    assert (data.num_classes, data.num_channels, data.image_size) == (3, 1, (4, 5))
    assert len(data.train) == 3


def test_data_are_shown_in_a_line() -> None:
    none = np.full(3, NOT_VERIFIED)
    seen = Verified(label=np.array([2, -1, -2]), is_random=none == 0, given=none)
    shown = repr(face_data(verified=seen))
    assert "train=Faces(3 images of 1 x 4 x 5)" in shown
    assert "verified=Verified(2 of 3 images)" in shown
    assert "array" not in shown


def test_take_keeps_a_view_of_adjoining_rows() -> None:
    whole = faces([0, 1, 2, 3])
    assert np.shares_memory(whole.take(np.array([1, 2])).images, whole.images)
    picked = whole.take(np.array([3, 1]))
    assert picked.label.tolist() == [3, 1]
    assert picked.row.tolist() == [3, 1]
    assert len(whole.take(np.array([], dtype=np.int64))) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": np.zeros((2, 1, 4, 4))}, "images: expected uint8 .* got float64"),
        ({"images": np.zeros((2, 4, 4), dtype=np.uint8)}, r"got uint8 \[2, 4, 4\]"),
        ({"images": np.zeros((2, 4, 4, 3), dtype=np.uint8)}, "1 or 3 channels"),
        ({"label": np.zeros(3, dtype=np.int64)}, r"label: expected int64 \[2\].*got int64 \[3\]"),
        ({"row": np.zeros(2)}, r"row: expected int64 \[2\].*got float64"),
    ],
)
def test_bad_arrays_are_refused(changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(faces([0, 1]), **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val": faces([])}, "toy: val: expected at least one image, got none"),
        ({"test": faces([0], size=8)}, r"test images: expected \[1, 4, 5\].*got \[1, 8, 9\]"),
        ({"train": faces([0, 1, 2, 7])}, r"train label\[3\]: expected -1 to 2 \(neutral, .*got 7"),
        ({"val": faces([-1])}, r"val label\[0\].*got -1"),
        (
            {"train": faces([0, 1, -1])},
            "class fear: expected at least one labelled training .*none in train",
        ),
        (
            {"train": faces([0, 1]), "val": faces([2])},
            "class fear.*none in train and 1 in val. Move some of its images to train",
        ),
        (
            {"test": replace(faces([0]), true_label=np.array([3], dtype=np.int64))},
            r"test true_label\[0\]: expected -1 to 2",
        ),
    ],
)
def test_bad_data_are_refused(changed: dict[str, Faces], message: str) -> None:
    with pytest.raises(DataError, match=message):
        face_data(**changed)


def test_errors_travel_between_processes() -> None:
    error = DataError.at("there", expected="this", got="that", remedy="Mend it.")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == "there: expected this, got that. Mend it."


def test_rows_of_a_map_stay_on_disk_until_they_are_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.arange(10 * 3 * 4, dtype=np.uint8).reshape(10, 3, 2, 2))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    numbers = np.arange(10)
    whole = Faces(images=images, label=numbers, true_label=numbers, row=numbers)
    few = whole.take(np.array([7, 2, 9])).take(np.array([2, 0]))
    assert isinstance(few.images, ImageRows)
    assert (few.images.shape, few.images.nbytes) == ((2, 3, 2, 2), 24)
    assert few.images.dtype == np.uint8
    assert np.array_equal(np.asarray(few.images), images[[9, 7]])
    assert np.array_equal(few.images[1], images[7])
    assert np.array_equal(few.images[np.array([1, 1, 0])], images[[7, 7, 9]])
    assert np.array_equal(few.images[:1], images[[9]])
    assert few.row.tolist() == [9, 7]
    with pytest.raises(IndexError):
        whole.take(np.array([3, 10])).images[:]
