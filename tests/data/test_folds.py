"""Folds and validation images: shares by class, copies on one side, nothing that trains pays."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fer_ray.data import open_data
from fer_ray.data.faces import UNLABELED
from fer_ray.data.folds import SAME_PHOTO, carve_validation, carved, grouped_folds
from fer_ray.data.packs.copies import near_pairs
from fer_ray.data.packs.pack import NEAR_COPY, Pack
from fer_ray.data.packs.prepare import prepare
from tests.data.files import drawn, write_folder
from tests.paths import SHARED

pytestmark = pytest.mark.lowest

NO_COPIES = -1
FER2013 = SHARED / "data" / "fer2013plus" / "fer2013plus-small.npz"


@st.composite
def rows(draw: Callable[[Any], Any]) -> tuple[np.ndarray, np.ndarray]:
    num = draw(st.integers(1, 60))
    label = draw(hnp.arrays(np.int64, num, elements=st.integers(UNLABELED, 4)))
    group = draw(hnp.arrays(np.int64, num, elements=st.integers(-3, 8)))
    return label, group


@given(rows=rows(), fraction=st.floats(0.02, 0.98), seed=st.integers(0, 2**40))
@settings(max_examples=60)
def test_validation_properties(
    rows: tuple[np.ndarray, np.ndarray], fraction: float, seed: int
) -> None:
    label, group = rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        is_val = carve_validation(label, group, fraction, seed)
    assert np.array_equal(is_val, carve_validation(label, group, fraction, seed))
    assert not is_val[label == UNLABELED].any()
    for copies in np.unique(group[group >= 0]):
        assert len(set(is_val[group == copies].tolist())) == 1


@given(
    label=hnp.arrays(np.int64, st.integers(2, 200), elements=st.integers(0, 4)),
    fraction=st.floats(0.05, 0.95),
)
@settings(max_examples=60)
def test_without_copies_every_class_gives_its_share(label: np.ndarray, fraction: float) -> None:
    is_val = carve_validation(label, np.full(len(label), NO_COPIES), fraction, seed=0)
    for value in np.unique(label):
        num, num_val = int((label == value).sum()), int(is_val[label == value].sum())
        if num > 1:
            assert 1 <= num_val < num
        assert abs(num_val - fraction * num) <= 2 + 0.06 * num


@pytest.mark.parametrize(("fraction", "share"), [(0.15, 1 / 7), (0.25, 1 / 4), (0.4, 2 / 5)])
def test_the_share_is_that_of_the_fewest_folds_that_come_near(
    fraction: float, share: float
) -> None:
    label = np.repeat(np.arange(4), 350)
    is_val = carve_validation(label, np.full(len(label), NO_COPIES), fraction, seed=3)
    assert is_val.mean() == pytest.approx(share, abs=0.01)


def test_folds_are_even_and_hold_groups_together() -> None:
    rng = np.random.default_rng(0)
    label, group = rng.integers(0, 3, 300), np.repeat(np.arange(100), 3)
    fold = grouped_folds(label, group, 5, seed=1)
    assert sorted(set(fold)) == [0, 1, 2, 3, 4]
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 9
    for members in fold.reshape(100, 3):
        assert len(set(members)) == 1
    for value in range(3):
        counts = np.bincount(fold[label == value], minlength=5)
        assert counts.max() - counts.min() <= 8


def test_the_seed_decides() -> None:
    label, group = np.zeros(100, dtype=np.int64), np.full(100, NO_COPIES)
    first, second = (carve_validation(label, group, 0.2, seed) for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_a_share_outside_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="val_fraction: expected a share between 0 and 1"):
        carve_validation(np.zeros(3, dtype=np.int64), np.full(3, NO_COPIES), fraction, 0)


def pack_with_near_copies(tmp_path: Path) -> Pack:
    """60 training images; 2 i + 1 is nearly 2 i, for the first 20 pairs."""
    images = drawn(70, 24)
    for i in range(0, 40, 2):
        images[i + 1] = np.clip(images[i].astype(int) + 2, 0, 255)
    subset = np.repeat([0, 2], (60, 10))
    return prepare(
        write_folder(tmp_path / "faces", 70, size=24, pixels=images, subset=subset),
        None,
        tmp_path / "pack",
    )


def test_near_copies_stay_on_one_side(tmp_path: Path) -> None:
    pack = pack_with_near_copies(tmp_path)
    assert (pack.group == NO_COPIES).all()  # none are equal
    train = np.arange(60)
    is_val, notes = carved(pack, train, 0.3, 0)
    assert notes == [
        "40 of 60 training images are copies (pixel correlation above 0.92) of one another, in 20 "
        "groups of up to 2; a group is on one side of validation"
    ]
    assert is_val.any()
    for i in range(0, 40, 2):
        assert is_val[i] == is_val[i + 1]


def test_cuts_of_a_photograph_stay_on_one_side(tmp_path: Path) -> None:
    """A cut a pixel to the side, which is less like it than a copy that a test leaves out."""
    images = drawn(60, 25)
    pixels = images[:, :24, :24].copy()
    pixels[1:40:2] = images[0:40:2, :24, 1:]
    records = write_folder(tmp_path / "faces", 60, size=24, pixels=pixels, subset=np.zeros(60, int))
    pack = prepare(records, None, tmp_path / "pack")
    pairs, value = near_pairs(pack.images, SAME_PHOTO)
    is_cut = pairs[:, 0] + 1 == pairs[:, 1]
    assert ((value > SAME_PHOTO) & (value < NEAR_COPY) & is_cut).any()
    is_val, _ = carved(pack, np.arange(60), 0.3, 0)
    for i, j in pairs:
        assert is_val[i] == is_val[j]


@pytest.mark.skipif(not FER2013.exists(), reason=f"needs {FER2013.name}, which is not public")
def test_photographs_of_fer2013_stay_on_one_side() -> None:
    """4,000 real faces: the web had many photographs several times, cut otherwise."""
    data = open_data(f"arrays:{FER2013}")
    (note,) = [note for note in data.notes if "of one another" in note]
    assert int(note.split()[0].replace(",", "")) > 60
    images = np.concatenate([np.asarray(data.train.images[:]), np.asarray(data.val.images[:])])
    pairs, _ = near_pairs(images, SAME_PHOTO)
    assert len(pairs) > 30
    is_val = np.arange(len(images)) >= len(data.train)
    assert np.array_equal(is_val[pairs[:, 0]], is_val[pairs[:, 1]])


def test_among_too_many_only_equal_copies_are_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_ray.data.folds.MAX_COMPARED", 59)
    _, notes = carved(pack_with_near_copies(tmp_path), np.arange(60), 0.3, 0)
    assert notes == [
        "near copies among 60 training images were not looked for, because there are more than 59"
    ]


def test_what_was_carved_is_found_without_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that train open the same data, and do not pay for the import."""
    monkeypatch.setenv("FER_RAY_CACHE", str(tmp_path))
    spec = "synthetic:train=300,test=70,size=16"
    first = open_data(spec)
    code = (
        "import sys\n"
        "from fer_ray.data import open_data\n"
        f"data = open_data({spec!r})\n"
        "print(data.val.row.tolist(), 'sklearn' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"{first.val.row.tolist()} False\n"
    for damaged in (tmp_path / "folds").iterdir():
        damaged.write_bytes(b"")
    assert np.array_equal(open_data(spec).val.row, first.val.row)
