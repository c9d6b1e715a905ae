"""Data sets by spec: prepared once, and again as soon as any file they were made of has changed."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_ray.data import DataError, FaceData, open_data, prepared
from fer_ray.data.packs import building as building_module
from fer_ray.data.packs.stamps import are_unchanged, write_stamps
from tests.data.files import drawn

pytestmark = pytest.mark.lowest

NAMES = ("angry", "happy", "neutral")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_RAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Class folders with 12 training and 4 test images each."""
    root = tmp_path / "raw"
    faces = iter(drawn(48, 24, seed=3))
    for subset, num in (("train", 12), ("test", 4)):
        for name in NAMES:
            (root / subset / name).mkdir(parents=True)
            for i in range(num):
                Image.fromarray(next(faces)).save(root / subset / name / f"{i:03d}.png")
    return root


def touch_later(path: Path) -> None:
    """As if the file had been written a second later than it was."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def brightest(data: FaceData) -> int:
    return max(int(np.asarray(x.images).max()) for x in (data.train, data.val, data.test))


def num_prepared(capsys: pytest.CaptureFixture[str]) -> int:
    return capsys.readouterr().err.count("preparing")


def test_a_data_set_is_prepared_once(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, again = open_data(f"folder:{raw}"), open_data(f"folder:{raw}")
    assert num_prepared(capsys) == 1
    assert np.array_equal(first.train.row, again.train.row)


def test_an_image_replaced_under_its_old_name_is_read_again(raw: Path) -> None:
    assert brightest(open_data(f"folder:{raw}")) > 48
    for grey, path in enumerate(sorted(raw.rglob("*.png"))):
        Image.new("L", (24, 24), grey).save(path)
        touch_later(path)
    assert brightest(open_data(f"folder:{raw}")) == 47


def test_a_second_run_of_a_script_that_crops_faces_is_noticed(raw: Path) -> None:
    """Every file is written anew at once, under its name: nothing tells but size and time."""
    shutil.copytree(raw / "test", raw / "val")
    before = open_data(f"folder:{raw}", deduplicate=False)
    for path in raw.rglob("*.png"):
        Image.new("RGB", (24, 24)).save(path)
    data = open_data(f"folder:{raw}", deduplicate=False)
    assert len(data.train) + len(data.val) == len(before.train) + len(before.val)
    assert brightest(data) == 0
    with pytest.raises(DataError, match=r"no copy of another image, got none; .* of one shade"):
        open_data(f"folder:{raw}")


def test_a_file_moved_here_with_its_old_time_is_noticed(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in (*raw.rglob("*"), raw):
        os.utime(each, ns=(1, 1))
    open_data(f"folder:{raw}")
    old = raw / "train" / "happy" / "003.png"
    other = tmp_path / "other.png"
    other.write_bytes(old.read_bytes())
    os.utime(other, ns=(1, 1))
    other.replace(old)
    os.utime(old.parent, ns=(1, 1))
    open_data(f"folder:{raw}")
    assert num_prepared(capsys) == 2


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "a b"])
def test_names_with_odd_blanks_are_stamped_too(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text("")
    os.utime(file, ns=(1, 10**9))
    write_stamps(tmp_path, [str(file)], since_ns=10**11)
    assert are_unchanged(tmp_path)
    file.write_text("1")
    assert not are_unchanged(tmp_path)


def test_faces_that_are_unpacked_later_take_the_place_of_photographs(tmp_path: Path) -> None:
    root = tmp_path / "basic"
    lines = []
    for i, image in enumerate(drawn(63, 24)):
        stem = f"train_{i:05d}" if i < 49 else f"test_{i:04d}"
        lines.append(f"{stem}.jpg {i % 7 + 1}")
        for folder, name in (("original", f"{stem}.jpg"), ("aligned", f"{stem}_aligned.jpg")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image if folder == "original" else image // 16).save(
                root / folder / name
            )
    (root / "Image").mkdir()
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))
    (root / "original").rename(root / "Image" / "original")
    for each in (*root.rglob("*"), root):
        os.utime(each, ns=(1, 1))
    assert brightest(open_data(f"raf-db:{root}")) > 40
    (root / "aligned").rename(root / "Image" / "aligned")
    assert brightest(open_data(f"raf-db:{root}")) < 40


def test_one_changed_image_is_enough(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_data(f"folder:{raw}")
    touch_later(raw / "train" / "happy" / "003.png")
    open_data(f"folder:{raw}")
    assert num_prepared(capsys) == 2


def test_an_added_and_a_removed_image_are_noticed(raw: Path) -> None:
    before = open_data(f"folder:{raw}")
    Image.fromarray(drawn(60, 24)[55]).save(raw / "test" / "happy" / "new.png")
    assert len(open_data(f"folder:{raw}").test) == len(before.test) + 1
    (raw / "test" / "happy" / "new.png").unlink()
    assert len(open_data(f"folder:{raw}").test) == len(before.test)


def test_a_stranger_beside_the_data_changes_nothing(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_data(f"folder:{raw}")
    (raw / "labels.csv").symlink_to("/nonexistent")
    (raw / "readme.txt").write_text("mine")
    data = open_data(f"folder:{raw}")
    assert len(data.test) == 12


def test_an_annotation_corrected_in_place_is_read_again(tmp_path: Path) -> None:
    root, number = tmp_path / "AffectNet", 0
    faces = iter(drawn(8 * 16, 24))
    for top, num in (("train_set", 14), ("val_set", 2)):
        (root / top / "annotations").mkdir(parents=True)
        (root / top / "images").mkdir()
        for expression in range(8):
            for _ in range(num):
                Image.fromarray(next(faces)).save(root / top / "images" / f"{number}.jpg")
                np.save(root / top / "annotations" / f"{number}_exp.npy", np.array(str(expression)))
                number += 1

    def num_anger() -> int:
        data = open_data(f"affectnet:{root}")
        return sum(int((faces.label == 6).sum()) for faces in (data.train, data.val))

    assert num_anger() == 14
    path = root / "train_set" / "annotations" / f"{14 * 8 - 1}_exp.npy"
    assert str(np.load(path)) == "7"
    np.save(path, np.array("6"))
    touch_later(path)
    assert num_anger() == 15


def test_refresh_makes_it_again_whatever_the_cache_holds(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_data(f"folder:{raw}")
    open_data(f"folder:{raw}", refresh=True)
    assert num_prepared(capsys) == 2
    open_data(f"folder:{raw}")
    assert num_prepared(capsys) == 0


def test_a_process_that_has_mapped_the_old_images_keeps_them(raw: Path) -> None:
    data = open_data(f"folder:{raw}")
    before = np.asarray(data.train.images).copy()
    open_data(f"folder:{raw}", refresh=True)
    assert np.array_equal(np.asarray(data.train.images), before)


def test_a_damaged_pack_of_the_cache_is_made_again(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_data(f"folder:{raw}")
    (pack,) = (tmp_path / "cache" / "packs").glob("[!.]*")
    (pack / "label.npy").write_bytes(b"")
    assert len(open_data(f"folder:{raw}").test) == 12
    assert num_prepared(capsys) == 2


def test_arrays_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "faces.npz"

    def write(value: int) -> None:
        images = np.full((60, 20, 20), value, dtype=np.uint8)
        images[np.arange(60), 0, 0] = np.arange(60)
        np.savez(
            path,
            images=images,
            labels=np.arange(60) % 2,
            split=np.arange(60) % 3,
            class_names=np.array(["angry", "neutral"]),
        )

    write(50)
    assert brightest(open_data(f"arrays:{path}", deduplicate=False)) == 59
    write(200)
    touch_later(path)
    assert brightest(open_data(f"arrays:{path}", deduplicate=False)) == 200


def test_size_and_copies_hold_for_arrays_too(tmp_path: Path) -> None:
    path, images = tmp_path / "faces.npz", drawn(60, 32)
    images[5] = images[3]  # a test image copies a training image
    split = np.arange(60) % 3
    np.savez(
        path,
        images=images,
        labels=np.arange(60) % 2,
        split=split,
        class_names=np.array(["angry", "neutral"]),
    )
    own, small = open_data(f"arrays:{path}"), open_data(f"arrays:{path}", size=16)
    assert (own.image_size, small.image_size) == ((32, 32), (16, 16))
    assert own.num_channels == small.num_channels == 1
    assert 5 not in own.test.row
    assert 5 in open_data(f"arrays:{path}", deduplicate=False).test.row


@pytest.mark.parametrize(
    ("spec", "remedy"),
    [("synthetic:train=300,test=70", r"Write synthetic:size=64\."), ("pack:.", "Prepare the data")],
)
def test_a_size_is_refused_where_images_have_their_own(spec: str, remedy: str) -> None:
    with pytest.raises(DataError, match=rf"data\.size: expected none .*got 64\. {remedy}"):
        open_data(spec, size=64)


def test_drawn_faces_are_no_copies_of_each_other() -> None:
    spec = "synthetic:train=300,test=70,size=16"
    kept, everything = open_data(spec), open_data(spec, deduplicate=False)
    assert len(kept.test) == len(everything.test) == 70
    assert set(prepared(spec).near_train.tolist()) == {-1.0}  # nothing was compared


@pytest.mark.parametrize("place", ["file", "/proc/nowhere"])
def test_a_cache_that_cannot_be_written_is_named(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FER_RAY_CACHE", str(tmp_path / place))
    with pytest.raises(DataError, match=r"a cache folder that can be written.*FER_RAY_CACHE"):
        open_data("synthetic:train=300,test=70,size=16")


def test_what_changes_while_it_is_read_is_read_again(
    raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image that is rewritten after it was decoded and before the pack was finished."""
    path = raw / "train" / "happy" / "003.png"
    for each in (*raw.rglob("*"), raw):
        os.utime(each, ns=(1, 1))
    finish = building_module.Building._finish

    def rewriting(self: Any, *args: Any) -> None:
        Image.new("L", (24, 24), 7).save(path)
        finish(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(building_module.Building, "_finish", rewriting)
        open_data(f"folder:{raw}")
    open_data(f"folder:{raw}")
    assert num_prepared(capsys) == 2


def test_a_file_that_changed_while_it_was_read_counts_as_changed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    os.utime(file, ns=(1, 10**9))
    write_stamps(tmp_path, [str(file)], since_ns=10**11)
    assert are_unchanged(tmp_path)
    write_stamps(tmp_path, [str(file)], since_ns=10**9)
    assert not are_unchanged(tmp_path)


@pytest.mark.parametrize("spec", ["folder:", "arrays:", "pack:", "raf-db:", "fer2013:", "expw:"])
@pytest.mark.parametrize("place", ["x" * 300, "~nobody-here/x", "itself", "nul\0"])
def test_a_path_that_cannot_be_is_named(spec: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    where = place if place.startswith("~") else tmp_path / place
    with pytest.raises(DataError, match="expected") as caught:
        open_data(f"{spec}{where}")
    assert "\n" not in str(caught.value)


def test_a_pipe_named_as_an_image_is_never_waited_for(raw: Path) -> None:
    os.mkfifo(raw / "train" / "happy" / "pipe.jpg")
    pack = prepared(f"folder:{raw}", max_missing_fraction=0.5)
    assert [problem.path for problem in pack.problems] == ["train/happy/pipe.jpg"]
    os.mkfifo(raw / "pipe.csv")
    with pytest.raises(DataError, match="pipe"):
        open_data(f"folder:{raw},labels={raw / 'pipe.csv'}")
    for scheme in ("arrays", "fer2013", "pack", "expw", "affectnet"):
        with pytest.raises(DataError):
            open_data(f"{scheme}:{raw / 'pipe.csv'}")


def test_text_that_is_not_utf_8_is_refused_with_the_remedy(raw: Path) -> None:
    (raw / "l.csv").write_bytes("image,label\n\xe9.jpg,happy\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"l\.csv: .* not UTF-8; save it as UTF-8"):
        open_data(f"folder:{raw},labels={raw / 'l.csv'}")


@pytest.mark.parametrize(
    ("place", "scheme"),
    [("faces.npz", "arrays"), ("fer2013.csv", "fer2013"), ("raw", "folder"), ("packed", "pack")],
)
def test_a_path_without_a_scheme_is_answered_with_the_spec(
    place: str, scheme: str, raw: Path, tmp_path: Path
) -> None:
    for name in ("faces.npz", "fer2013.csv"):
        (tmp_path / name).touch()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "pack.json").touch()
    path = tmp_path / place
    with pytest.raises(DataError, match=f"Did you mean '{scheme}:{re.escape(str(path))}'"):
        open_data(str(path))
