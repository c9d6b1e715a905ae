"""Reads the folders that FER+'s own script writes: `FER2013Train/label.csv` beside the images.

A line of `label.csv` is an image's name, its size as a box and its ten votes. FER2013's own labels
are not there.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fer_ray.data.classes import FERPLUS_VOTES
from fer_ray.data.faces import UNKNOWN_TRUTH, DataError
from fer_ray.data.readers.ferplus import CLASS_NAMES, RULES, count_votes
from fer_ray.data.readers.tables import table_lines
from fer_ray.data.records import TRAIN, Records, Source

_FOLDERS = {
    "FER2013Train": "Training",
    "FER2013Valid": "PublicTest",
    "FER2013Test": "PrivateTest",
}
"""Folder -> the usage of its images in FER2013."""

_LIST = "label.csv"
_NUM_COLUMNS = 2 + len(FERPLUS_VOTES)


def is_ferplus_folder(path: Path) -> bool:
    """Whether a folder holds training images as FER+'s script writes them."""
    return (path / "FER2013Train" / _LIST).is_file()


def list_ferplus_folders(source: Source, subsets: Mapping[str, int], rule: str) -> Records:
    """List the images whose votes have a winner by a rule, which is their label.

    Args:
        source: Its path holds `FER2013Train` and the like.
        subsets: Subset by usage; a negative one is left out.
        rule: One of `ferplus.RULES`.

    Raises:
        DataError: If a list cannot be read or a line is bad; with the line.
    """
    paths: list[str] = []
    listed: list[str] = []
    subset: list[int] = []
    votes: list[list[int]] = []
    lists = [top for top in _FOLDERS if (source.path / top / _LIST).is_file()]
    for top in lists:
        code = subsets[_FOLDERS[top]]
        for line, name, counts in _lines(source.path / top / _LIST):
            if code >= TRAIN:
                paths.append(f"{top}/{name}")
                listed.append(f"{_LIST}:{line}")
                subset.append(code)
                votes.append(counts)
    label = RULES[rule](np.array(votes, dtype=np.uint8).reshape(-1, len(FERPLUS_VOTES)))
    kept = np.flatnonzero(label != UNKNOWN_TRUTH)
    return Records(
        name=f"{source.scheme}:{source.path.name}",
        root=source.path,
        path=tuple(paths[i] for i in kept),
        listed=tuple(listed[i] for i in kept),
        label=label[kept],
        true_label=np.full(len(kept), UNKNOWN_TRUTH, dtype=np.int64),
        subset=np.array(subset, dtype=np.int64)[kept],
        class_names=CLASS_NAMES,
        sources=tuple(str((source.path / top / _LIST).absolute()) for top in lists),
        notes=(
            f"labels are those of FER+ ({rule}); {len(label) - len(kept)} of {len(label)} images "
            "have none and were left out; FER2013's own labels are not in these folders",
        ),
    )


def _lines(path: Path) -> Iterator[tuple[int, str, list[int]]]:
    """Line number, image name and votes of every line.

    Raises:
        DataError: If the file cannot be read or a line is bad; with the line.
    """
    for line, text in table_lines(path):
        values = [value.strip() for value in next(csv.reader([text]))]
        if len(values) != _NUM_COLUMNS:
            raise DataError.at(
                f"{path}:{line}",
                expected=f"{_NUM_COLUMNS} values: an image, its box and ten votes",
                got=f"{len(values)}",
                remedy="Take the file as FER+'s script wrote it.",
            )
        yield line, values[0], count_votes(f"{path}:{line}", values[2:])
