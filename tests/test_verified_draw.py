"""Files of verified labels that benchmarks draw where the truth is known."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.verified import Sample, draw, write_verified
from fer_ray.data import CANNOT_TELL, noise_of, open_data
from tests.data.files import drawn

SPEC = "synthetic:train=1000,test=70,size=16"


@pytest.mark.parametrize(("sample", "num"), [("random", 200), ("even", 196)])
def test_what_is_drawn_is_the_truth_of_training_images(
    sample: Sample, num: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_RAY_CACHE", str(tmp_path / "cache"))
    paths = [tmp_path / name for name in ("one.csv", "two.csv", "other.csv")]
    found = [
        write_verified(SPEC, path, num, sample, seed)
        for path, seed in zip(paths, (0, 0, 1), strict=True)
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    data = open_data(SPEC, verified=str(paths[0]))
    seen, given = [], []
    for part, faces in ((data.verified, data.train), (data.verified_val, data.val)):
        assert part is not None
        assert np.array_equal(part.label[part.is_seen], faces.true_label[part.is_seen])
        seen.append(part.is_seen)
        given.append(part.given[part.is_seen])
    assert np.concatenate(seen).sum() == found[0]
    counts = np.bincount(np.concatenate(given), minlength=7)
    if sample == "even":
        assert counts.max() == 28  # rare labels have fewer images
    else:
        assert found[0] == num
        assert counts.max() > 40
    assert noise_of(data) is not None


def test_images_of_unknown_truth_are_those_that_nobody_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_RAY_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "faces.npz"
    label = np.arange(60) // 3 % 2
    np.savez(
        path,
        images=drawn(60, 20),
        labels=label,
        true_labels=np.where(np.arange(60) % 2, label, -1),
        split=np.arange(60) % 3,
        class_names=np.array(["angry", "neutral"]),
    )
    spec, out = f"arrays:{path}", tmp_path / "verified.csv"
    assert write_verified(spec, out, 100) == 10
    assert write_verified(spec, out, 100, is_doubtful=True) == 20
    data = open_data(spec, verified=str(out), deduplicate=False)
    assert data.verified is not None
    assert (data.verified.label == CANNOT_TELL).sum() == 10


def test_as_many_of_every_label_are_drawn_by_lot() -> None:
    label = np.repeat([0, 1, 2], [80, 15, 5])
    rows = draw(label, 30, "even", np.random.default_rng(0))
    assert np.bincount(label[rows]).tolist() == [10, 10, 5]
    assert len(np.unique(rows)) == 25
    assert rows[:10].tolist() != list(range(10))
