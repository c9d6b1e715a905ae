"""Reads which labels are verified: from a csv file, or as the data set itself says.

The file has a header and a line per image: `index` or `path`, `label` (empty: cannot be told) and
`sample` (`random` or `picked`).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fer_ray.data.classes import canonical_name
from fer_ray.data.faces import CANNOT_TELL, NOT_VERIFIED, DataError, Verified
from fer_ray.data.packs.pack import Pack
from fer_ray.data.packs.stage import local_copy
from fer_ray.data.readers.tables import csv_rows
from fer_ray.data.records import TEST

_SAMPLES = {"random": True, "picked": False}
_NAMES = ("index", "path")


def verified_of(pack: Pack, place: str | None, *, refresh: bool = False) -> Verified | None:
    """What a person says of a pack's images: by the file at `place`, else by the data set itself.

    A file of an object store is copied once; with `refresh` again.

    Raises:
        DataError: See `read_verified`; or if test images of the data set are verified.
    """
    if place is not None:
        return read_verified(local_copy(place, refresh=refresh), pack)
    if pack.verified is None or (pack.verified[:, 0] == NOT_VERIFIED).all():
        return None
    label = np.array(pack.verified[:, 0])
    of_test = np.flatnonzero((label != NOT_VERIFIED) & (pack.subset == TEST))
    if of_test.size:
        raise _of_test(f"{pack.name}: verified_labels of {pack.path[of_test[0]]}")
    return Verified(label=label, is_random=pack.verified[:, 1] == 1, given=np.array(pack.label))


def verified_digest(place: str | None) -> str:
    """Tell the contents of files of verified labels apart: a hash of what is at `place` now.

    Empty without a file, and where it cannot be read, which opening the data reports.
    """
    if place is None:
        return ""
    try:
        return hashlib.sha256(local_copy(place).read_bytes()).hexdigest()[:16]
    except (OSError, DataError):
        return ""


def read_verified(path: Path, pack: Pack) -> Verified:
    """Read a csv file of verified labels.

    `index` is the image's row in its source (`Faces.row`), `path` what the data set calls it
    (`Pack.path`). Where both are given, both must fit. Other columns do not count.

    Raises:
        DataError: If the file cannot be read, lacks a column or is empty; if a line names no image,
            several, a test image, or one that an earlier line names; if a label is no class of the
            data set or a sample neither `random` nor `picked`; with the line.
    """
    rows = list(csv_rows(path, ("label", "sample")))
    keys = [key for key in _NAMES if rows and key in rows[0][1]]
    if not keys:
        raise DataError.at(
            f"{path}:1",
            expected="a column index or path, and a line per verified image",
            got=", ".join(rows[0][1]) if rows else "no line",
            remedy="Example: index,label,sample and then 17,happy,random.",
        )
    tables = {key: _numbers(pack, key) for key in keys}
    label = np.full(len(pack), NOT_VERIFIED, dtype=np.int64)
    is_random = np.zeros(len(pack), dtype=bool)
    line_of: dict[int, int] = {}
    for line, row in rows:
        place = f"{path}:{line}"
        i = _image(place, {key: row[key] for key in keys if row[key]}, tables, pack)
        if i in line_of:
            raise DataError.at(
                place,
                expected="every image once",
                got=f"{pack.path[i]} again, which is in line {line_of[i]}",
                remedy="Keep one of the two lines.",
            )
        if pack.subset[i] == TEST:
            raise _of_test(place)
        line_of[i] = line
        label[i] = _label(place, row["label"], pack)
        is_random[i] = sample_of(place, row["sample"])
    return Verified(label=label, is_random=is_random, given=np.array(pack.label))


def _numbers(pack: Pack, key: str) -> dict[str, list[int]]:
    """Places in the pack by index or path; test images only under names that no other image has."""
    names = pack.row if key == "index" else pack.path
    by_name: dict[str, list[int]] = {}
    for i in np.argsort(pack.subset == TEST, kind="stable").tolist():
        found = by_name.setdefault(str(names[i]), [])
        if pack.subset[i] != TEST or not found:
            found.append(i)
    return by_name


def _image(
    place: str, names: Mapping[str, str], tables: Mapping[str, dict[str, list[int]]], pack: Pack
) -> int:
    """The place in the pack of the one image that all names of a line fit."""
    plain = {
        key: str(int(x)) if x.isdecimal() and key == "index" else x for key, x in names.items()
    }
    places = [set(tables[key].get(name, [])) for key, name in plain.items()]
    found = set.intersection(*places) if places else set()
    if len(found) != 1:
        said = ", ".join(f"{key} {name!r}" for key, name in names.items()) or "neither"
        raise DataError.at(
            place,
            expected=f"the index or path of one image of {pack.name}, such as index "
            f"{pack.row[0]} or path {str(pack.path[0])!r}",
            got=f"{said}, which is that of {len(found) or 'no'} images",
            remedy="index is the column `row` of split.npz. Repair the line or take it out.",
        )
    return found.pop()


def _of_test(place: str) -> DataError:
    return DataError.at(
        place,
        expected="a training or validation image",
        got="a test image, which is never learnt from",
        remedy="Take it out, and verify training images.",
    )


def _label(place: str, text: str, pack: Pack) -> int:
    if not text:
        return CANNOT_TELL
    try:
        name = canonical_name(text)
    except DataError as error:
        raise DataError(f"{place}: label: {error}") from None
    if name not in pack.class_names:
        raise DataError.at(
            f"{place}: label",
            expected=f"one of {', '.join(pack.class_names)}",
            got=repr(text),
            remedy="Leave the label empty where an image shows none of them.",
        )
    return pack.class_names.index(name)


def sample_of(place: str, text: str) -> bool:
    """Whether an image was drawn by lot, by the word in its line.

    Raises:
        DataError: If it is neither `random` nor `picked`.
    """
    if text not in _SAMPLES:
        raise DataError.at(
            f"{place}: sample",
            expected="random (drawn by lot) or picked (chosen for a reason)",
            got=repr(text),
            remedy="Only random images tell how frequent errors are; if in doubt, write picked.",
        )
    return _SAMPLES[text]
