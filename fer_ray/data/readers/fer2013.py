"""Reads `fer2013:/path`: the csv of Goodfellow et al. 2013 (arXiv:1307.0414), or images of it.

The csv is `fer2013.csv` or `icml_face_data.csv`; FER+'s votes (`ferplus=fer2013new.csv`) are joined
with it by row. Kaggle's `train.csv` has training rows alone, without `Usage`. The images are those
of Kaggle's folders, `train/<class>/Training_<id>.jpg` and
`test/<class>/{PublicTest,PrivateTest}_<id>.jpg`; their ids are no rows. The folders that FER+'s own
script writes have its votes beside the images (`ferplus_folders`).

PrivateTest stays for a final check: `test=public` (the default) tests on PublicTest and leaves
PrivateTest out, `test=private` tests on PrivateTest and validates on PublicTest, `test=both` tests
on both.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fer_ray.data.classes import FER2013
from fer_ray.data.faces import UNKNOWN_TRUTH, DataError
from fer_ray.data.readers.class_folders import Listing, left_beside, list_classes
from fer_ray.data.readers.ferplus import CLASS_NAMES, RULES, check_joined, read_votes, truth_notes
from fer_ray.data.readers.ferplus_folders import is_ferplus_folder, list_ferplus_folders
from fer_ray.data.readers.tables import csv_header, csv_rows, whole_number
from fer_ray.data.records import TEST, TRAIN, VAL, Records, Source, canonical_labels, require_images

KEYS: tuple[str, ...] = ("ferplus", "truth", "test")

SIZE = 48
"""Height and width of the csv's images in pixels."""

