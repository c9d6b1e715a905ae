"""A data set with verified labels in place of the given ones; the original stays as it is."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_ray.data.correction import arrays, lists, trees
from fer_ray.data.faces import DataError, Verified
from fer_ray.data.open import list_records, source_of
from fer_ray.data.packs.pack import Pack
from fer_ray.data.records import TEST, Records, Source

SUFFIX = "-corrected"

Write = Callable[[Source, Records, Mapping[int, str], Path], None]
"""Writes a data set of which some records (by number) have another class (by name)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How the labels of a data set are written.

    Attributes:
        name: Of what is written, beside the data set, unless another path is given.
        write: Writes it.
        spec: The spec of the corrected data set.
    """

    name: Callable[[Source], Path]
    write: Write
    spec: Callable[[Source, Path], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """What was written.

    Attributes:
        out: The file or folder.
        spec: The corrected data set.
        changed: Places in the pack of the images whose label is another one now.
    """

    out: Path
    spec: str
    changed: np.ndarray


def changed_labels(verified: Verified) -> np.ndarray:
    """Places of the images whose verified class is not the given one."""
    return np.flatnonzero(verified.is_told & (verified.label != verified.given))


def correct(spec: str, pack: Pack, verified: Verified, out: Path | None = None) -> Corrected:
    """Write a data set's labels anew: lists and arrays as copies, class folders as links.

    Where a person could not tell, the given label stays. What is written is there as a whole, or
    not at all.

    Args:
        spec: The data set.
        pack: The same, prepared.
        verified: What a person says of its images.
        out: The file or folder to write; by default beside the data set, with `-corrected`.

    Raises:
        DataError: If something is there already, it cannot be written, or no label is another one.
    """
    source, changed = source_of(spec), changed_labels(verified)
    if not changed.size:
        raise DataError.at(
            f"labels for {pack.name}",
            expected="a verified label that is not the given one",
            got="none, so that nothing would change",
            remedy="Nothing was written.",
        )
    how = _format_of(source)
    out = (how.name(source) if out is None else out).absolute()
    if out.exists():
        raise DataError.at(
            str(out),
            expected="no such file or folder",
            got="something there",
            remedy="Choose another --out, or remove it.",
        )
    names = {int(i): pack.class_names[int(verified.label[i])] for i in changed}
    if source.scheme in ("pack", "synthetic"):
        _whole(out, lambda part: arrays.write_corrected_pack(pack, names, part))
    else:
        records = list_records(spec)
        of_records = {_record(records, pack, i): name for i, name in names.items()}
        _whole(out, lambda part: how.write(source, records, of_records, part))
    return Corrected(out=out, spec=how.spec(source, out), changed=changed)


def _record(records: Records, pack: Pack, place: int) -> int:
    """Number of the record that became an image of the pack."""
    (found,) = np.flatnonzero((records.row_numbers == pack.row[place]) & (records.subset != TEST))
    return int(found)


def _whole(out: Path, write: Callable[[Path], None]) -> None:
    """Write beside the target, then move it there.

    Raises:
        DataError: If that is not possible.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            write(scratch / out.name)
            (scratch / out.name).rename(out)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise DataError.at(
            str(out),
            expected="a place that can be written",
            got=f"{type(error).__name__}: {error.strerror or error}",
            remedy="Choose another --out.",
        ) from None


def _format_of(source: Source) -> Format:
    scheme, path = source.scheme, source.path
    if lists.has_list(source):
        key = "noise" if "noise" in source.options else "labels"
        return Format(
            name=lambda source: _beside(lists.original(source)),
            write=lists.WRITERS[scheme],
            spec=lambda source, out: _spec(source, source.path, {key: str(out)}),
        )
    if scheme == "fer2013" and lists.fer2013_table(path) is not None:
        return Format(
            name=lambda source: _beside(lists.fer2013_table(source.path) or source.path),
            write=lists.write_fer2013,
            spec=lambda source, out: _spec(source, out, {}),
        )
    if scheme == "arrays":
        write: Write = arrays.write_arrays
    elif scheme == "affectnet":
        write = trees.write_annotations
    else:
        write = trees.write_tree
    return Format(
        name=lambda source: _beside(source.path if source.path.name else Path("synthetic")),
        write=write,
        spec=lambda source, out: (
            f"pack:{out}" if source.scheme in ("pack", "synthetic") else _spec(source, out, {})
        ),
    )


def _beside(path: Path) -> Path:
    """`labels.csv` becomes `labels-corrected.csv`, in the same folder."""
    return path.with_name(f"{path.stem}{SUFFIX}{path.suffix}")


def _spec(source: Source, path: Path, more: Mapping[str, str]) -> str:
    options = {**source.options, **more}
    return ",".join(
        [f"{source.scheme}:{path}", *(f"{key}={value}" for key, value in options.items())]
    )
