"""Noise and imbalance of every kind against their definitions; the truth stays known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fer_ray.core.label_noise import FER2013_TRANSITION
from fer_ray.data import DataError
from fer_ray.data.corruption import corrupt, read_list, read_transition
from fer_ray.data.packs.pack import Pack
from fer_ray.data.packs.store import write_pack
from fer_ray.data.subsets import pack_faces
from tests.data.files import drawn, files_of

SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
THREE = ("neutral", "happiness", "anger")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """2,100 images of three classes, a seventh each val and test; some labels wrong, truth known
    of a few."""
    num = 2100
    label = np.arange(num) % 3
    true_label = np.where(np.arange(num) < 21, (label + 1) % 3, -1)
    images = np.random.default_rng(0).integers(0, 256, (num, 1, 4, 4), dtype=np.uint8)
    return write_pack(
        tmp_path_factory.mktemp("packs") / "clean",
        images=images,
        columns={
            "label": label,
            "true_label": true_label,
            "subset": np.repeat([0, 1, 2], [1500, 300, 300]),
            "row": np.arange(num) + 5,
            "path": np.array([f"{'ab'[i % 2]}/{i // 2:04d}.jpg" for i in range(num)]),
            "original_size": np.tile([4, 4], (num, 1)),
        },
        name="folder:faces",
        class_names=THREE,
        notes=["a note"],
        more={},
    )


def flips(made: Pack, subset: int) -> np.ndarray:
    """P(given | true) as it came out."""
    rows = made.subset == subset
    counts = np.zeros((3, 3))
    np.add.at(counts, (made.true_label[rows], made.label[rows]), 1)
    shares: np.ndarray = counts / counts.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        ("symmetric:0.3", [[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]]),
        # Neutral is taken for sadness, which is not here, and anger for fear.
        ("asymmetric:0.4", [[1, 0, 0], [0.4, 0.6, 0], [0, 0, 1]]),
        (
            "asymmetric:angry>happy=0.25,angry>neutral=0.5",
            [[1, 0, 0], [0, 1, 0], [0.5, 0.25, 0.25]],
        ),
    ],
)
def test_labels_go_wrong_as_often_as_asked(
    noise: str, expected: Sequence[Sequence[float]], pack: Pack, tmp_path: Path
) -> None:
    made = corrupt(pack, noise, None, 0, tmp_path / "noisy")
    for subset in (0, 1):
        np.testing.assert_allclose(flips(made, subset), expected, atol=0.12 if subset else 0.07)
    # The truth is the data set's own where it is known, else the label it came with.
    assert np.array_equal(made.true_label[:21], pack.true_label[:21])
    assert np.array_equal(made.true_label[21:], pack.label[21:])
    is_test = pack.subset == 2
    assert np.array_equal(made.label[is_test], pack.label[is_test])
    assert np.array_equal(made.images, pack.images)
    assert np.array_equal(made.row, pack.row)
    assert made.notes == ("a note", f"corrupted: noise {noise}, seed 0")


def test_a_matrix_is_read_by_class_name(pack: Pack, tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(
        "true,anger,neutral,happiness\nhappy,0.5,0,0.5\nneutral,0,1,0\nangry,0.75,0.25,0\n"
    )
    transition = read_transition(f"matrix:{path}", THREE)
    assert transition.tolist() == [[1, 0, 0], [0, 0.5, 0.5], [0.25, 0, 0.75]]
    made = corrupt(pack, f"matrix:{path}", None, 0, tmp_path / "noisy")
    np.testing.assert_allclose(flips(made, 0), transition, atol=0.07)
    assert made.notes[-1] == "corrupted: noise matrix:matrix.csv, seed 0"  # no folder of this disk


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true,neutral,happiness\n", "Missing: anger"),
        ("true,neutral,happiness,anger\nneutral,1,0,x\n", r"m\.csv:2: anger: .*got 'x'"),
        ("true,neutral,happiness,anger\nneutral,1,0,0\n", "none for happiness, anger"),
        ("true,neutral,happiness,anger\nfear,1,0,0\n", r"m\.csv:2: .*got fear"),
        (
            "true,neutral,happiness,anger\nneutral,1,0,0\nhappy,0,1,0\nangry,0,0.5,0\n",
            "row 2: expected a sum of 1",
        ),
    ],
)
def test_a_matrix_that_is_none_is_refused_with_its_line(
    text: str, message: str, pack: Pack, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        corrupt(pack, f"matrix:{tmp_path / 'm.csv'}", None, 0, tmp_path / "noisy")
    assert not (tmp_path / "noisy").exists()


def test_a_list_says_the_labels_of_some_images(pack: Pack, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a/0000.jpg angry\nb/0003.jpg,neutral\n")
    made = corrupt(pack, f"list:{path}", None, 0, tmp_path / "noisy")
    # Rows 0 and 7; the others have the truth.
    expected = np.where(np.arange(2100) < 21, pack.true_label, pack.label)
    expected[[0, 7]] = (2, 0)
    assert np.array_equal(made.label, expected)


def test_a_list_may_name_files_without_their_folder_if_that_is_clear(tmp_path: Path) -> None:
    pack = small_pack(tmp_path / "small", ["x/a.jpg", "x/b.jpg", "y/b.jpg"])
    (tmp_path / "list.txt").write_text("a.jpg happy\n")
    assert read_list(tmp_path / "list.txt", pack) == {0: 1}


@pytest.mark.parametrize(
    "line", ["b.jpg happy", "c.jpg happy", "x/a.jpg", "x/a.jpg fear", "x/b.jpg happy"]
)
def test_a_line_that_cannot_be_followed_is_named(line: str, tmp_path: Path) -> None:
    pack = small_pack(tmp_path / "small", ["x/a.jpg", "x/b.jpg", "y/b.jpg"])
    (tmp_path / "list.txt").write_text(f"x/b.jpg happy\n{line}\n")
    with pytest.raises(DataError, match=r"list\.txt:2: "):
        read_list(tmp_path / "list.txt", pack)


def small_pack(out: Path, paths: list[str]) -> Pack:
    num = len(paths)
    return write_pack(
        out,
        images=drawn(num, 16)[:, None],
        columns={
            "label": np.arange(num) % 3,
            "true_label": np.full(num, -1),
            "subset": np.arange(num) % 3,
            "row": np.arange(num),
            "path": np.array(paths),
            "original_size": np.tile([16, 16], (num, 1)),
        },
        name="folder:small",
        class_names=THREE,
        notes=(),
        more={},
    )


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ("symmetric:1.5", "rate: expected a share"),
        ("symmetric", "expected symmetric:RATE"),
        ("salt:0.3", "expected symmetric:RATE"),
        ("fer2013", "noise of seven classes"),
        ("asymmetric:angry>happy", "true>given=RATE"),
        ("asymmetric:angry>fear=0.2", "got fear"),
        ("asymmetric:angry>happy=0.7,angry>neutral=0.7", "sum to at most 1"),
        ("asymmetric:angry>angry=0.2", "two classes"),
        ("matrix:nowhere.csv", "nowhere.csv"),
    ],
)
def test_noise_that_is_not_understood_is_refused(
    noise: str, message: str, pack: Pack, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        corrupt(pack, noise, None, 0, tmp_path / "noisy")


def test_the_noise_of_fer2013_is_its_measured_one() -> None:
    assert np.array_equal(read_transition("fer2013", SEVEN), FER2013_TRANSITION)


def test_training_classes_fall_off_and_the_rest_stays(pack: Pack, tmp_path: Path) -> None:
    made = corrupt(pack, None, 16.0, 0, tmp_path / "tail")
    truth = np.where(pack.true_label == -1, pack.label, pack.true_label)
    full = np.bincount(truth[pack.subset == 0])
    rows = made.row - 5
    kept = np.bincount(truth[rows[made.subset == 0]], minlength=3)
    order = np.argsort(-full, kind="stable")
    assert kept[order].tolist() == [full.max(), round(full.max() / 4), round(full.max() / 16)]
    assert np.array_equal(made.label, pack.label[rows])
    assert np.array_equal(made.true_label, pack.true_label[rows])  # no noise: nothing is assumed
    assert np.array_equal(made.images, pack.images[rows])
    assert [int((made.subset == code).sum()) for code in (1, 2)] == [300, 300]


def test_the_seed_decides_and_nothing_else(pack: Pack, tmp_path: Path) -> None:
    names = ("one", "again", "other")
    for name, seed in zip(names, (0, 0, 1), strict=True):
        corrupt(pack, "symmetric:0.3", 4.0, seed, tmp_path / name)
    one, again, other = (files_of(tmp_path / name) for name in names)
    assert one == again
    assert one["label.npy"] != other["label.npy"]
    assert one["row.npy"] != other["row.npy"]


def test_an_imbalance_below_one_or_a_place_that_is_taken_is_refused(
    pack: Pack, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"--imbalance: .*>= 1, got 0\.5"):
        corrupt(pack, None, 0.5, 0, tmp_path / "tail")
    with pytest.raises(DataError, match="expected no such folder"):
        corrupt(pack, None, 2.0, 0, tmp_path)


def test_a_corrupted_pack_is_trained_on_with_the_truth_beside(pack: Pack, tmp_path: Path) -> None:
    made = corrupt(pack, "symmetric:0.3", None, 0, tmp_path / "noisy")
    data = pack_faces(made, val_fraction=0.2, seed=0, deduplicate=True)
    assert 0.2 < (data.train.label != data.train.true_label).mean() < 0.4
    assert len(data.val) == 300
