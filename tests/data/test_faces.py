import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fer_ray.data import DataError, FaceData, Faces
from fer_ray.data.faces import UNKNOWN, ImageRows, stratified_split

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


@st.composite
def rows(draw: Callable[[Any], Any]) -> tuple[np.ndarray, np.ndarray]:
    num = draw(st.integers(1, 80))
    label = draw(hnp.arrays(np.int64, num, elements=st.integers(UNKNOWN, 4)))
    group = draw(hnp.arrays(np.int64, num, elements=st.integers(-3, 8)))
    return label, group


@given(rows=rows(), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_split_properties(rows: tuple[np.ndarray, np.ndarray], fraction: float, seed: int) -> None:
    label, group = rows
    is_val = stratified_split(label, group, fraction, seed)
    assert np.array_equal(is_val, stratified_split(label, group, fraction, seed))
    for value in np.unique(label):
        assert not is_val[label == value].all()
    assert not is_val[label == UNKNOWN].any()
    for copies in np.unique(group[group >= 0]):
        assert len(set(is_val[group == copies].tolist())) == 1


@given(
    label=hnp.arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 4)),
    fraction=st.floats(0.01, 0.99),
)
def test_without_copies_every_class_gives_its_share(label: np.ndarray, fraction: float) -> None:
    is_val = stratified_split(label, np.full(len(label), NO_COPIES), fraction, seed=0)
    for value in np.unique(label):
        of_class = label == value
        wanted = min(max(round(fraction * of_class.sum()), 1), of_class.sum() - 1)
        assert is_val[of_class].sum() == wanted


def test_split_depends_on_the_seed() -> None:
    label, group = np.zeros(100, dtype=np.int64), np.full(100, NO_COPIES)
    assert not np.array_equal(
        stratified_split(label, group, 0.2, 0), stratified_split(label, group, 0.2, 1)
    )


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_split_refuses_a_share_outside(fraction: float) -> None:
    with pytest.raises(ValueError, match="val_fraction: expected a share between 0 and 1"):
        stratified_split(np.zeros(3, dtype=np.int64), np.full(3, NO_COPIES), fraction, 0)


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
