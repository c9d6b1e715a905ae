"""Data sets by spec: `open_data("synthetic")`, `open_data("raf-db:/path/basic")`.

Every reader lists images as `Records`; what is listed is prepared into a pack, once.
"""

import difflib
import hashlib
import importlib
import shutil
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from fer_ray.data.faces import DataError, FaceData
from fer_ray.data.packs.cache import CACHE_VARIABLE, cache_root
from fer_ray.data.packs.pack import MANIFEST, VERSION, Pack, open_pack
from fer_ray.data.packs.stamps import are_unchanged, write_stamps
from fer_ray.data.records import Records, Source, parse_source
from fer_ray.data.subsets import pack_faces
from fer_ray.data.verified_file import verified_of

READERS: dict[str, str] = {
    "synthetic": "synthetic",
    "raf-db": "raf_db",
    "affectnet": "affectnet",
    "fer2013": "fer2013",
    "expw": "expw",
    "folder": "folder",
    "arrays": "arrays",
}
"""Scheme -> module of `readers`, which has `KEYS` and `list_<module>`."""

SCHEMES = (*READERS, "pack")


def open_data(
    spec: str,
    *,
    val_fraction: float = 0.15,
    seed: int = 0,
    size: int | None = None,
    deduplicate: bool = True,
    max_missing_fraction: float = 0.01,
    verified: str | None = None,
    use_verified: bool = True,
    refresh: bool = False,
) -> FaceData:
    """Open a data set; it is prepared into the cache the first time, and when its files changed.

    Args:
        spec: `scheme` or `scheme:rest`, such as `synthetic:noise=0.3` or `raf-db:/path/basic`.
        val_fraction: Share of the training images to validate on, in (0, 1), where the data set
            comes without validation images.
        seed: Which images these are; the data themselves do not depend on it.
        size: Height and width of the images; by default arrays keep their own, and images of files
            have 112 pixels, or their own where that is smaller. Packs and drawn faces have a size
            of their own.
        deduplicate: Whether test and validation images that are copies of training images are left
            out. Drawn faces have no copies.
        max_missing_fraction: Share of listed image files that may be missing or unreadable.
        verified: A csv file of labels that a person has verified (see docs/data.md); it is read
            every time, and goes before what the data set itself says.
        use_verified: Whether training images get their verified label in place of the given one.
        refresh: Whether the data set is prepared again, whatever the cache holds.

    Raises:
        DataError: If the scheme is unknown, or the data cannot be used as they are.
    """
    if not 0 < val_fraction < 1:
        raise DataError.at(
            "val_fraction",
            expected="a share between 0 and 1",
            got=str(val_fraction),
            remedy="Example: 0.15.",
        )
    pack = prepared(spec, size=size, max_missing_fraction=max_missing_fraction, refresh=refresh)
    return pack_faces(
        pack,
        val_fraction=val_fraction,
        seed=seed,
        deduplicate=deduplicate,
        verified=verified_of(pack, verified, refresh=refresh),
        use_verified=use_verified,
    )


def split_spec(spec: str) -> tuple[str, str]:
    """Scheme and rest of a spec.

    Raises:
        DataError: If the scheme is unknown.
    """
    scheme, _, rest = spec.strip().partition(":")
    if scheme not in SCHEMES:
        near = difflib.get_close_matches(scheme, SCHEMES, n=1)
        meant = near[0] if near else _spec_of_path(spec.strip())
        raise DataError.at(
            f"data {spec!r}",
            expected=f"one of {', '.join(SCHEMES)} before the colon",
            got=repr(scheme),
            remedy=f"Did you mean {meant!r}?" if meant else "Example: synthetic:train=4000.",
        )
    return scheme, rest


def _spec_of_path(path: str) -> str | None:
    """What a file or folder is probably meant as, by its name and what lies in it."""
    place = Path(path)
    with suppress(OSError, ValueError):  # such as a name that is too long
        if place.is_file():
            scheme = {".npz": "arrays", ".csv": "fer2013"}.get(place.suffix.lower())
            return None if scheme is None else f"{scheme}:{path}"
        if place.is_dir():
            return f"pack:{path}" if (place / MANIFEST).exists() else f"folder:{path}"
    return None


