"""Images in any folders, and a csv of their names and labels: `folder:/path,labels=FILE`.

The csv has a column of names and one of labels, and may have one of splits; others do not count.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fer_ray.data.classes import canonical_name
from fer_ray.data.faces import DataError
from fer_ray.data.readers.class_folders import Listing
from fer_ray.data.readers.class_ids import is_id, which_ids
from fer_ray.data.readers.tables import csv_header, csv_rows
from fer_ray.data.records import TEST, TRAIN, VAL, Source

LABELS = "labels"
SPLITS: Mapping[str, int] = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}
_NAMES = (
    "path",
    "pth",
    "image",
    "file",
    "filename",
    "file_name",
    "image_name",
    "image_path",
    "name",
)
_CLASSES = ("label", "expression", "emotion", "class")
_SUBSETS = ("split", "subset", "usage", "phase", "set")


def read_labels(source: Source, table: Path, ids: Mapping[int, str] | None) -> Listing:
    """List the images that a table names, sorted by path.

    Args:
        source: Its path is the folder that the table's names start from.
        table: The csv.
        ids: Canonical names of labels that are numbers.

    Raises:
        DataError: If a column is missing, an image is there twice, or a label or split is unknown;
            with the line.
    """
    name, label = (_column(table, known) for known in (_NAMES, _CLASSES))
    split = _column(table, _SUBSETS, needed=False)
    rows: dict[str, tuple[str, str, int]] = {}
    for line, row in csv_rows(table, (name, label, *([split] if split else []))):
        place, path = f"{table}:{line}", row[name].replace("\\", "/").removeprefix("./")
        if path in rows:
            raise DataError.at(
                place, expected="every image once", got=f"{path} again", remedy="Take one line out."
            )
        rows[path] = row[label], row[split].lower() if split else "", line
    if ids is None:
        _check_names(source, table, [word for word, _, _ in rows.values()])
    listed = dict(sorted(rows.items()))
    return Listing(
        path=tuple(listed),
        top=tuple(_split(f"{table}:{line}", top) for _, top, line in listed.values()),
        class_name=tuple(
            _class(f"{table}:{line}: {label}", word, ids) for word, _, line in listed.values()
        ),
        folders=(str(table.absolute()),),
        notes=(f"labels are those of {table.name}",),
        listed=tuple(f"{table.name}:{line}" for _, _, line in listed.values()),
    )


def _column(table: Path, known: Sequence[str], *, needed: bool = True) -> str:
    """The first of some columns that a table has; empty if it has none.

    Raises:
        DataError: If it has none, but needs one.
    """
    header = csv_header(table, known)
    found = [name for name in known if name in header]
    if found or not needed:
        return next(iter(found), "")
    raise DataError.at(
        f"{table}:1",
        expected=f"a column named {', '.join(known)}",
        got=", ".join(header)[:200] or "an empty file",
        remedy="Name the columns in the first line, such as image,label.",
    )


def _check_names(source: Source, table: Path, words: Sequence[str]) -> None:
    """Refuse labels that are numbers whose meaning nobody has said.

    Raises:
        DataError: With the option filled in.
    """
    numbers = {int(word) for word in words if is_id(word)}
    if numbers:
        raise DataError.at(
            str(table),
            expected="labels whose meaning is known",
            got=f"numbers: {', '.join(map(str, sorted(numbers)[:20]))}",
            remedy=which_ids(f"{source.scheme}:{source.path},{LABELS}={table}", numbers) + ".",
        )


def _class(place: str, word: str, ids: Mapping[int, str] | None) -> str:
    if ids is None or not is_id(word):
        try:
            return canonical_name(word)
        except DataError as error:
            raise DataError(f"{place}: {error}") from None
    if int(word) not in ids:
        raise DataError.at(
            place,
            expected=f"one of {', '.join(f'{i} {name}' for i, name in ids.items())}",
            got=word,
            remedy="Complete ids=, or delete the line.",
        )
    return ids[int(word)]


def _split(place: str, top: str) -> str:
    if top and top not in SPLITS:
        raise DataError.at(
            place,
            expected=f"a split, one of {', '.join(SPLITS)}",
            got=repr(top),
            remedy="Repair or delete the line.",
        )
    return top
