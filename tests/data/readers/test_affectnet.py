"""AffectNet's two layouts read back to the same canonical fields."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_ray.data import DataError, list_records
from fer_ray.data.records import Records

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal"
)
NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
TRAIN = [*range(11), *range(8)]
VAL = list(range(8))
DTYPES: dict[str, Any] = {"text": np.str_, "bytes": np.bytes_, "number": np.int64}


def row(i: int, native: int, box: str | None = None) -> str:
    given = box or ("NULL,NULL,NULL,NULL" if native > 7 else f"{i},{i + 1},100,80")
    return f'{i}/face{i}.JPG,{given},"1;2;3",{native},-0.5,0.25'


def lists(root: Path, below: str = "Manually_Annotated_file_lists", **changed: str) -> Path:
    folder = root / below
    folder.mkdir(parents=True, exist_ok=True)
    (root / "Manually_Annotated" / "Manually_Annotated_Images").mkdir(parents=True, exist_ok=True)
    for name, natives in (("training", TRAIN), ("validation", VAL)):
        rows = [row(i, native) for i, native in enumerate(natives)]
        text = "\n".join([HEADER, *rows]) + "\n"
        (folder / f"{name}.csv").write_text(changed.get(name, text))
    return root


def arrays(root: Path, kind: str = "text") -> Path:
    for name, natives in (("train_set", TRAIN), ("val_set", VAL)):
        folder = root / name / "annotations"
        folder.mkdir(parents=True)
        for i, native in enumerate(natives):
            value = np.array(native).astype(DTYPES[kind])
            np.save(folder / f"{i}_exp.npy", value)
            np.save(folder / f"{i}_val.npy", np.array("0.5"))
    return root


def check(records: Records, num_classes: int) -> None:
    train = [native for native in TRAIN if native < num_classes]
    val = [native for native in VAL if native < num_classes]
    assert records.class_names == NAMES[:num_classes]
    assert records.label.tolist() == [*train, *val]  # AffectNet's order is the canonical one
    assert records.subset.tolist() == [0] * len(train) + [2] * len(val)
    assert set(records.true_label) == {-1}
    assert records.row is not None  # counts what is left out, and is the same for 7 and 8 classes
    listed = enumerate([*TRAIN, *VAL])
    assert records.row.tolist() == [i for i, native in listed if native < num_classes]


@pytest.mark.parametrize("classes", ["", ",classes=7", ",classes=8"])
@pytest.mark.parametrize(
    "below",
    [
        "Manually_Annotated_file_lists",
        "Manually_Annotated/Manually_Annotated_file_lists",
        "Manually_Annotated",
        ".",
    ],
)
def test_the_release_of_2017(classes: str, below: str, tmp_path: Path) -> None:
    lists(tmp_path, below)
    records = list_records(f"affectnet:{tmp_path}{classes}")
    check(records, 7 if "7" in classes else 8)
    assert records.path[1] == "Manually_Annotated/Manually_Annotated_Images/1/face1.JPG"
    assert records.listed[1] == "training.csv:3"
    assert records.box is not None
    assert records.box[1].tolist() == [1, 2, 101, 82]
    left_out = ["1 images of no face", "1 images of none", "1 images of uncertain"]
    if "7" in classes:
        left_out.insert(0, "3 images of contempt")
    assert records.notes == tuple(f"{text} were left out" for text in left_out)


@pytest.mark.parametrize(
    "images",
    [
        "Manually_Annotated/Manually_Annotated_Images",
        "Manually_Annotated_Images",
        "Manually_Annotated_compressed/Manually_Annotated_Images",
        "Manually_Annotated_compressed",
    ],
)
def test_images_are_where_one_of_the_archives_puts_them(images: str, tmp_path: Path) -> None:
    lists(tmp_path)
    shutil.rmtree(tmp_path / "Manually_Annotated")
    (tmp_path / images).mkdir(parents=True)
    assert list_records(f"affectnet:{tmp_path}").path[1] == f"{images}/1/face1.JPG"


@pytest.mark.parametrize("box", ["NULL,NULL,NULL,NULL", "10,10,-1,20", "10,10,20,0"])
def test_an_expression_without_a_box_is_taken_whole(box: str, tmp_path: Path) -> None:
    rows = [row(i, native, box if i == 3 else None) for i, native in enumerate(range(8))]
    lists(tmp_path, training="\n".join([HEADER, *rows]))
    records = list_records(f"affectnet:{tmp_path}")
    assert records.box is not None
    assert records.box[3].tolist() == [0, 0, 0, 0]
    assert records.notes == ("1 images have no usable face box and are taken whole",)


@pytest.mark.parametrize("box", ["NULL,NULL,NULL,NULL", "-1,-1,-1,-1", "x,,?,"])
def test_the_box_of_an_image_without_an_expression_does_not_matter(
    box: str, tmp_path: Path
) -> None:
    rows = [row(i, native, box if native > 7 else None) for i, native in enumerate(TRAIN)]
    lists(tmp_path, training="\n".join([HEADER, *rows]))
    check(list_records(f"affectnet:{tmp_path}"), 8)


def test_paths_may_be_written_with_backslashes(tmp_path: Path) -> None:
    rows = [row(i, i).replace("/", "\\") for i in range(8)]
    lists(tmp_path, training="\n".join([HEADER, *rows]))
    assert list_records(f"affectnet:{tmp_path}").path[1].endswith("_Images/1/face1.JPG")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row(1, 11), r"training\.csv:3: expression: expected one of 0 neutral"),
        (row(1, 1, "a,b,c,d"), r"training\.csv:3: face_x"),
        ("1/face1.jpg,1,2", r"training\.csv:3: expected 9 values, got 3"),
        (row(1, 1).replace("1/", "../../", 1), "one that leads out of it"),
    ],
)
def test_a_bad_row_is_named_with_its_line(line: str, message: str, tmp_path: Path) -> None:
    rows = [row(0, 0), line, *(row(i, i) for i in range(2, 8))]
    lists(tmp_path, training="\n".join([HEADER, *rows]))
    with pytest.raises(DataError, match=message):
        list_records(f"affectnet:{tmp_path}")


def test_a_list_of_another_data_set_is_refused(tmp_path: Path) -> None:
    lists(tmp_path, training="image,label\na.jpg,1\n")
    with pytest.raises(DataError, match=r"training\.csv:1: .*Missing: subDirectory_filePath"):
        list_records(f"affectnet:{tmp_path}")


@pytest.mark.parametrize("kind", ["text", "bytes", "number"])
@pytest.mark.parametrize("classes", ["", ",classes=7"])
def test_the_newer_release(kind: str, classes: str, tmp_path: Path) -> None:
    records = list_records(f"affectnet:{arrays(tmp_path, kind)}{classes}")
    check(records, 7 if classes else 8)
    assert records.box is None
    # In the order of the ids as numbers: 2 before 10.
    assert records.path[2] == "train_set/images/2.jpg"
    assert records.listed[2] == "train_set/annotations/2_exp.npy"
    assert "1 images of uncertain were left out" in records.notes


class Trap:
    """Unpickling it leaves a trace."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("trap"),))  # type: ignore[return-value]


