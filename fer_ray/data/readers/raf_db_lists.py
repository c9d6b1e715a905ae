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
COLUMN = "column"
"""Option: which word of a line is the label, if there are more than two; 2 is the second."""
_MAX_MISSING = 0.01


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


def noisy_labels(
    path: Path, images: list[RafImage], column: int | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels by a noise list, and notes; ids 1 to 7, or 0 to 6 if there is a 0.

    A training image that is not listed keeps its official label, if they are at most 1 %.

    Args:
        path: The list.
        images: All images.
        column: Which word of a line is the label; see `COLUMN`.

    Raises:
        DataError: If a line is not as it should be, an image is listed twice or is unknown, a test
            label is not the official one, or too many training images are missing; with the line.
    """
    index = {image.stem: i for i, image in enumerate(images)}
    found: dict[int, tuple[int, str]] = {}
    for number, line in table_lines(path):
        place = f"{path}:{number}"
        name, word = words_of(place, line, column)
        stem = stem_of(place, name)
        if stem not in index:
            raise DataError.at(
                place, expected="an image of the data set", got=name, remedy="Take the line out."
            )
        if index[stem] in found:
            raise repeated(place, name)
        found[index[stem]] = whole_number(place, "label", word, range(8)), place
    first = first_id(path, dict(found.values()))
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
    num_train = sum(image.subset == TRAIN for image in images)
    if len(missing) > _MAX_MISSING * num_train:
        raise DataError.at(
            str(path),
            expected="a label for every training image",
            got=f"none for {len(missing)} of them, such as {missing[0]}",
            remedy="Is this a list for another version of the data set?",
        )
    if missing:
        few = f"{len(missing)} training images, such as {missing[0]}, are not in {path.name}"
        return given, (f"{few}: they keep their official label",)
    return given, ()


def first_id(path: Path, ids: Mapping[int, str]) -> int:
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


def words_of(place: str, line: str, column: int | None = None) -> tuple[str, str]:
    """Name and label in a line of a list: two words, or more and the number of the label's.

    Raises:
        DataError: If there are others; with the option that tells them apart, filled in.
    """
    words = re.split(r"[\s,]+", line.strip().rstrip(","))
    if len(words) == 2 and column is None:
        return words[0], words[1]
    if column is not None and 2 <= column <= len(words):
        return words[0], words[column - 1]
    options = [f"{COLUMN}={i} ({word})" for i, word in enumerate(words[1:], start=2)]
    raise DataError.at(
        place,
        expected="the name of an image and its label",
        got=repr(line[:200]),
        remedy=f"Say which word is the label: add ,{' or ,'.join(options[:5])} to the spec."
        if len(words) > 2
        else "Repair the line.",
    )


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
