"""Lines of RAF-DB's lists: names of images, and published lists of wrong training labels."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from fer_ray.data.faces import DataError
from fer_ray.data.readers.tables import table_lines, whole_number
from fer_ray.data.records import TEST, TRAIN

_NAME = re.compile(r"(train|test)_[0-9]+")
CODE = {"train": TRAIN, "test": TEST}


class RafImage(NamedTuple):
    """An image as listed; `stem` is its name in the official list, such as `train_00001`."""

    stem: str
    path: str
    native: int
    listed: str

    @property
    def subset(self) -> int:
        """Training or test, by the image's name."""
        return CODE[self.stem.partition("_")[0]]


def noisy_labels(path: Path, images: list[RafImage]) -> np.ndarray:
    """Labels by a noise list; ids 1 to 7, or 0 to 6 if there is a 0.

    Raises:
        DataError: If a line is not as it should be, an image is listed twice or is unknown, a test
            label is not the official one, or a training image is missing; with the line.
    """
    index = {image.stem: i for i, image in enumerate(images)}
    found: dict[int, tuple[int, str]] = {}
    for number, line in table_lines(path):
        place = f"{path}:{number}"
        name, word = words_of(place, line)
        stem = stem_of(place, name)
        if stem not in index:
            raise DataError.at(
                place, expected="an image of the data set", got=name, remedy="Take the line out."
            )
        if index[stem] in found:
            raise repeated(place, name)
        found[index[stem]] = whole_number(place, "label", word, range(8)), place
    first = _first_id(path, dict(found.values()))
    given = np.array([image.native for image in images], dtype=np.int64)
    for i, (native, place) in found.items():
        value = native + 1 - first
        if images[i].subset == TEST and value != given[i]:
            raise DataError.at(
                place,
                expected=f"the official label {given[i] - 1 + first} of a test image",
                got=str(native),
                remedy="Only training labels may be wrong: take the test lines out.",
            )
        given[i] = value
    missing = [
        image.stem for i, image in enumerate(images) if image.subset == TRAIN and i not in found
    ]
    if missing:
        raise DataError.at(
            str(path),
            expected="a label for every training image",
            got=f"none for {len(missing)} of them, such as {missing[0]}",
            remedy="Is this a list for another version of the data set?",
        )
    return given


def _first_id(path: Path, ids: Mapping[int, str]) -> int:
    """0 or 1: the id of surprise; `ids` has the line where each was found last.

    Raises:
        DataError: If ids do not tell, or are of both kinds.
    """
    if (0 in ids) != (7 in ids):
        return 0 if 0 in ids else 1
    raise DataError.at(
        ids.get(0, str(path)),
        expected="ids 1 to 7, or 0 to 6 with a 0 among them",
        got=f"both 0 and 7 (the latter in {ids[7]})"
        if 0 in ids
        else "neither 0 nor 7, so that the first id is not known",
        remedy="Write the ids of the official list, 1 (surprise) to 7 (neutral).",
    )


def words_of(place: str, line: str) -> tuple[str, str]:
    """Name and label in a line of a list.

    Raises:
        DataError: If there are not two words.
    """
    words = re.split(r"[\s,]+", line.strip())
    if len(words) != 2:
        raise DataError.at(
            place,
            expected="the name of an image and its label",
            got=repr(line),
            remedy="Repair the line.",
        )
    return words[0], words[1]


def stem_of(place: str, name: str, subset: str = "") -> str:
    """`train_00001` of `train_00001_aligned.jpg` or `train_00001.jpg`; of one split if told."""
    stem = PurePosixPath(name).stem.removesuffix("_aligned")
    if _NAME.fullmatch(stem) is None or not stem.startswith(subset):
        names = {"train": "train_00001.jpg", "test": "test_0001_aligned.jpg"}
        raise DataError.at(
            place,
            expected=f"a name such as {names.get(subset) or ' or '.join(names.values())}",
            got=repr(name),
            remedy="Is this another data set's file?",
        )
    return stem


def repeated(place: str, name: str) -> DataError:
    """The error of an image that is listed twice."""
    return DataError.at(
        place, expected="every image once", got=f"{name} again", remedy="Take one line out."
    )
