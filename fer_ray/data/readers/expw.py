"""Reads `expw:/path`: ExpW (Zhang et al. 2018, arXiv:1609.06426), faces in photographs."""

import hashlib
from pathlib import Path

import numpy as np

from fer_ray.data.classes import FER2013
from fer_ray.data.faces import UNKNOWN_TRUTH, DataError
from fer_ray.data.readers.folder import TEST_FRACTION
from fer_ray.data.readers.tables import table_lines, whole_number
from fer_ray.data.records import TEST, TRAIN, Records, Source, canonical_labels, require_images

KEYS: tuple[str, ...] = ("min_confidence", "labels")

_COLUMNS = (
    "image_name",
    "face_id_in_image",
    "face_box_top",
    "face_box_left",
    "face_box_right",
    "face_box_bottom",
    "face_box_confidence",
    "expression_label",
)
_IMAGES = ("image/origin", "image")
_LISTS = ("label/label.lst", "label.lst")


def list_expw(source: Source) -> Records:
    """List ExpW: a face per line, cut out by its box.

    There is no official split: a fifth of the photographs, by a hash of their name, are the test
    set, so that the faces of a photograph stay together and the split is the same everywhere.
    `min_confidence=` leaves out boxes that the detector was less sure of; `labels=` is a corrected
    list.

    Raises:
        DataError: If the list or the images are not there, or a line is not as it should be.
    """
    table = label_list(source)
    folder = _existing(source.path, _IMAGES, "the images")
    lowest = _confidence(source)
    names, lines, boxes, natives, sure = [], [], [], [], []
    for line, text in table_lines(table):
        place, words = f"{table}:{line}", text.split()
        if len(words) != len(_COLUMNS):
            raise DataError.at(
                place,
                expected=f"{len(_COLUMNS)} words: {', '.join(_COLUMNS)}",
                got=repr(text),
                remedy="Repair or delete the line.",
            )
        natives.append(whole_number(place, _COLUMNS[7], words[7], FER2013))
        top, left, right, bottom, confidence = _numbers(place, words[2:7])
        names.append(words[0])
        lines.append(line)
        boxes.append((int(left), int(top), int(right), int(bottom)))
        sure.append(confidence)
    kept = np.flatnonzero(np.array(sure) >= lowest)
    label, class_names = canonical_labels(natives, FER2013)
    subset = np.array([TEST if _is_test(name) else TRAIN for name in names], dtype=np.int64)[kept]
    below = folder.relative_to(source.path).as_posix()
    notes = [
        f"there is no official split: {int((subset == TEST).sum())} of {len(kept)} faces, those of "
        f"{TEST_FRACTION:.0%} of the photographs by a hash of their names, are the test set"
    ]
    if len(kept) < len(names):
        few = len(names) - len(kept)
        notes.append(f"{few} faces with a confidence below {lowest:g} were left out")
    records = Records(
        name=f"{source.scheme}:{source.path.name}",
        root=source.path,
        path=tuple(f"{below}/{names[i]}" for i in kept),
        listed=tuple(f"{table.name}:{lines[i]}" for i in kept),
        label=label[kept],
        true_label=np.full(len(kept), UNKNOWN_TRUTH, dtype=np.int64),
        subset=subset,
        class_names=class_names,
        box=np.array(boxes, dtype=np.int64).reshape(-1, 4)[kept],
        row=kept.astype(np.int64),
        sources=tuple(
            str(place.absolute())
            for place in (table, *(source.path / name for name in (*_IMAGES, *_LISTS)))
        ),
        notes=tuple(notes),
    )
    require_images(records)
    return records


def label_list(source: Source) -> Path:
    """The list of faces: a corrected one, or ExpW's own.

    Raises:
        DataError: If there is none.
    """
    corrected = source.file("labels")
    if corrected is not None:
        return corrected
    return _existing(source.path, _LISTS, "the list")


def _existing(root: Path, places: tuple[str, ...], what: str) -> Path:
    for place in places:
        if (root / place).exists():
            return root / place
    raise DataError.at(
        str(root),
        expected=f"{what}: {' or '.join(places)}",
        got="neither",
        remedy="Give the folder that ExpW was unpacked into.",
    )


def _confidence(source: Source) -> float:
    text = source.options.get("min_confidence", "0")
    try:
        value = float(text)
        if np.isnan(value):
            raise ValueError
    except ValueError:
        raise DataError.at(
            f"{source.scheme}: min_confidence",
            expected="a number",
            got=repr(text),
            remedy=f"Example: {source.scheme}:PATH,min_confidence=20.",
        ) from None
    return value


def _numbers(place: str, words: list[str]) -> list[float]:
    try:
        numbers = [float(word) for word in words]
        if (
            not all(map(np.isfinite, numbers))
            or numbers[1] >= numbers[2]
            or (numbers[0] >= numbers[3])
        ):
            raise ValueError
    except ValueError:
        raise DataError.at(
            f"{place}: {', '.join(_COLUMNS[2:7])}",
            expected="numbers, top < bottom and left < right",
            got=" ".join(words),
            remedy="Repair or delete the line.",
        ) from None
    return numbers


def _is_test(name: str) -> bool:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return number < int(TEST_FRACTION * 2**64)
