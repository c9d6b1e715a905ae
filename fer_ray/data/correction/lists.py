"""Lists and csv tables of labels, written anew with some other labels."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from fer_ray.data.classes import AFFECTNET, FER2013, RAF_DB
from fer_ray.data.readers import affectnet, expw, fer2013, raf_db
from fer_ray.data.readers.ferplus_folders import is_ferplus_folder
from fer_ray.data.readers.tables import csv_header
from fer_ray.data.records import Records, Source


def original(source: Source) -> Path:
    """The list that is corrected; a copy stands beside it."""
    for key in ("labels", "noise"):
        path = source.file(key) if key in source.options else None
        if path is not None:
            return path
    if source.scheme == "affectnet":
        folder = affectnet.list_folder_of(source.path)
        assert folder is not None, "a release with lists"
        return folder / affectnet.TRAINING
    return expw.label_list(source) if source.scheme == "expw" else raf_db.label_list(source.path)


def has_list(source: Source) -> bool:
    """Whether the labels of a data set are corrected by another list, which an option names."""
    if source.scheme == "affectnet":
        return affectnet.list_folder_of(source.path) is not None
    return source.scheme in WRITERS


def becomes_pack(source: Source) -> bool:
    """Whether other labels are written as a pack: of drawn faces, of votes, of numbered classes."""
    is_votes = source.scheme == "fer2013" and is_ferplus_folder(source.path)
    is_told = source.scheme == "folder" and bool(source.options)
    return source.scheme in ("pack", "synthetic") or is_votes or is_told


def fer2013_table(path: Path) -> Path | None:
    """The csv of FER2013; `None` if the data set is folders of images."""
    return fer2013.found(path)[0]


def write_raf_db(source: Source, records: Records, names: Mapping[int, str], out: Path) -> None:
    """A list in RAF-DB's own format: `train_00001.jpg 5`, test images as they are."""
    del source
    native = {name: number for number, name in RAF_DB.items()}
    lines = []
    for i, path in enumerate(records.path):
        stem = PurePosixPath(path).stem.removesuffix("_aligned")
        name = names.get(i, records.class_names[int(records.label[i])])
        lines.append(f"{stem}.jpg {native[name]}\n")
    out.write_text("".join(lines), encoding="utf-8")


def write_affectnet(source: Source, records: Records, names: Mapping[int, str], out: Path) -> None:
    """`training.csv` with other expressions."""
    native = {name: str(number) for number, name in AFFECTNET.items()}
    changes = {_line(records.listed[i]): native[name] for i, name in names.items()}
    _rewrite_csv(original(source), "expression", changes, out)


def write_fer2013(source: Source, records: Records, names: Mapping[int, str], out: Path) -> None:
    """`fer2013.csv` with other emotions; its other columns and its order stay."""
    native = {name: str(number) for number, name in FER2013.items()}
    changes = {_line(records.path[i]): native[name] for i, name in names.items()}
    table = fer2013_table(source.path)
    assert table is not None
    _rewrite_csv(table, "emotion", changes, out)


def write_expw(source: Source, records: Records, names: Mapping[int, str], out: Path) -> None:
    """`label.lst` with other labels, the last word of a line."""
    native = {name: str(number) for number, name in FER2013.items()}
    changes = {_line(records.listed[i]): native[name] for i, name in names.items()}
    with original(source).open(encoding="utf-8-sig") as old, out.open("w", encoding="utf-8") as new:
        for number, line in enumerate(old, start=1):
            words = line.split()
            if number in changes:
                line = " ".join([*words[:-1], changes[number]]) + "\n"
            new.write(line)


WRITERS: Mapping[str, Callable[[Source, Records, Mapping[int, str], Path], None]] = {
    "raf-db": write_raf_db,
    "affectnet": write_affectnet,
    "expw": write_expw,
}
"""By scheme: what writes its list."""


def _line(listed: str) -> int:
    """Number of the line in `training.csv:17`."""
    return int(listed.rpartition(":")[2])


def _rewrite_csv(path: Path, column: str, changes: Mapping[int, str], out: Path) -> None:
    """Copy a csv file with other values in one column of some lines."""
    csv.field_size_limit(2**24)
    with (
        path.open(encoding="utf-8-sig", newline="") as old,
        out.open("w", encoding="utf-8", newline="") as new,
    ):
        reader, writer = csv.reader(old), csv.writer(new, lineterminator="\n")
        writer.writerow(next(reader))
        place = csv_header(path, (column,)).index(column)
        for row in reader:
            if reader.line_num in changes:
                row[place] = changes[reader.line_num]
            writer.writerow(row)
