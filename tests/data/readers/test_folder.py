import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from fer_ray.data import DataError, list_records
from fer_ray.data.records import TEST, TRAIN, VAL, Records


def touch(root: Path, *names: str) -> Path:
    """Files with nothing in them, for no reader opens an image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root: Path) -> Records:
    return list_records(f"folder:{root}")


def paths(records: Records, subset: int) -> list[str]:
    return [records.path[i] for i in np.flatnonzero(records.subset == subset)]


def classes(records: Records) -> dict[str, str]:
    named = [records.class_names[i] for i in records.label]
    return dict(zip(records.path, named, strict=True))


def test_folders_are_read_to_canonical_fields(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "faces",
        *("train/Angry/2.png", "train/Angry/10.JPG", "train/1_surprise/a.webp"),
        *("val/Angry/5.jpeg", "test/1_surprise/6.bmp", "test/Angry/7.tif"),
    )
    records = listed(root)
    assert records.name == "folder:faces"
    assert records.root == root
    assert records.class_names == ("surprise", "anger")
    assert paths(records, TRAIN) == [
        "train/1_surprise/a.webp",
        "train/Angry/10.JPG",
        "train/Angry/2.png",
    ]
    assert paths(records, VAL) == ["val/Angry/5.jpeg"]
    assert paths(records, TEST) == ["test/1_surprise/6.bmp", "test/Angry/7.tif"]
    assert classes(records)["train/1_surprise/a.webp"] == "surprise"
    assert classes(records)["val/Angry/5.jpeg"] == "anger"
    assert set(records.true_label.tolist()) == {-1}
    assert records.pixels is None
    assert records.notes == ()


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Valid"])
def test_validation_has_many_names(tmp_path: Path, name: str) -> None:
    records = listed(touch(tmp_path, "train/sad/1.jpg", f"{name}/sad/2.jpg", "test/sad/3.jpg"))
    assert paths(records, VAL) == [f"{name}/sad/2.jpg"]
    assert records.notes == ()


def test_images_far_below_a_class_folder_are_of_the_class(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/fear/a/happy/1.jpg", "train/fear/2.jpg", "test/fear/b/3.jpg")
    assert set(classes(listed(root)).values()) == {"fear"}
    assert len(listed(root)) == 3


def test_folders_of_one_class_are_merged(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/angry/1.jpg", "train/mad/1.jpg", "test/anger/2.jpg")
    records = listed(root)
    assert records.class_names == ("anger",)
    assert paths(records, TRAIN) == ["train/angry/1.jpg", "train/mad/1.jpg"]


def test_hidden_files_and_folders_do_not_count(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        *("train/sad/1.jpg", "train/sad/._1.jpg", "train/sad/.thumbs/1.jpg"),
        *("train/.cache/1.jpg", "test/sad/2.jpg", ".git/config"),
    )
    records = listed(root)
    assert records.path == ("test/sad/2.jpg", "train/sad/1.jpg")
    assert records.notes == ()


def test_files_that_are_no_images_are_counted_by_suffix(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        *("train/sad/1.jpg", "train/sad/a.txt", "train/sad/b/c.TXT", "train/LICENSE"),
        *("test/sad/2.jpg", "test/sad/x.svg", "train/meta/boxes.csv"),
    )
    records = listed(root)
    assert len(records) == 2
    assert records.notes == (
        "5 files that are no images were left out: 1 .csv, 1 .svg, 2 .txt, 1 without an ending",
    )


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        *("train/sad/1.jpg", "test/sad/2.jpg", "train/b.jpg", "train/a.jpg"),
        *("sad/3.jpg", "README", *(f"x{i}/1.jpg" for i in range(5))),
    )
    records = listed(root)
    assert len(records) == 2
    assert records.notes == (
        "left out beside test, train: README, sad, x0, x1, x2 and 2 more",
        "2 images outside of class folders were left out, the first train/a.jpg",
    )


def test_validation_becomes_test_where_there_is_no_test(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/sad/1.jpg", "val/sad/2.jpg", "test/readme.txt")
    records = listed(root)
    assert (paths(records, VAL), paths(records, TEST)) == ([], ["val/sad/2.jpg"])
    assert records.notes[0] == ("there are no test images: those of validation are the test set")


def test_a_fifth_tests_where_classes_lie_in_the_root(tmp_path: Path) -> None:
    below = [f"{i % 3}/{i}.jpg" for i in range(1000)]
    names = [f"{('happy', 'sad')[i % 2]}/{name}" for i, name in enumerate(below)]
    records = listed(touch(tmp_path, *names))
    assert len(records) == 1000
    expected = [
        name
        for name, text in zip(names, below, strict=True)
        if int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) < 2**64 / 5
    ]
    assert paths(records, TEST) == sorted(expected)
    assert paths(records, VAL) == []
    assert 150 < len(expected) < 250
    assert records.notes == (
        f"there are no test images: {len(expected)} of 1000 images, "
        "chosen by a hash of their path (20%), are the test set",
    )


def test_the_choice_of_test_images_outlives_other_names_above(tmp_path: Path) -> None:
    below = [f"{i}.jpg" for i in range(50)]
    plain = listed(touch(tmp_path / "a", *(f"happy/{name}" for name in below)))
    moved = listed(touch(tmp_path / "b", *(f"train/3_joy/{name}" for name in below)))
    assert np.array_equal(plain.subset, moved.subset)
    assert set(plain.subset.tolist()) == {TRAIN, TEST}


def test_the_order_does_not_depend_on_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"train/sad/{i}/{j}.jpg" for i in (3, 20, 1) for j in (9, 10)]
    root = touch(tmp_path, *names, "train/sad/3-b/1.jpg", "train/happy/1.jpg", "test/sad/1.jpg")
    first = listed(root)
    assert list(first.path) == sorted(first.path)
    scandir = os.scandir

    class Reversed:
        def __init__(self, folder: Path) -> None:
            self._entries = scandir(folder)

        def __enter__(self) -> list["os.DirEntry[str]"]:
            return sorted(self._entries, key=lambda entry: entry.name, reverse=True)

        def __exit__(self, *exception: object) -> None:
            self._entries.close()

    monkeypatch.setattr(os, "scandir", Reversed)
    again = listed(root)
    assert again.path == first.path
    assert np.array_equal(again.label, first.label)


def test_unknown_class_folders_are_listed_all_with_their_images(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        *("train/sad/1.jpg", "train/bored/1.jpg", "train/bored/x/2.jpg", "test/bored/1.jpg"),
        *("train/3/1.jpg", "test/sad/1.jpg"),
    )
    with pytest.raises(
        DataError,
        match=r"got test/bored \(1 images\), train/3 \(1 images\), train/bored \(2 images\)\. Re",
    ):
        listed(root)


def test_a_folder_too_high_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "DATASET/train/sad/1.jpg", "DATASET/test/sad/1.jpg")
    with pytest.raises(DataError, match=r"got DATASET \(2 images\).* holds train/"):
        listed(tmp_path)


def test_no_images_at_all_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/sad/1.txt", "train/2.png")
    with pytest.raises(
        DataError, match=r"expected images in folders.*got none; 1 images outside.*; 1 files that"
    ):
        listed(tmp_path)


@pytest.mark.parametrize("names", [("test",), ("val", "test"), ("train", "val", "valid")])
def test_splits_that_make_no_sense_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path, *(f"{name}/sad/1.jpg" for name in names))
    with pytest.raises(DataError, match="expected train, and at most one each of val") as caught:
        listed(tmp_path)
    assert f"got {', '.join(sorted(names))}." in str(caught.value)


def test_a_class_without_training_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/sad/1.jpg", "test/sad/2.jpg", "test/contempt/3.jpg")
    with pytest.raises(DataError, match="training images of every class, got none of contempt"):
        listed(tmp_path)


def test_an_empty_training_folder_is_refused(tmp_path: Path) -> None:
    (touch(tmp_path, "test/sad/2.jpg") / "train").mkdir()
    with pytest.raises(DataError, match="expected at least one training image, got none"):
        listed(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.zip: expected a folder, got a file"):
        listed(touch(tmp_path, "a.zip") / "a.zip")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "far/1.jpg", "faces/train/sad/1.jpg", "faces/test/sad/2.jpg")
    train = tmp_path / "faces" / "train"
    (train / "happy").symlink_to(tmp_path / "far")
    (train / "sad" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert paths(listed(tmp_path / "faces"), TRAIN) == [
        "train/happy/1.jpg",
        "train/sad/1.jpg",
        "train/sad/gone.jpg",  # whoever decodes it counts it as missing
    ]
    (train / "sad" / "loop").symlink_to(train)
    with pytest.raises(DataError, match="got a link to a folder above"):
        listed(tmp_path / "faces")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/sad/1.jpg", "test/sad/1.jpg")
    try:
        (tmp_path / "train" / "sad" / os.fsdecode(b"\xff.jpg")).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(DataError, match=r"sad: expected a folder .*names in UTF-8, got the name"):
        listed(tmp_path)


def test_numbers_for_classes_need_ids_and_the_error_fills_them_in(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "f", *(f"{top}/{i}/1.jpg" for top in ("train", "test") for i in "1234567")
    )
    message = r"numbers: test/1 \(1 images\).*Add folder:.*f,ids=raf-db \(1 surprise, .*7 neutral\)"
    with pytest.raises(DataError, match=message) as caught:
        listed(root)
    assert f'folder:{root},ids="1:...;2:...;' in str(caught.value)
    records = list_records(f"folder:{root},ids=raf-db")
    assert classes(records)["train/1/1.jpg"] == "surprise"
    assert classes(records)["test/7/1.jpg"] == "neutral"
    with pytest.raises(DataError, match=r"numbers: test/7 .*ids=raf-db"):
        list_records(f"folder:{root},ids=fer2013")


@pytest.mark.parametrize(
    "name", ["affectnet", "0:neutral;1:happy;2:sad;3:surprise;4:fear;5:disgust;6:an;7:co"]
)
def test_ids_may_have_a_name_or_be_written_out(name: str, tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"{top}/{i}/1.jpg" for top in ("train", "test") for i in range(8)))
    records = list_records(f"folder:{root},ids={name}")
    assert records.class_names[-1] == "contempt"
    assert classes(records)["train/6/1.jpg"] == "anger"


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("rafdb", r"ids=rafdb: expected one of raf-db, affectnet, fer2013, or what"),
        ("0:neutral;0:sad", "got '0:sad'"),
        ("-1:sad", "got '-1:sad'"),
        ("0:joyful", "class name: .*got 'joyful'"),
        ("fer2013", r"ids: expected class folders named by numbers, got happy"),
    ],
)
def test_ids_that_make_no_sense_are_refused(ids: str, message: str, tmp_path: Path) -> None:
    root = touch(tmp_path, "train/happy/1.jpg", "test/happy/1.jpg")
    with pytest.raises(DataError, match=message):
        list_records(f"folder:{root},ids={ids}")


def labelled(root: Path, text: str) -> Path:
    touch(root, "all/1.jpg", "all/2.jpg", "all/3.jpg")
    (root / "labels.csv").write_text(text)
    return root / "labels.csv"


def test_a_table_names_images_and_labels(tmp_path: Path) -> None:
    table = labelled(
        tmp_path,
        ",pth,label,Split\n0,all/1.jpg,happy,train\n1,./all/3.jpg,Sad,Test\n2,all/2.jpg,sad,train\n",
    )
    with pytest.raises(
        DataError, match=rf"If labels\.csv names .*: folder:{tmp_path},labels={table}"
    ):
        listed(tmp_path)
    records = list_records(f"folder:{tmp_path},labels={table}")
    assert classes(records) == {
        "all/1.jpg": "happiness",
        "all/2.jpg": "sadness",
        "all/3.jpg": "sadness",
    }
    assert paths(records, TEST) == ["all/3.jpg"]
    assert records.listed == ("labels.csv:2", "labels.csv:4", "labels.csv:3")
    assert str(table) in records.sources


def test_a_table_without_splits_gives_a_fifth_to_test(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "image,expression\n" + "".join(f"{i}.jpg,{i % 2}\n" for i in range(200))
    )
    spec = f"folder:{tmp_path},labels={tmp_path / 't.csv'}"
    with pytest.raises(
        DataError, match=r"numbers: 0, 1\. Add folder:.*t\.csv,ids=affectnet \(0 neutral, 1 happ"
    ):
        list_records(spec)
    records = list_records(f"{spec},ids=affectnet")
    assert 20 < len(paths(records, TEST)) < 60
    assert classes(records)["7.jpg"] == "happiness"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels\.csv:1: expected a column named path"),
        ("image,age\n1.jpg,3\n", r"expected a column named label, .* got image, age"),
        ("image,label\n1.jpg,joyful\n", r"labels\.csv:2: label: class name: .*'joyful'"),
        ("image,label\n1.jpg,sad\n1.jpg,sad\n", r"labels\.csv:3: expected every image once"),
        ("image,label,split\n1.jpg,sad,dev\n", r"labels\.csv:2: expected a split, .*'dev'"),
        ("image,label\n../1.jpg,sad\n", r"expected a path inside"),
    ],
)
def test_a_bad_table_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    table = labelled(tmp_path, text)
    with pytest.raises(DataError, match=message):
        list_records(f"folder:{tmp_path},labels={table}")
