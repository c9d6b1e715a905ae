"""Reads `affectnet:/path`: AffectNet (Mollahosseini et al. 2017, arXiv:1708.03985).

Two layouts are understood: the release of 2017 (csv lists, photographs with face boxes), and the
newer one (`train_set` and `val_set` with cropped `images` and `annotations/<id>_exp.npy`). The
official validation set, which everybody reports on, is the test set.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import track

from fer_ray.data.classes import AFFECTNET
from fer_ray.data.faces import UNKNOWN_TRUTH, DataError
from fer_ray.data.readers.tables import csv_rows, whole_number
from fer_ray.data.records import TEST, TRAIN, Records, Source, canonical_labels, require_images
from fer_ray.record.console import open_console

KEYS: tuple[str, ...] = ("classes", "labels")

_NO_EXPRESSION = {8: "none", 9: "uncertain", 10: "no face"}
_IDS = AFFECTNET | _NO_EXPRESSION
TRAINING = "training.csv"
_LISTS = {TRAINING: TRAIN, "validation.csv": TEST}
_SETS = {"train_set": TRAIN, "val_set": TEST}
_LIST_FOLDERS = (
    "Manually_Annotated_file_lists",
    "Manually_Annotated/Manually_Annotated_file_lists",
    "Manually_Annotated",
    "",
)
_IMAGE_FOLDERS = (
    "Manually_Annotated/Manually_Annotated_Images",
    "Manually_Annotated_Images",
    "Manually_Annotated_compressed/Manually_Annotated_Images",
    "Manually_Annotated_compressed",
)
_BOX = ("face_x", "face_y", "face_width", "face_height")
_COLUMNS = ("subDirectory_filePath", *_BOX, "expression")
_WHOLE = (0, 0, 0, 0)
_MANY = 5000


class _Image(NamedTuple):
    path: str
    native: int
    subset: int
    listed: str
    box: tuple[int, int, int, int]


def list_affectnet(source: Source) -> Records:
    """List AffectNet with its eight expressions, or seven without contempt (`classes=7`).

    `labels=FILE` is a corrected `training.csv`.

    Images without an expression (none, uncertain, no face) are left out and counted.

    Raises:
        DataError: If neither layout is there, or a list or annotation is not as it should be.
    """
    num_classes = int(source.choice("classes", ("8", "7"), "8"))
    names = {number: name for number, name in AFFECTNET.items() if number < num_classes}
    images, has_boxes, sources = _found(source.path, source.file("labels"))
    row = np.flatnonzero([image.native in names for image in images])
    kept = [images[i] for i in row]
    left_out = Counter(_IDS[image.native] for image in images if image.native not in names)
    notes = [f"{num} images of {name} were left out" for name, num in sorted(left_out.items())]
    no_box = sum(image.box == _WHOLE for image in kept) if has_boxes else 0
    if no_box:
        notes.append(f"{no_box} images have no usable face box and are taken whole")
    label, class_names = canonical_labels([image.native for image in kept], names)
    records = Records(
        name=f"{source.scheme}:{source.path.name}",
        root=source.path,
        path=tuple(image.path for image in kept),
        listed=tuple(image.listed for image in kept),
        label=label,
        true_label=np.full(len(kept), UNKNOWN_TRUTH, dtype=np.int64),
        subset=np.array([image.subset for image in kept], dtype=np.int64),
        class_names=class_names,
        box=np.array([image.box for image in kept], dtype=np.int64) if has_boxes else None,
        row=row,
        sources=sources,
        notes=tuple(notes),
    )
    require_images(records)
    return records


def _found(path: Path, training: Path | None = None) -> tuple[list[_Image], bool, tuple[str, ...]]:
    """All images that are listed, whether they come with face boxes, and what was read.

    Args:
        path: The release's folder.
        training: A list that is read in place of `training.csv`.

    Raises:
        DataError: If neither layout is there, or a list is given for the layout without lists.
    """
    folder = list_folder_of(path)
    if folder is not None:
        lists = {name: folder / name for name in _LISTS}
        if training is not None:
            lists[TRAINING] = training
        looked_at = (*lists.values(), *(path / name for name in _IMAGE_FOLDERS))
        read = tuple(str(place.absolute()) for place in looked_at)
        return list(_of_lists(path, lists)), True, read
    if training is not None:
        raise DataError.at(
            f"affectnet: labels={training}",
            expected=f"a release with {' and '.join(_LISTS)}",
            got="one without",
            remedy="Take labels= out.",
        )
    if all((path / name / "annotations").is_dir() for name in _SETS):
        images = list(_of_annotations(path))
        folders = [path / name / "annotations" for name in _SETS]
        files = [path / image.listed for image in images]
        return images, False, tuple(str(place.absolute()) for place in (*folders, *files))
    raise DataError.at(
        str(path),
        expected=f"{' and '.join(_LISTS)} (here or in {_LIST_FOLDERS[0]}), or "
        f"{' and '.join(f'{name}/annotations' for name in _SETS)}",
        got="neither",
        remedy="Give the folder that the release was unpacked into.",
    )


def list_folder_of(path: Path) -> Path | None:
    """The folder of a release's two lists; `None` if it has none."""
    folders = (path / folder for folder in _LIST_FOLDERS)
    return next((x for x in folders if all((x / name).is_file() for name in _LISTS)), None)


