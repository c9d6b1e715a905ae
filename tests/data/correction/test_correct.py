"""Corrected labels come back from the format of every data set; originals and the rest stay."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_ray.data import DataError, list_records, open_data, prepared
from fer_ray.data.correction.correct import correct
from fer_ray.data.packs.pack import Pack
from fer_ray.data.records import TEST, TRAIN, Records
from fer_ray.data.verified_file import read_verified
from tests.data.files import drawn, files_of
from tests.data.readers import (
    test_affectnet,
    test_arrays,
    test_expw,
    test_fer2013,
    test_folder,
    test_raf_db,
)

Key = tuple[bytes, tuple[int, ...], int]
SIZE = 130
CLASSES = ("happy", "Anger", "2_sad")


def folder(root: Path, *, tops: tuple[str, ...]) -> Path:
    names = [f"{top}{name}/{i}.png" for top in tops for name in CLASSES for i in range(8)]
    return test_folder.touch(root, *names)


def fer2013_folders(root: Path) -> Path:
    test_fer2013.image_folders(root)
    more = ("train/happy/Training_2.jpg", "train/sad/Training_3.jpg", "train/fear/Training_4.jpg")
    return test_folder.touch(root, *more, "test/happy/PrivateTest_9.jpg")


def fer2013_table(root: Path) -> Path:
    """Fourteen rows of training and two of PublicTest; the last is PrivateTest."""
    usages = ["Training"] * 14 + ["PublicTest"] * 2 + ["PrivateTest"]
    rows = [(i % 7, bytes([i]) * 48 * 48, usage) for i, usage in enumerate(usages)]
    return test_fer2013.write_table(root / "fer2013.csv", rows)


def expw(root: Path) -> Path:
    lines = [f"p{i // 2}.jpg {i % 2} {i} 20 90 {i + 60} {i} {i % 7}" for i in range(70)]
    return test_expw.expw(root, lines)


def arrays(root: Path, content: dict[str, Any]) -> Path:
    root.mkdir()
    return test_arrays.write(root, content)


def noise_list(root: Path) -> str:
    test_raf_db.release(root / "basic")
    test_raf_db.write_noise(root / "noise.txt", "scn")
    return f"raf-db:{root / 'basic'},noise={root / 'noise.txt'}"


CASES: dict[str, Callable[[Path], str]] = {
    "folder": lambda root: f"folder:{folder(root / 'x', tops=('train/', 'val/', 'test/'))}",
    "folder, no test": lambda root: f"folder:{folder(root / 'x', tops=('train/', 'valid/'))}",
    "folder, no split": lambda root: f"folder:{folder(root / 'x', tops=('',))}",
    "raf-db": lambda root: f"raf-db:{test_raf_db.release(root / 'basic')}",
    "raf-db, Kaggle": lambda root: f"raf-db:{test_raf_db.kaggle(root / 'x', with_csv=False)}",
    "raf-db, noise": noise_list,
    "affectnet, lists": lambda root: f"affectnet:{test_affectnet.lists(root / 'x')},classes=7",
    "affectnet, arrays": lambda root: f"affectnet:{test_affectnet.arrays(root / 'x')}",
    "fer2013, csv": lambda root: f"fer2013:{fer2013_table(root)}",
    "fer2013, folders": lambda root: f"fer2013:{fer2013_folders(root / 'x')}",
    "expw": lambda root: f"expw:{expw(root / 'x')},min_confidence=20",
    "arrays": lambda root: f"arrays:{arrays(root, test_arrays.plain())}",
    "arrays, FER+": lambda root: f"arrays:{arrays(root, test_arrays.ferplus())}",
}


def fill(records: Records) -> None:
    """Put a face of its own into every image file that is listed."""
    if records.pixels is None:
        paths = sorted(set(records.path))
        for path, image in zip(paths, drawn(len(paths), SIZE), strict=True):
            (records.root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(records.root / path, format="png")


def known(records: Records) -> dict[Key, str]:
    """Class of every image, by its content, its box and its split."""
    found = {}
    for i, path in enumerate(records.path):
        pixels = None if records.pixels is None else records.pixels[i].tobytes()
        box = () if records.box is None else tuple(records.box[i].tolist())
        content = pixels or (records.root / path).read_bytes()
        key = (content, box, int(records.subset[i]))
        found[key] = records.class_names[int(records.label[i])]
    assert len(found) == len(records)
    return found


def answers(pack: Pack, path: Path, num: int = 3) -> dict[int, str]:
    """Write a file that gives some training images another class, and says of one nothing."""
    size = np.bincount(pack.label[pack.subset == TRAIN])
    rows = np.flatnonzero((pack.subset == TRAIN) & (size[pack.label] > 1))
    changed: dict[int, str] = {}
    for i in rows.tolist():
        own = pack.label[i]
        if size[own] > 1 and len(changed) < num:
            size[own] -= 1
            changed[i] = pack.class_names[(own + 1) % len(pack.class_names)]
    lines = [f"{pack.row[i]},{pack.path[i]},{name},random" for i, name in changed.items()]
    unclear = next(i for i in rows.tolist() if i not in changed)
    lines.append(f"{pack.row[unclear]},{pack.path[unclear]},,random")
    path.write_text("\n".join(["index,path,label,sample", *lines]) + "\n")
    return changed


@pytest.mark.parametrize("case", CASES)
def test_a_corrected_data_set_differs_in_the_corrected_labels_alone(
    case: str, tmp_path: Path
) -> None:
    spec = CASES[case](tmp_path / "data")
    fill(list_records(spec))
    pack = prepared(spec, size=None if spec.startswith("arrays") else 32)
    changed = answers(pack, tmp_path / "labels.csv", num=2)
    before, old = known(list_records(spec)), files_of(tmp_path / "data")

    written = correct(spec, pack, read_verified(tmp_path / "labels.csv", pack))

    after = known(list_records(written.spec))
    assert after.keys() == before.keys()
    differ = {key: name for key, name in after.items() if name != before[key]}
    assert sorted(differ.values()) == sorted(changed.values())
    assert {code for _, _, code in differ} == {TRAIN}
    assert {key: x for key, x in files_of(tmp_path / "data").items() if key in old} == old
    assert "-corrected" in written.out.name
    with pytest.raises(DataError, match="something there"):
        correct(spec, pack, read_verified(tmp_path / "labels.csv", pack))


def test_a_split_made_by_the_reader_stays(tmp_path: Path) -> None:
    """Test images are chosen by a hash of their path, which changes with the class folder."""
    spec = CASES["folder, no split"](tmp_path)
    fill(list_records(spec))
    pack = prepared(spec, size=32)
    answers(pack, tmp_path / "labels.csv", num=6)
    before = known(list_records(spec))
    written = correct(spec, pack, read_verified(tmp_path / "labels.csv", pack), tmp_path / "new")
    assert sorted(path.name for path in written.out.iterdir()) == ["test", "train"]
    after = known(list_records(written.spec))
    assert after.keys() == before.keys()
    assert {code for _, _, code in after} == {TRAIN, TEST}


def test_what_was_left_out_of_the_test_set_is_there_all_the_same(tmp_path: Path) -> None:
    spec = CASES["fer2013, folders"](tmp_path)
    fill(list_records(spec))
    pack = prepared(spec, size=32)
    answers(pack, tmp_path / "labels.csv")
    written = correct(spec, pack, read_verified(tmp_path / "labels.csv", pack))
    assert (written.out / "test" / "happy" / "PrivateTest_9.jpg").is_file()


def test_images_are_copied_where_links_are_not_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise OSError("no links here")

    spec = CASES["folder"](tmp_path)
    fill(list_records(spec))
    pack = prepared(spec, size=32)
    answers(pack, tmp_path / "labels.csv")
    monkeypatch.setattr(os, "symlink", refuse)
    written = correct(spec, pack, read_verified(tmp_path / "labels.csv", pack))
    files = [path for path in written.out.rglob("*") if path.is_file()]
    assert len(files) == 72
    assert not any(path.is_symlink() for path in files)


@pytest.mark.parametrize("kind", ["synthetic", "pack"])
def test_packs_and_drawn_faces_become_packs(kind: str, tmp_path: Path) -> None:
    drawn_spec = "synthetic:train=70,test=14,size=16"
    spec = drawn_spec
    if kind == "pack":
        first = prepared(drawn_spec)
        answers(first, tmp_path / "first.csv")
        verified = read_verified(tmp_path / "first.csv", first)
        spec = correct(drawn_spec, first, verified, tmp_path / "pack").spec
    pack = prepared(spec)
    changed = answers(pack, tmp_path / "labels.csv")
    verified = read_verified(tmp_path / "labels.csv", pack)
    written = correct(spec, pack, verified, tmp_path / "new")
    new = prepared(written.spec)
    assert np.flatnonzero(new.label != pack.label).tolist() == sorted(changed)
    assert np.array_equal(new.true_label, pack.true_label)
    assert np.array_equal(new.images, pack.images)
    assert open_data(written.spec).notes[-1] == "3 labels were corrected by a person"


def test_nothing_is_written_if_nothing_changes(tmp_path: Path) -> None:
    spec = "synthetic:train=70,test=14,size=16"
    pack = prepared(spec)
    name = pack.class_names[int(pack.label[0])]
    (tmp_path / "labels.csv").write_text(f"index,label,sample\n{pack.row[0]},{name},random\n")
    with pytest.raises(DataError, match="nothing would change"):
        correct(spec, pack, read_verified(tmp_path / "labels.csv", pack), tmp_path / "new")
    assert not (tmp_path / "new").exists()