_TABLES = ("fer2013.csv", "icml_face_data.csv", "train.csv")
_COLUMNS = ("emotion", "Usage", "pixels")
TEST_FRACTION = 0.2
"""Share of the rows that test where the csv has training rows alone."""
_TOPS = {"train": ("Training",), "test": ("PublicTest", "PrivateTest")}
_LEFT_OUT = -1
_SPLITS = {
    "public": {"Training": TRAIN, "PublicTest": TEST, "PrivateTest": _LEFT_OUT},
    "private": {"Training": TRAIN, "PublicTest": VAL, "PrivateTest": TEST},
    "both": {"Training": TRAIN, "PublicTest": TEST, "PrivateTest": TEST},
}
_STEM = re.compile(r"(Training|PublicTest|PrivateTest)_[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The csv; entry i of every field is row i, the header not counted.

    `label` is int64 [sample], an index into `CLASS_NAMES`; `pixels` uint8 [sample, 48, 48];
    `has_usage` says whether the csv tells the usage of a row, which is else `Training`.
    """

    line: tuple[int, ...]
    usage: tuple[str, ...]
    label: np.ndarray
    pixels: np.ndarray
    has_usage: bool


def list_fer2013(source: Source) -> Records:
    """List FER2013 from a csv, or a folder that holds one (maybe in `fer2013/`), or images.

    With FER+'s votes, their labels are the truth and what is tested on; training and validation
    keep FER2013's. `truth=` names the rule, see `ferplus`; `truth=soft` takes the expression with
    the largest share of the votes for the seven, because a label is a class here.

    Raises:
        DataError: If neither is there, a row is bad (with file and line), an image is misnamed, or
            FER+'s rows are not those of the csv.
    """
    subsets = _SPLITS[source.choice("test", tuple(_SPLITS), "public")]
    rule = source.choice("truth", tuple(RULES), next(iter(RULES)))
    ferplus = source.file("ferplus")
    if "truth" in source.options and ferplus is None and not is_ferplus_folder(source.path):
        raise DataError.at(
            f"{source.scheme}: truth={rule}",
            expected="ferplus=FILE beside it",
            got="no ferplus",
            remedy=f"Example: {source.scheme}:PATH,ferplus=fer2013new.csv,truth={rule}.",
        )
    if is_ferplus_folder(source.path):
        records = list_ferplus_folders(source, subsets, rule)
        require_images(records)
        return records
    table, images = found(source.path)
    if table is not None:
        records = _list_table(source, table, subsets, ferplus, rule)
    elif ferplus is None:
        records = _list_images(source, images, subsets)
    else:
        raise DataError.at(
            f"{source.scheme}: ferplus={ferplus}",
            expected=f"{_TABLES[0]}, whose rows FER+'s votes belong to",
            got=f"image folders in {images}, whose file names are no row numbers",
            remedy=f"Use {source.scheme}:PATH/{_TABLES[0]},ferplus=...",
        )
    require_images(records)
    return records


def found(path: Path) -> tuple[Path | None, Path]:
    """The csv if there is one, and the folder that holds it or the image folders.

    Raises:
        DataError: If there is neither.
    """
    if path.is_file():
        return path, path.parent
    places = (path, path / "fer2013")
    for place in places:
        for name in _TABLES:
            if (place / name).is_file():
                return place / name, place
    for place in places:
        if (place / "train").is_dir():
            return None, place
    raise DataError.at(
        str(path),
        expected=f"{', '.join(_TABLES)} (here or in fer2013/), the folders train and test, or "
        "FER2013Train and the like with label.csv",
        got="none of them",
        remedy="Give the csv itself, or the folder that it was unpacked into.",
    )


def _list_table(
    source: Source, table: Path, subsets: dict[str, int], ferplus: Path | None, rule: str
) -> Records:
    rows = _read_table(table)
    subset = np.array([subsets[usage] for usage in rows.usage], dtype=np.int64)
    label, truth = rows.label, np.full(len(rows.label), UNKNOWN_TRUTH, dtype=np.int64)
    keep = subset != _LEFT_OUT
    notes = list(_left_out(rows.usage, subsets))
    if not rows.has_usage:
        subset, note = _with_test(rows)
        notes.append(note)
    if ferplus is not None:
        votes = read_votes(ferplus)
        check_joined(votes, table, rows.usage, rows.line)
        truth = RULES[rule](votes.votes)
        notes += truth_notes(label, truth, subset, rule)
        label = np.where(subset == TEST, truth, label)
        keep &= (subset != TEST) | (truth != UNKNOWN_TRUTH)
    kept = np.flatnonzero(keep)
    return Records(
        name=f"{source.scheme}:{source.path.name}",
        root=table.parent,
        path=tuple(f"{table.name}:{rows.line[i]}" for i in kept),
        listed=("",) * len(kept),
        label=label[kept],
        true_label=truth[kept],
        subset=subset[kept],
        class_names=CLASS_NAMES,
        pixels=rows.pixels[kept],
        row=kept.astype(np.int64),
        sources=tuple(str(path.absolute()) for path in (table, ferplus) if path is not None),
        notes=tuple(notes),
    )


def _with_test(rows: _Table) -> tuple[np.ndarray, str]:
    """Subsets of training rows alone, some of which test; equal images stay together."""
    num_below = int(TEST_FRACTION * 2**64)
    number = [
        int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") for image in rows.pixels
    ]
    is_test = np.array([value < num_below for value in number])
    note = (
        f"the csv has training rows alone: {int(is_test.sum())} of {len(is_test)}, chosen by a "
        f"hash of their pixels ({TEST_FRACTION:.0%}), are the test set"
    )
    return np.where(is_test, TEST, TRAIN).astype(np.int64), note


def _list_images(source: Source, root: Path, subsets: dict[str, int]) -> Records:
    tops = tuple(top for top in _TOPS if (root / top).is_dir())
    listing = list_classes(root, tops, CLASS_NAMES)
    usages = _usages(root, listing)
    subset = np.array([subsets[usage] for usage in usages], dtype=np.int64)
    kept = np.flatnonzero(subset != _LEFT_OUT)
    label = [CLASS_NAMES.index(listing.class_name[i]) for i in kept]
    return Records(
        name=f"{source.scheme}:{source.path.name}",
        root=root,
        path=tuple(listing.path[i] for i in kept),
        listed=("",) * len(kept),
        label=np.array(label, dtype=np.int64),
        true_label=np.full(len(kept), UNKNOWN_TRUTH, dtype=np.int64),
        subset=subset[kept],
        class_names=CLASS_NAMES,
        sources=(str(root.absolute()), *listing.folders),
        notes=(*_left_out(usages, subsets), *left_beside(root, tops), *listing.notes),
    )


def _read_table(table: Path) -> _Table:
    """Every row of the csv, checked.

    Raises:
        DataError: If a column is missing or a value is bad; with the line.
    """
    lines, usages, native, pixels = [], [], [], bytearray()
    has_usage = "Usage" in csv_header(table, _COLUMNS) or table.name != _TABLES[-1]
    for line, row in csv_rows(table, _COLUMNS if has_usage else ("emotion", "pixels")):
        place = f"{table}:{line}"
        native.append(whole_number(place, "emotion", row["emotion"], FER2013))
        usage = row.get("Usage", "Training")
        if usage not in _SPLITS["both"]:
            raise DataError.at(
                f"{place}: Usage",
                expected=f"one of {', '.join(_SPLITS['both'])}",
                got=repr(usage),
                remedy="Repair or delete the line.",
            )
        usages.append(usage)
        pixels += _pixels(place, row["pixels"])
        lines.append(line)
    return _Table(
        line=tuple(lines),
        usage=tuple(usages),
        label=canonical_labels(native, FER2013)[0],
        pixels=np.frombuffer(pixels, dtype=np.uint8).reshape(-1, SIZE, SIZE),
        has_usage=has_usage,
    )


def _pixels(place: str, text: str) -> bytes:
    """A row's grey values.

    Raises:
        DataError: If they are not 48 x 48 whole numbers from 0 to 255.
    """
    foreign = text.encode().translate(None, b"0123456789 ").decode(errors="replace")
    values = np.fromstring("" if foreign else text, dtype=np.int64, sep=" ")
    if len(values) == SIZE**2 and values.max() <= 255:
        return values.astype(np.uint8).tobytes()
    if foreign:
        got = f"{foreign[:20]!r} among them"
    elif len(values) != SIZE**2:
        got = f"{len(values)} numbers"
    else:
        got = str(values.max())
    raise DataError.at(
        f"{place}: pixels",
        expected=f"{SIZE**2} whole numbers from 0 to 255",
        got=got,
        remedy="Repair or delete the line.",
    )


def _usages(root: Path, listing: Listing) -> tuple[str, ...]:
    """Training, PublicTest or PrivateTest of every image, by its file's name.

    Raises:
        DataError: If names do not say it, or say something else than their folder.
    """
    matches = [_STEM.fullmatch(PurePosixPath(path).stem) for path in listing.path]
    usages = tuple("" if match is None else match[1] for match in matches)
    bad = [i for i, usage in enumerate(usages) if usage not in _TOPS[listing.top[i]]]
    if bad:
        known = _TOPS[listing.top[bad[0]]]
        raise DataError.at(
            str(root / listing.path[bad[0]]),
            expected=f"a name such as {' or '.join(f'{usage}_123.jpg' for usage in known)}",
            got=f"{len(bad)} images in {', '.join(_TOPS)} with other names",
            remedy="The name alone tells PublicTest from PrivateTest. Remove images that are not "
            "FER2013's own, or read the folder as it is with folder:PATH.",
        )
    return usages


def _left_out(usages: tuple[str, ...], subsets: dict[str, int]) -> Iterator[str]:
    for usage, num in Counter(usages).items():
        if subsets[usage] == _LEFT_OUT:
            yield f"{num} {usage} images were left out, for a final check (test=private)"
