"""What follows from verified labels: labels that are trained on, the noise, notes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_ray.core.noise_model import from_stratified_labels
from fer_ray.data import CANNOT_TELL, DataError, FaceData, Verified, noise_of, open_data
from fer_ray.data.__main__ import main
from tests.data.files import drawn

SPEC = "synthetic:train=600,test=70,size=16"
NAMES = ("angry", "happy", "neutral")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_RAY_CACHE", str(tmp_path / "cache"))


def write_csv(
    folder: Path, data: FaceData, num: int, *, sample: str = "random", blank: int = 0
) -> str:
    """Verify `num` images, some of them in validation, after `blank` whose class nobody tells."""
    faces = np.random.default_rng(0).permutation(
        [
            (row, true)
            for part in (data.train, data.val)
            for row, true in zip(part.row.tolist(), part.true_label.tolist(), strict=True)
        ]
    )[:num]
    lines = [
        f"{row},{'' if i < blank else data.class_names[true]},{sample}"
        for i, (row, true) in enumerate(faces)
    ]
    path = folder / f"verified-{num}-{sample}.csv"
    path.write_text("\n".join(["index,label,sample", *lines]) + "\n")
    return str(path)


def test_verified_labels_are_trained_on_and_given_ones_stay_known(tmp_path: Path) -> None:
    plain = open_data(SPEC)
    path = write_csv(tmp_path, plain, 200, blank=20)
    data = open_data(SPEC, verified=path)
    assert data.verified is not None
    assert data.verified_val is not None
    told = data.verified.is_told
    assert 100 < told.sum() < 180
    assert np.array_equal(data.train.row, plain.train.row)
    assert np.array_equal(data.train.label[told], plain.train.true_label[told])
    assert np.array_equal(data.train.label[~told], plain.train.label[~told])
    assert (data.train.label != plain.train.label).any()
    assert np.array_equal(data.verified.given, plain.train.label)
    # Validation images are reached, but what is validated on stays as noisy as it is.
    assert data.verified_val.is_told.any()
    assert np.array_equal(data.val.label, plain.val.label)
    assert np.array_equal(data.verified_val.given, plain.val.label)
    seen = data.verified.is_seen.sum() + data.verified_val.is_seen.sum()
    assert seen == 200
    num_blank = (data.verified.label == CANNOT_TELL).sum()
    assert num_blank + (data.verified_val.label == CANNOT_TELL).sum() == 20


def test_verified_labels_need_not_be_trained_on(tmp_path: Path) -> None:
    plain = open_data(SPEC)
    path = write_csv(tmp_path, plain, 200)
    data, used = (open_data(SPEC, verified=path, use_verified=x) for x in (False, True))
    assert np.array_equal(data.train.label, plain.train.label)
    assert any("not trained on (data.use_verified is false)" in note for note in data.notes)
    ours, theirs = noise_of(data), noise_of(used)
    assert ours is not None
    assert theirs is not None
    assert torch.equal(ours.transition, theirs.transition)  # counted against the given labels


def test_the_noise_is_that_of_random_images_of_both_subsets(tmp_path: Path) -> None:
    plain = open_data(SPEC)
    data = open_data(SPEC, verified=write_csv(tmp_path, plain, 300, blank=30))
    parts = (data.verified, data.verified_val)
    truth, label = (
        torch.cat([torch.from_numpy(getattr(x, key)[x.is_seen]) for x in parts if x is not None])
        for key in ("label", "given")
    )
    share = torch.bincount(torch.from_numpy(plain.train.label), minlength=7) / len(plain.train)
    found, expected = noise_of(data), from_stratified_labels(truth, label, share)
    assert found is not None
    assert found.num_verified == 270
    assert torch.equal(found.transition, expected.transition)
    assert torch.equal(found.prior, expected.prior)


def test_nothing_verified_is_no_noise_and_no_note() -> None:
    data = open_data(SPEC)
    assert data.verified is None
    assert data.verified_val is None
    assert noise_of(data) is None
    assert not any("verified" in note for note in data.notes)


@pytest.mark.parametrize(
    ("num", "sample", "blank", "told"),
    [(35, "random", 6, 29), (300, "picked", 0, 0), (35, "random", 5, 30)],
)
def test_too_few_random_images_estimate_nothing_and_it_is_said(
    num: int, sample: str, blank: int, told: int, tmp_path: Path
) -> None:
    path = write_csv(tmp_path, open_data(SPEC), num, sample=sample, blank=blank)
    data = open_data(SPEC, verified=path)
    is_enough = told >= 30
    assert (noise_of(data) is not None) == is_enough
    said = any(f"{told} random verified images are too few" in note for note in data.notes)
    assert said != is_enough


def test_a_class_that_was_never_seen_is_named(tmp_path: Path) -> None:
    plain = open_data(SPEC)
    rows = plain.train.row[plain.train.true_label != plain.class_names.index("disgust")][:200]
    by_row = dict(zip(plain.train.row.tolist(), plain.train.true_label.tolist(), strict=True))
    path = tmp_path / "verified.csv"
    lines = [f"{row},{plain.class_names[by_row[row]]},random" for row in rows.tolist()]
    path.write_text("\n".join(["index,label,sample", *lines]))
    data = open_data(SPEC, verified=str(path))
    assert any("no random verified image is of disgust: " in note for note in data.notes)
    assert noise_of(data) is not None


def arrays(**more: Any) -> Mapping[str, Any]:
    """Sixty faces of three classes, a third each to train, validate and test; label = truth."""
    return {
        "images": drawn(60, 20),
        "labels": np.arange(60) // 3 % 3,
        "split": np.arange(60) % 3,
        "class_names": np.array(NAMES),
    } | more


def test_validation_images_of_the_data_set_tell_nothing_of_the_training_labels(
    tmp_path: Path,
) -> None:
    verified = np.where(np.arange(60) % 3 == 2, -1, np.arange(60) // 3 % 3)
    np.savez(tmp_path / "faces.npz", **arrays(verified_labels=verified))
    data = open_data(f"arrays:{tmp_path / 'faces.npz'}", deduplicate=False)
    assert data.verified is not None
    assert data.verified_val is not None
    assert data.verified.is_random.all()
    assert data.verified_val.is_told.all()
    assert not data.verified_val.counts_for_noise.any()
    assert noise_of(data) is None  # 20 of 40


def test_a_class_must_keep_a_training_image(tmp_path: Path) -> None:
    verified = np.where((np.arange(60) % 3 == 0) & (np.arange(60) // 3 % 3 == 0), 1, -1)
    np.savez(tmp_path / "faces.npz", **arrays(verified_labels=verified))
    spec = f"arrays:{tmp_path / 'faces.npz'}"
    with pytest.raises(DataError, match=r"none of anger.*data\.use_verified=false"):
        open_data(spec, deduplicate=False)
    assert len(open_data(spec, deduplicate=False, use_verified=False).train) == 20


@pytest.mark.parametrize("command", ["prepare", "corrupt"])
def test_a_pack_keeps_what_its_data_set_says_and_takes_files(command: str, tmp_path: Path) -> None:
    verified = np.where(np.arange(60) % 6 == 0, np.arange(60) // 3 % 3, -1)
    np.savez(tmp_path / "faces.npz", **arrays(verified_labels=verified))
    out = tmp_path / "pack"
    more = [] if command == "prepare" else ["--noise", "symmetric:0.5"]
    assert main([command, f"arrays:{tmp_path / 'faces.npz'}", *more, "--out", str(out)]) == 0
    data = open_data(f"pack:{out}", deduplicate=False)
    assert data.verified is not None
    seen = data.train.row[data.verified.is_seen]
    assert seen.tolist() == list(range(0, 60, 6))
    assert np.array_equal(data.train.label[data.verified.is_seen], 2 - seen // 3 % 3)
    path = tmp_path / "verified.csv"
    path.write_text("path,label,sample\nfaces.npz:3,Happy,picked\n")
    by_path = open_data(f"pack:{out}", deduplicate=False, verified=str(path))
    assert by_path.verified is not None
    assert by_path.train.row[by_path.verified.is_seen].tolist() == [3]


def test_the_file_is_read_again_every_time(tmp_path: Path) -> None:
    path = tmp_path / "verified.csv"
    for row in (3, 4):
        path.write_text(f"index,label,sample\n{row},,random\n")
        data = open_data(SPEC, verified=str(path))
        parts = ((data.verified, data.train), (data.verified_val, data.val))
        seen = [faces.row[x.is_seen] for x, faces in parts if x is not None]
        assert np.concatenate(seen).tolist() == [row]


def test_what_is_verified_has_a_row_for_every_image() -> None:
    data, empty = open_data(SPEC), np.empty(0, dtype=np.int64)
    few = Verified(label=empty, is_random=empty == 0, given=empty)
    with pytest.raises(DataError, match=r"verified: expected \d+ rows, got 0"):
        replace(data, verified=few)


@given(st.integers(0, 2**31))
def test_rows_are_taken_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = Verified(
        label=rng.integers(-2, 3, 9), is_random=rng.random(9) < 0.5, given=rng.integers(-1, 3, 9)
    )
    rows = rng.integers(0, 9, 4)
    taken = whole.take(rows)
    for key in ("label", "is_random", "given", "is_seen", "is_told", "counts_for_noise"):
        assert np.array_equal(getattr(taken, key), getattr(whole, key)[rows])
