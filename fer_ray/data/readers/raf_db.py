"""Reads `raf-db:/path/basic`: the basic expressions of RAF-DB (Li et al. 2017), aligned faces.

Two layouts are understood: the release (`EmoLabel/list_patition_label.txt` beside `Image/`), and
the copy on Kaggle (`DATASET/{train,test}/{1..7}/`, with or without `train_labels.csv`; `valid` in
place of `test` too). A published
list of wrong training labels (`noise=FILE`) becomes the label; the official one is then the truth.
A corrected list (`labels=FILE`) becomes the label as well; nothing is said of the truth.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from fer_ray.data.classes import RAF_DB
from fer_ray.data.faces import UNKNOWN_TRUTH, DataError
from fer_ray.data.readers.raf_db_lists import (
    CODE,
    COLUMN,
    RafImage,
    first_id,
    noisy_labels,
    repeated,
    stem_of,
    words_of,
)
from fer_ray.data.readers.tables import csv_rows, table_lines, whole_number
from fer_ray.data.records import TRAIN, Records, Source, canonical_labels, require_images

KEYS: tuple[str, ...] = ("noise", "labels", COLUMN)

_LIST = "EmoLabel/list_patition_label.txt"


class _Found(NamedTuple):
    """A layout: its root, its images, what the user must be told, and the places that were read."""

    root: Path
    images: list[RafImage]
    notes: tuple[str, ...]
    sources: tuple[Path, ...]


def list_raf_db(source: Source) -> Records:
    """List RAF-DB: its training images, and its test images.

    Raises:
        DataError: If neither layout is there, or a line of a list is not as it should be.
    """
    root, images, notes, sources = _found(source.path)
    given = np.array([image.native for image in images], dtype=np.int64)
    truth = np.full(len(images), UNKNOWN_TRUTH, dtype=np.int64)
    noise, column = source.file("noise"), _column(source)
    if noise is not None:
        truth, (given, more) = given, noisy_labels(noise, images, column)
        notes += more
        is_train = np.array([image.subset == TRAIN for image in images])
        wrong = int((given != truth)[is_train].sum())
        sources += (noise,)
        notes += (f"{wrong} of {int(is_train.sum())} training labels are wrong by {noise.name}",)
    corrected = source.file("labels")
    if corrected is not None:
        given, more = noisy_labels(corrected, images, column)
        sources += (corrected,)
        notes += more
        notes += (f"training labels are those of {corrected.name}",)
    label, class_names = canonical_labels(given, RAF_DB)
    records = Records(
        name=f"{source.scheme}:{source.path.name}",
        root=root,
        path=tuple(image.path for image in images),
        listed=tuple(image.listed for image in images),
        label=label,
        true_label=canonical_labels(truth, RAF_DB)[0],
        subset=np.array([image.subset for image in images], dtype=np.int64),
        class_names=class_names,
        sources=tuple(str(place.absolute()) for place in sources),
        notes=notes,
    )
    require_images(records)
    return records


def _column(source: Source) -> int | None:
    """Which word of a line of `noise=` or `labels=` is the label; `None`: the second of two."""
    if COLUMN not in source.options:
        return None
    if not {"noise", "labels"} & source.options.keys():
        raise DataError.at(
            f"{source.scheme}: {COLUMN}={source.options[COLUMN]}",
            expected="noise=FILE or labels=FILE beside it",
            got="neither",
            remedy=f"Take {COLUMN}= out.",
        )
    return int(source.choice(COLUMN, [str(i) for i in range(2, 10)], "2"))


def label_list(path: Path) -> Path:
    """The official list, or where it would lie among folders of images.

    Raises:
        DataError: See `list_raf_db`.
    """
    root = _found(path).root
    listed = root / _LIST
    return listed if listed.is_file() else root / PurePosixPath(_LIST).name


def _found(path: Path) -> _Found:
    """Whichever layout is there.

    Raises:
        DataError: If none is, or several folders hold a list and none of them is called basic.
    """
    children = sorted(path.iterdir()) if path.is_dir() else []
    for roots in ([path], [path / "basic"], children):
        listed = [root for root in roots if (root / _LIST).is_file()]
        if len(listed) > 1:
            raise DataError.at(
                str(path),
                expected=f"one folder with {_LIST}",
                got=", ".join(root.name for root in listed),
                remedy="Give the folder of the basic expressions itself.",
            )
        if listed:
            return _release(listed[0])
    for root in (path, path / "DATASET"):
        if (root / "train" / "1").is_dir() and (root / _top(root, "test") / "1").is_dir():
            return _kaggle(root)
    raise DataError.at(
        str(path),
        expected=f"{_LIST} (the release), or DATASET/train/1 to 7 (Kaggle's copy)",
        got="neither",
        remedy="Give the folder basic of the release, or the folder that holds DATASET.",
    )


def _release(root: Path) -> _Found:
    aligned = (root / "Image" / "aligned").is_dir()
    if not aligned and not (root / "Image" / "original").is_dir():
        raise DataError.at(
            str(root / "Image"),
            expected="a folder aligned (or original)",
            got="neither",
            remedy="Unpack aligned.zip there.",
        )
    images, seen, last = [], set(), {}
    for number, line in table_lines(root / _LIST):
        place = f"{root / _LIST}:{number}"
        name, native = words_of(place, line)
        stem = stem_of(place, name)
        if stem in seen:
            raise repeated(place, name)
        seen.add(stem)
        file = f"aligned/{stem}_aligned.jpg" if aligned else f"original/{stem}.jpg"
        label = 0 if native == "0" else whole_number(place, "label", native, RAF_DB)
        last[label] = place
        listed = f"{PurePosixPath(_LIST).name}:{number}"
        images.append(RafImage(stem, f"Image/{file}", label, listed))
    notes: tuple[str, ...] = (
        () if aligned else ("there is no Image/aligned: faces are those of Image/original",)
    )
    if 0 in last and first_id(root / _LIST, last) == 0:
        if len(last) < len(RAF_DB):
            whole_number(last[0], "label", "0", RAF_DB)  # too few to be sure: refuses it
        images = [image._replace(native=image.native + 1) for image in images]
        notes += (f"{PurePosixPath(_LIST).name} has ids from 0 (surprise) to 6 (neutral)",)
    return _Found(root, images, notes, (root / "Image", root / _LIST))


def _kaggle(root: Path) -> _Found:
    """The folders, and where they are there the csv files, which must agree with them.

    Raises:
        DataError: If an image is in the wrong split, is there twice, or is in another folder than
            its csv says; or if one csv is missing.
    """
    beside = _beside_classes(root)
    tops = [root / _top(root, subset) for subset in CODE]
    classes = (top / str(native) for top in tops for native in RAF_DB)
    folders = (*tops, *(x for x in classes if x.is_dir()))
    tables = [
        (subset, folder / f"{subset}_labels.csv")
        for subset in CODE
        for folder in (root, root.parent)
        if (folder / f"{subset}_labels.csv").is_file()
    ]
    if not tables:
        return _Found(root, sorted(_of_folders(root)), beside, folders)
    tabled = {subset for subset, _ in tables}
    missing = [f"{subset}_labels.csv" for subset in CODE if subset not in tabled]
    if missing:
        raise DataError.at(
            str(root), expected="both csv files or none", got=f"no {missing[0]}", remedy="Add it."
        )
    images = list(_of_tables(root, tables))
    unlisted = {path for *_, path in _in_folders(root)} - {image.path for image in images}
    if unlisted:
        beside += (f"{len(unlisted)} images that no csv lists were left out",)
    return _Found(root, images, beside, (*folders, *(table for _, table in tables)))


def _of_folders(root: Path) -> Iterator[RafImage]:
    seen = set()
    for subset, native, path in _in_folders(root):
        place = str(root / path)
        stem = stem_of(place, PurePosixPath(path).name, subset)
        if stem in seen:
            raise repeated(place, stem)
        seen.add(stem)
        yield RafImage(stem, path, native, "")


def _of_tables(root: Path, tables: list[tuple[str, Path]]) -> Iterator[RafImage]:
    paths_of = defaultdict(list)
    for *_, path in _in_folders(root):
        paths_of[PurePosixPath(path).name].append(path)
    seen = set()
    for subset, table in tables:
        for number, row in csv_rows(table, ("image", "label")):
            place, name = f"{table}:{number}", row["image"]
            stem = stem_of(place, name, subset)
            if stem in seen:
                raise repeated(place, name)
            seen.add(stem)
            native = whole_number(place, "label", row["label"], RAF_DB)
            path = f"{_top(root, subset)}/{native}/{name}"
            others = [other for other in paths_of[name] if other != path]
            if others:
                raise DataError.at(
                    place,
                    expected=f"the label of its folder, {others[0]}",
                    got=f"{native} for {name}",
                    remedy="The csv and the folders differ: unpack the data set again.",
                )
            yield RafImage(stem, path, native, f"{table.name}:{number}")


def _in_folders(root: Path) -> Iterator[tuple[str, int, str]]:
    """Split, class and path below `root` of every visible file in a class folder."""
    for subset in CODE:
        top = _top(root, subset)
        for native in RAF_DB:
            folder = root / top / str(native)
            for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
                if not name.startswith("."):
                    yield subset, native, f"{top}/{native}/{name}"


def _top(root: Path, subset: str) -> str:
    """Folder of a split; that of test is called valid in copies for POSTER."""
    names = ("test", "valid", "val") if subset == "test" else (subset,)
    return next((name for name in names if (root / name / "1").is_dir()), subset)


def _beside_classes(root: Path) -> tuple[str, ...]:
    """A note on what lies beside the class folders, if anything does."""
    known = set(map(str, RAF_DB))
    names = [
        f"{top}/{name}"
        for top in (_top(root, subset) for subset in CODE)
        for name in sorted(os.listdir(root / top))
        if name not in known and not name.startswith(".")
    ]
    note = "{} files or folders beside the classes 1 to 7 were left out, the first {}"
    return (note.format(len(names), names[0]),) if names else ()
