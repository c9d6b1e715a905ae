"""Data sets by spec: `open_data("synthetic")`, `open_data("raf-db:/path/basic")`."""

import difflib
import hashlib
import importlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from fer_ray.data.faces import DataError, FaceData, Faces, ImageRows
from fer_ray.data.packs.cache import cache_root
from fer_ray.data.packs.pack import Pack, open_pack, pack_faces
from fer_ray.data.readers.arrays import read_arrays
from fer_ray.data.records import IMAGE_SUFFIXES, Records, Source, parse_source
from fer_ray.data.synthetic.faces import read_synthetic

__all__ = [
    "LISTS",
    "READERS",
    "SCHEMES",
    "DataError",
    "FaceData",
    "Faces",
    "ImageRows",
    "list_records",
    "open_data",
    "prepared",
]

READERS: dict[str, Callable[[str, float, int], FaceData]] = {
    "synthetic": read_synthetic,
    "arrays": read_arrays,
}
"""Scheme -> reader of (what follows the colon, validation share, seed of the validation rows)."""

LISTS: dict[str, str] = {
    "raf-db": "raf_db",
    "affectnet": "affectnet",
    "fer2013": "fer2013",
    "expw": "expw",
    "folder": "folder",
}
"""Scheme of image files -> module here, which has `KEYS` and `list_<module>`."""

SCHEMES = (*READERS, *LISTS, "pack")

_MAX_DEPTH, _MAX_ENTRIES = 3, 200


def open_data(
    spec: str,
    *,
    val_fraction: float = 0.15,
    seed: int = 0,
    size: int | None = None,
    deduplicate: bool = True,
    max_missing_fraction: float = 0.01,
) -> FaceData:
    """Open a data set; one of image files is prepared into the cache the first time.

    Args:
        spec: `scheme` or `scheme:rest`, such as `synthetic:noise=0.3` or `raf-db:/path/basic`.
        val_fraction: Share of the training images to validate on, in (0, 1), where the data set
            comes without validation images.
        seed: Which images these are; the data themselves do not depend on it.
        size: Height and width of images read from files; by default 112 pixels, or their own size
            where that is smaller. Arrays, packs and drawn faces have a size of their own.
        deduplicate: Whether test and validation images that are copies of training images are left
            out, of image files and packs.
        max_missing_fraction: Share of listed image files that may be missing or unreadable.

    Raises:
        DataError: If the scheme is unknown, or the data cannot be used as they are.
    """
    scheme, rest = split_spec(spec)
    if not 0 < val_fraction < 1:
        raise DataError.at(
            "val_fraction",
            expected="a share between 0 and 1",
            got=str(val_fraction),
            remedy="Example: 0.15.",
        )
    if scheme in READERS:
        return READERS[scheme](rest, val_fraction, seed)
    pack = prepared(spec, size=size, max_missing_fraction=max_missing_fraction)
    return pack_faces(pack, val_fraction=val_fraction, seed=seed, deduplicate=deduplicate)


def split_spec(spec: str) -> tuple[str, str]:
    """Scheme and rest of a spec.

    Raises:
        DataError: If the scheme is unknown.
    """
    scheme, _, rest = spec.strip().partition(":")
    if scheme not in SCHEMES:
        near = difflib.get_close_matches(scheme, SCHEMES, n=1)
        raise DataError.at(
            f"data {spec!r}",
            expected=f"one of {', '.join(SCHEMES)} before the colon",
            got=repr(scheme),
            remedy=f"Did you mean {near[0]!r}?" if near else "Example: synthetic:train=4000.",
        )
    return scheme, rest


def list_records(spec: str) -> Records:
    """What a data set of image files lists; no image is opened.

    Raises:
        DataError: If `spec` is of another kind, or the data set is not as it should be.
    """
    scheme, _ = split_spec(spec)
    if scheme not in LISTS:
        raise DataError.at(
            f"data {spec!r}",
            expected=f"image files ({', '.join(LISTS)})",
            got=repr(scheme),
            remedy="Arrays, packs and drawn faces need no preparation.",
        )
    return _records(_source(spec))


def prepared(spec: str, *, size: int | None = None, max_missing_fraction: float = 0.01) -> Pack:
    """The pack that a spec names, or that of its image files, made in the cache if need be.

    The cache knows a data set by its path, and by size and time of its lists and folders; an image
    replaced under its old name goes unnoticed.

    Raises:
        DataError: See `open_data`.
    """
    source = _source(spec)
    if source.scheme == "pack":
        return open_pack(source.path)  # whoever made it has said what may be missing
    key = "\n".join([spec, str(size), *_fingerprint(source)])
    folder = cache_root() / "packs" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if folder.exists():
        pack = open_pack(folder)
        pack.check_problems(max_missing_fraction)
        return pack
    from fer_ray.data.packs.prepare import auto_size, prepare  # here, for most runs find their pack
    from fer_ray.data.packs.progress import Preparing

    records = _records(source)
    with Preparing(records) as progress:
        return prepare(
            records,
            size or auto_size(records),
            folder,
            max_missing_fraction=max_missing_fraction,
            announce=progress.announce,
            advance=progress.advance,
            advance_copies=progress.advance_copies,
        )


def _source(spec: str) -> Source:
    scheme, rest = split_spec(spec)
    keys = () if scheme == "pack" else _module(scheme).KEYS
    return parse_source(scheme, rest, keys)


def _records(source: Source) -> Records:
    module = LISTS[source.scheme]
    records = getattr(_module(source.scheme), f"list_{module}")(source)
    assert isinstance(records, Records)
    return records


def _module(scheme: str) -> ModuleType:
    return importlib.import_module(f"fer_ray.data.readers.{LISTS[scheme]}")


def _fingerprint(source: Source) -> Iterator[str]:
    """Size and time of lists and folders, to notice that they have changed."""
    files = [file for key in source.options if (file := _file_of(source, key)) is not None]
    pending = [(source.path, 0), *((file, 0) for file in files)]
    while pending:
        place, depth = pending.pop(0)
        status = place.stat()
        yield f"{place} {status.st_size} {status.st_mtime_ns}"
        if not place.is_dir() or depth == _MAX_DEPTH:
            continue
        with os.scandir(place) as entries:
            listed = sorted(entry.name for entry in itertools.islice(entries, _MAX_ENTRIES))
        pending += [
            (place / name, depth + 1)
            for name in listed
            if Path(name).suffix.lower() not in IMAGE_SUFFIXES
        ]


def _file_of(source: Source, key: str) -> Path | None:
    path = Path(source.options[key]).expanduser()
    return source.file(key) if "://" in source.options[key] or path.is_file() else None