def _of_lists(root: Path, lists: Mapping[str, Path]) -> Iterator[_Image]:
    """The release of 2017; `lists` are its two lists by name.

    Raises:
        DataError: If a row has an unknown expression, or boxes that are no numbers; with the line.
    """
    places = (name for name in _IMAGE_FOLDERS if (root / name).is_dir())
    below = f"{next(places, _IMAGE_FOLDERS[0])}/"
    for name, subset in _LISTS.items():
        for line, row in csv_rows(lists[name], _COLUMNS):
            place = f"{lists[name]}:{line}"
            native = whole_number(place, "expression", row["expression"], _IDS)
            box = _box(place, row) if native in AFFECTNET else _WHOLE
            path = below + row["subDirectory_filePath"].replace("\\", "/")
            yield _Image(path, native, subset, f"{name}:{line}", box)


def _box(place: str, row: dict[str, str]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom; zeros where there is none (`NULL`, or a negative size)."""
    if "NULL" in (row[key].upper() for key in _BOX):
        return _WHOLE
    try:
        left, top, width, height = (round(float(row[key])) for key in _BOX)
    except (ValueError, OverflowError):
        raise DataError.at(
            f"{place}: {', '.join(_BOX)}",
            expected="numbers, or NULL",
            got=", ".join(row[key] for key in _BOX),
            remedy="Repair or delete the line.",
        ) from None
    if width <= 0 or height <= 0:
        return _WHOLE
    return left, top, left + width, top + height


def _of_annotations(root: Path) -> Iterator[_Image]:
    """The newer release: a file per image says its expression."""
    for name, subset in _SETS.items():
        folder = root / name / "annotations"
        ids = [
            file.removesuffix("_exp.npy")
            for file in os.listdir(folder)
            if file.endswith("_exp.npy") and not file.startswith(".")
        ]
        ids.sort(key=lambda number: (len(number), number))
        files = [folder / f"{number}_exp.npy" for number in ids]
        with ThreadPoolExecutor() as pool:
            natives = _watched(pool.map(_read_expression, files), len(files), name)
            for number, native in zip(ids, natives, strict=True):
                listed = f"{name}/annotations/{number}_exp.npy"
                yield _Image(f"{name}/images/{number}.jpg", native, subset, listed, _WHOLE)


def _watched(natives: Iterable[int], num: int, name: str) -> Iterable[int]:
    """The same, with a bar on standard error if there are many."""
    if num <= _MANY:
        return natives
    console = open_console(stderr=True)
    return track(
        natives, f"reading {name}", total=num, console=console, disable=not console.is_terminal
    )


def _read_expression(path: Path) -> int:
    """The id in an annotation: a number, or a number as text.

    Raises:
        DataError: If it holds something else, or would have to be unpickled.
    """
    try:
        with path.open("rb") as file:
            value = np.lib.format.read_array(file, allow_pickle=False)
        text = str(value.astype(str).item())
    except Exception as error:  # numpy raises whatever a damaged header leads to
        text = f"{type(error).__name__}: {error}"
    return whole_number(str(path), "expression", text, _IDS)