def list_records(spec: str, *, refresh: bool = False) -> Records:
    """What a data set lists; no image file is opened.

    Raises:
        DataError: If `spec` names a pack, or the data set is not as it should be.
    """
    source = source_of(spec, refresh=refresh)
    if source.scheme == "pack":
        raise DataError.at(
            f"data {spec!r}",
            expected=f"one of {', '.join(READERS)}",
            got="a pack, which is prepared already",
            remedy=f"Train on it: --data {spec}.",
        )
    return _records(source)


def prepared(
    spec: str,
    *,
    size: int | None = None,
    max_missing_fraction: float = 0.01,
    refresh: bool = False,
) -> Pack:
    """The pack that a spec names, or that of its images, made in the cache if need be.

    A pack in the cache is valid for exactly the files that it was made from: size, time of change
    and inode of every one of them count.

    Raises:
        DataError: See `open_data`.
    """
    source = source_of(spec, refresh=refresh)
    _check_size(source, size)
    if source.scheme == "pack":
        return open_pack(source.path)  # what may be missing was decided when it was made
    folder = cache_root() / "packs" / _key(source, size)
    try:
        pack = None if refresh else _unchanged(folder)
        if pack is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(f".{folder.name}.open.lock")):
                pack = _renewed(source, size, folder, max_missing_fraction, refresh=refresh)
    except OSError as error:
        raise DataError.at(
            str(folder.parent),
            expected="a cache folder that can be written",
            got=f"{type(error).__name__}: {error.strerror or error}",
            remedy=f"Set the environment variable {CACHE_VARIABLE} to a folder of your own.",
        ) from None
    pack.check_problems(max_missing_fraction)
    return pack


def _unchanged(folder: Path) -> Pack | None:
    """The pack of the cache, if it is whole and its files are as they were."""
    try:
        return open_pack(folder) if are_unchanged(folder) else None
    except DataError:
        return None


def _renewed(
    source: Source, size: int | None, folder: Path, max_missing_fraction: float, *, refresh: bool
) -> Pack:
    """The pack of the cache, made again if its files changed; the lock is held."""
    from fer_ray.data.packs.prepare import is_made_of, prepare
    from fer_ray.data.packs.progress import Preparing

    pack = None if refresh else _unchanged(folder)
    if pack is not None:  # another process has made it meanwhile
        return pack
    since_ns = time.time_ns()
    records = _records(source)
    if refresh or not is_made_of(folder, records, size):
        shutil.rmtree(folder, ignore_errors=True)  # processes that mapped its files keep them
    with Preparing(records) as progress:
        pack = prepare(
            records,
            size,
            folder,
            max_missing_fraction=max_missing_fraction,
            # Drawn faces are ready in a second or two: not worth a word.
            announce=None if source.scheme == "synthetic" else progress.announce,
            advance=progress.advance,
            advance_copies=progress.advance_copies,
        )
    images = () if records.pixels is not None else (str(records.root / x) for x in records.path)
    write_stamps(folder, (*records.sources, *images), since_ns)
    return pack


def _check_size(source: Source, size: int | None) -> None:
    """Refuse a size for what has one of its own.

    Raises:
        DataError: With the remedy.
    """
    remedies = {
        "synthetic": f"Write synthetic:size={size}.",
        "pack": "Prepare the data set again with another --size.",
    }
    if size is not None and source.scheme in remedies:
        raise DataError.at(
            "data.size",
            expected=f"none for {source.scheme}, whose images have a size of their own",
            got=str(size),
            remedy=remedies[source.scheme],
        )


def _key(source: Source, size: int | None) -> str:
    """The name of a data set in the cache."""
    options = sorted(source.options.items())
    place = "" if source.scheme == "synthetic" else str(source.path.resolve())
    version = getattr(_module(source.scheme), "VERSION", 0)
    text = repr((VERSION, version, source.scheme, place, options, size))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def source_of(spec: str, *, refresh: bool = False) -> Source:
    """Where a data set is, and its options.

    Raises:
        DataError: If the scheme or an option is unknown, or nothing is there.
    """
    scheme, rest = split_spec(spec)
    if scheme == "synthetic":
        return Source(scheme=scheme, path=Path(), options={"spec": rest})
    keys = () if scheme == "pack" else _module(scheme).KEYS
    return parse_source(scheme, rest, keys, refresh=refresh)


def _records(source: Source) -> Records:
    module = READERS[source.scheme]
    records = getattr(_module(source.scheme), f"list_{module}")(source)
    assert isinstance(records, Records)
    return records


def _module(scheme: str) -> ModuleType:
    return importlib.import_module(f"fer_ray.data.readers.{READERS[scheme]}")
