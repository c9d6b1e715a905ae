"""Files of verified labels: what they may say of a data set, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from fer_ray.data import CANNOT_TELL, DataError, Verified
from fer_ray.data.packs.pack import VERIFIED, Pack
from fer_ray.data.packs.store import write_pack
from fer_ray.data.verified_file import read_verified, verified_of
from tests.data.files import CLASS_NAMES

# Images 0 and 1 are faces of one photograph; the last two are test images, of which one has the
# number of a training image.
SUBSET = (0, 0, 0, 0, 1, 2, 2)
ROW = (10, 11, 12, 13, 14, 10, 20)
PATHS = ("a.jpg", "a.jpg", "b.jpg", "dir/c, d.jpg", "e.jpg", "f.jpg", "g.jpg")


def make_pack(folder: Path, verified: np.ndarray | None = None) -> Pack:
    num = len(ROW)
    images = np.arange(num * 16, dtype=np.uint8).reshape(num, 1, 4, 4)
    columns = {
        "label": np.array([0, 1, 2, -1, 1, 0, 2]),
        "true_label": np.full(num, -1),
        "subset": np.array(SUBSET),
        "row": np.array(ROW),
        "path": np.array(PATHS),
        "original_size": np.tile([4, 4], (num, 1)),
    }
    return write_pack(
        folder,
        images=images,
        columns=columns if verified is None else columns | {VERIFIED: verified},
        name="folder:faces",
        class_names=CLASS_NAMES,
        notes=(),
        more={},
    )


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return make_pack(tmp_path / "pack")


def read(pack: Pack, text: str) -> Verified:
    path = pack.folder.parent / "verified.csv"
    path.write_text(text, encoding="utf-8")
    return read_verified(path, pack)


def test_images_are_named_by_index(pack: Pack) -> None:
    found = read(
        pack, "index,label,sample\n11,Happy,random\n12,3_angry,picked\n13,,random\n14,,random\n"
    )
    assert found.label.tolist() == [-1, 1, 2, CANNOT_TELL, CANNOT_TELL, -1, -1]
    assert found.is_random.tolist() == [False, True, False, True, True, False, False]
    assert found.given.tolist() == [0, 1, 2, -1, 1, 0, 2]
    assert found.is_told.tolist() == [False, True, True, False, False, False, False]
    # Image 2 was picked, and nobody gave image 3 a label that could be wrong.
    assert found.counts_for_noise.tolist() == [False, True, False, False, True, False, False]


def test_images_are_named_by_path_and_other_columns_do_not_count(pack: Pack) -> None:
    text = '\ufeffwho,label,path, sample\nA,neutral,"dir/c, d.jpg",random\n\nB,sad,e.jpg,random\n'
    with pytest.raises(DataError, match=r"verified\.csv:4: label: expected one of neutral"):
        read(pack, text)
    found = read(pack, text.replace("sad", "joy"))
    assert found.label.tolist() == [-1, -1, -1, 0, 1, -1, -1]


def test_an_index_tells_faces_of_one_photograph_apart(pack: Pack) -> None:
    with pytest.raises(DataError, match=r"path 'a\.jpg', which is that of 2 images"):
        read(pack, "path,label,sample\na.jpg,happy,random\n")
    found = read(pack, "path,index,label,sample\na.jpg,11,happy,random\n,12,angry,random\n")
    assert found.label.tolist() == [-1, 1, 2, -1, -1, -1, -1]
    with pytest.raises(
        DataError, match=r"got index '12', path 'a\.jpg', which is that of no images"
    ):
        read(pack, "path,index,label,sample\na.jpg,12,happy,random\n")


def test_a_number_shared_with_a_test_image_is_that_of_the_training_image(pack: Pack) -> None:
    assert read(pack, "index,label,sample\n10,happy,random\n").label[0] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"verified\.csv:1: expected the columns label, sample, got an empty file"),
        ("10,happy,random\n", r":1: expected the columns label, sample"),
        ("index,label\n10,happy\n", "Missing: sample"),
        ("label,sample\nhappy,random\n", r":1: expected a column index or path.*got label, sample"),
        ("index,label,sample\n", r":1: expected .* a line per verified image, got no line"),
        (
            "index,label,sample\n99,happy,random\n",
            r":2: expected the index or path.*got index '99'",
        ),
        ("index,label,sample\n1e1,happy,random\n", r":2: .*got index '1e1', .* of no images"),
        ("path,label,sample\nx.jpg,happy,random\n", r":2: .*such as index 10 or path 'a\.jpg'"),
        ("index,path,label,sample\n,,happy,random\n", r":2: .*got neither"),
        ("index,label,sample\n10,happy,random\n10,sad,random\n", r":3: .*which is in line 2"),
        ("index,label,sample\n20,happy,random\n", r":2: expected a training .*got a test image"),
        ("path,label,sample\nf.jpg,happy,random\n", r":2: expected a training .*got a test image"),
        ("index,label,sample\n10,hapy,random\n", r":2: label: class name: .*Did you mean 'happy'"),
        ("index,label,sample\n10,contempt,random\n", r":2: label: .*Leave the label empty"),
        ("index,label,sample\n10,happy,rnd\n", r":2: sample: expected random .*got 'rnd'"),
        ("index,label,sample\n10,happy,\n", r":2: sample: expected random .*got ''"),
        ("index,label,sample\n10,happy\n", r":2: expected 3 values, got 2"),
    ],
)
def test_a_bad_file_is_refused_with_the_line(text: str, message: str, pack: Pack) -> None:
    with pytest.raises(DataError, match=message):
        read(pack, text)


def test_a_missing_file_is_named(pack: Pack) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: expected a csv file, got No such file"):
        verified_of(pack, "nowhere.csv")


def test_a_data_set_may_say_itself_what_is_verified(tmp_path: Path) -> None:
    columns = np.stack([[0, -1, CANNOT_TELL, -1, 2, -1, -1], [1, 0, 1, 0, 0, 0, 0]], axis=1)
    pack = make_pack(tmp_path / "pack", columns)
    found = verified_of(pack, None)
    assert found is not None
    assert found.label.tolist() == columns[:, 0].tolist()
    assert found.is_random.tolist() == (columns[:, 1] == 1).tolist()
    path = tmp_path / "verified.csv"
    path.write_text("index,label,sample\n11,happy,picked\n")
    other = verified_of(pack, str(path))  # goes before it
    assert other is not None
    assert other.label.tolist() == [-1, 1, -1, -1, -1, -1, -1]


def test_a_data_set_that_verifies_test_images_is_refused(tmp_path: Path) -> None:
    columns = np.stack([[-1, -1, -1, -1, -1, 0, -1], np.ones(7, dtype=np.int64)], axis=1)
    with pytest.raises(DataError, match=r"verified_labels of f\.jpg: expected a training .*test"):
        verified_of(make_pack(tmp_path / "pack", columns), None)


def test_nothing_verified_is_none(pack: Pack, tmp_path: Path) -> None:
    assert verified_of(pack, None) is None
    columns = np.stack([np.full(7, -1), np.ones(7, dtype=np.int64)], axis=1)
    assert verified_of(make_pack(tmp_path / "other", columns), None) is None