HEADER_OF_TERABYTES = "{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999,), }"
BAD_BYTES = {
    "pickled": lambda: pickle.dumps(Trap()),
    "empty": bytes,
    "damaged archive": lambda: b"PK\x03\x04",
    "damaged header": lambda: b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((((\n",
    "terabytes": lambda: b"\x93NUMPY\x01\x00\x76\x00" + HEADER_OF_TERABYTES.ljust(118).encode(),
}
BAD_ARRAYS = {
    "words": np.array("happy"),
    "two values": np.array([1, 2]),
    "fraction": np.array(4.0),
    "unknown": np.array("11"),
}


@pytest.mark.parametrize("kind", [*BAD_BYTES, *BAD_ARRAYS, "object array", "archive"])
def test_an_annotation_that_holds_no_id_is_named_and_never_unpickled(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays(tmp_path / "faces")
    path = tmp_path / "faces" / "train_set" / "annotations" / "4_exp.npy"
    if kind in BAD_BYTES:
        path.write_bytes(BAD_BYTES[kind]())
    elif kind in BAD_ARRAYS:
        np.save(path, BAD_ARRAYS[kind])
    elif kind == "object array":
        np.save(path, np.array([Trap()], dtype=object), allow_pickle=True)
    else:
        with path.open("wb") as file:
            np.savez(file, expression=np.array("4"))
    with pytest.raises(DataError, match=r"4_exp\.npy: expression"):
        list_records(f"affectnet:{tmp_path / 'faces'}")
    assert not (tmp_path / "trap").exists()


def test_neither_layout_or_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training\.csv and validation\.csv"):
        list_records(f"affectnet:{tmp_path}")
    with pytest.raises(DataError, match="classes: expected one of 8, 7, got '6'"):
        list_records(f"affectnet:{lists(tmp_path)},classes=6")
    with pytest.raises(DataError, match="each key once, of classes"):
        list_records(f"affectnet:{tmp_path},noise=x")
