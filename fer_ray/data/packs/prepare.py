"""Decodes a data set once, in parallel, into a pack; goes on where a killed process stopped."""

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from fer_ray.data.faces import DataError
from fer_ray.data.packs.building import Advance, Building, decode_one, ignore
from fer_ray.data.packs.copies import seconds_to_compare
from fer_ray.data.packs.pack import (
    VERSION,
    Pack,
    open_pack,
)
from fer_ray.data.packs.read import ImageError
from fer_ray.data.packs.stamps import stamps
from fer_ray.data.records import TRAIN, Records

DEFAULT_SIZE = 112
_SMALLEST, _LARGEST = 16, 1024
_SAMPLE = 24
WORTH_S, _START_S = 1.0, 0.3
"""Seconds of decoding for which another process is started; and those that its start takes."""
_BYTES_PER_S = 1.5e9
"""Bytes written into the cache of the file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What preparing will take.

    Attributes:
        num_images: Images to decode.
        num_bytes: Bytes of the pack's images.
        seconds: By the time a few images took.
        num_processes: Processes that will decode, with this one.
    """

    num_images: int
    num_bytes: int
    seconds: float
    num_processes: int


def pack_size(records: Records, size: int | None) -> tuple[int, int]:
    """Height and width of the images of a pack, in pixels.

    Args:
        records: What the data set lists.
        size: Height and width in pixels. By default images of a table keep their own size, and
            images of files have 112, or their own size where that is smaller.
    """
    if size is not None:
        return size, size
    if records.pixels is not None:
        return int(records.pixels.shape[1]), int(records.pixels.shape[2])
    sizes = []
    for path in records.path[:_SAMPLE]:
        try:
            if not (records.root / path).is_file():  # a pipe would be waited for
                continue
            with Image.open(records.root / path) as image:
                sizes.append(min(image.size))
        except Exception:  # it is counted when all are decoded
            continue
    side = max(_SMALLEST, min([DEFAULT_SIZE, *sizes]))
    return side, side


def estimate(records: Records, size: tuple[int, int], num_processes: int) -> Estimate:
    """Size exactly; time by decoding and comparing a few images from all over the list."""
    rows = np.unique(np.linspace(0, len(records) - 1, _SAMPLE).astype(int))
    sample: list[np.ndarray] = []
    with suppress(ImageError):  # with the first image Pillow's formats are loaded
        decode_one(records, size, int(rows[0]))
    start = time.perf_counter()
    for i in rows:
        with suppress(ImageError):  # it is counted when all are decoded
            sample.append(np.ascontiguousarray(decode_one(records, size, int(i))[0]))
            zlib.crc32(sample[-1].data)
    per_image = (time.perf_counter() - start) / len(rows)
    alone = len(records) * per_image
    processes = 1 if records.pixels is not None else min(num_processes, 1 + int(alone / WORTH_S))
    num_bytes = len(records) * records.num_channels * size[0] * size[1]
    is_train = records.subset == TRAIN
    nums = (int((~is_train).sum()), int(is_train.sum()))
    if records.near_train is not None:
        nums = (0, 0)
    return Estimate(
        num_images=len(records),
        num_bytes=num_bytes,
        seconds=(alone + (processes - 1) * _START_S) / processes
        + num_bytes / _BYTES_PER_S
        + (seconds_to_compare(np.stack(sample), *nums) if sample else 0),
        num_processes=processes,
    )


def prepare(
    records: Records,
    size: int | None,
    out: Path,
    *,
    max_missing_fraction: float = 0.01,
    num_processes: int | None = None,
    announce: Callable[[Estimate, Path], None] | None = None,
    advance: Advance | None = None,
    advance_copies: Advance | None = None,
    refresh: bool = False,
) -> Pack:
    """Make the pack of a data set, or open it if it is there already.

    The same input gives the same bytes. A second process waits for the first and opens its pack;
    after a kill the next one decodes only what is missing.

    Args:
        records: What the data set lists.
        size: Height and width of the images, 16 to 1024 pixels; see `pack_size`.
        out: Folder of the pack; what is made lies beside it until it is whole.
        max_missing_fraction: Share of images that may be missing or unreadable.
        num_processes: Processes that decode, one per core by default; fewer where little is to be
            decoded.
        announce: Told before decoding what it will take.
        advance: Told of images decoded.
        advance_copies: Told of validation and test images compared with those of training.
        refresh: Whether a pack that is there already is made again.

    Raises:
        DataError: If nothing is listed, too many images are missing or unreadable (with the first
            of them), `out` holds something else, or the disk is too small.
    """
    _check(records, size)
    shape = pack_size(records, size)
    digest = made_of(records, shape)
    _check_disk(records, shape, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.with_name(f".{out.name}.lock")):
        if refresh and out.exists():
            open_pack(out)  # a folder that is not a pack is never removed
            shutil.rmtree(out)  # processes that have mapped its files keep them
        if out.exists():
            pack = _existing(out, digest)
            pack.check_problems(max_missing_fraction)
            return pack
        work = out.with_name(f".{out.name}.{digest[:12]}.part")
        processes = num_processes or os.cpu_count() or 1
        for stale in out.parent.glob(f".{out.name}.*.part"):
            if stale != work:  # of an input that has changed since
                shutil.rmtree(stale)
        expected = estimate(records, shape, processes)
        if announce is not None:
            announce(expected, out)
        building = Building(records, shape, work, advance or ignore, advance_copies)
        building.run(expected.num_processes, digest, max_missing_fraction)
        work.rename(out)
    return open_pack(out)


def _check(records: Records, size: int | None) -> None:
    if not len(records):
        raise DataError.at(
            records.name,
            expected="at least one image",
            got="none",
            remedy="Check the path and the data set's lists.",
        )
    if size is not None and not _SMALLEST <= size <= _LARGEST:
        raise DataError.at(
            "data.size (--size)",
            expected=f"{_SMALLEST} to {_LARGEST} pixels",
            got=str(size),
            remedy=f"Leave it out for the default: {DEFAULT_SIZE}, or what the images have where "
            "that is smaller.",
        )


def _check_disk(records: Records, size: tuple[int, int], out: Path) -> None:
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    needed = len(records) * records.num_channels * size[0] * size[1]
    if not out.exists() and free < needed:
        raise DataError.at(
            str(out),
            expected=f"{needed / 1e9:.1f} GB of free disk",
            got=f"{free / 1e9:.1f} GB",
            remedy="Choose a smaller size or another disk.",
        )


def _existing(out: Path, digest: str) -> Pack:
    pack = open_pack(out)
    if pack.made_of != digest:
        raise DataError.at(
            str(out),
            expected="no such folder, or this data set at this size",
            got=f"a pack of {pack.name} made of something else",
            remedy="Choose another --out, or make this one again with --refresh.",
        )
    return pack


def is_made_of(folder: Path, records: Records, size: int | None) -> bool:
    """Whether a pack was made of these records and of their files as they are now."""
    try:
        return open_pack(folder).made_of == made_of(records, pack_size(records, size))
    except DataError:
        return False


def made_of(records: Records, size: tuple[int, int]) -> str:
    """Digest of everything that a pack depends on; image files count by their stamps."""
    digest = hashlib.sha256(json.dumps([VERSION, size, records.name]).encode())
    if records.pixels is None:
        for entry in stamps(str(records.root / path) for path in records.path):
            digest.update(entry.encode())
    texts = (records.path, records.listed, records.class_names, records.notes)
    digest.update(json.dumps(texts, ensure_ascii=False).encode())
    held = ("label", "true_label", "subset", "box", "row", "group", "near_train", "pixels")
    for name in (*held, "verified"):
        column = getattr(records, name)
        if column is not None:
            digest.update(np.ascontiguousarray(column).view(np.uint8).data)
    return digest.hexdigest()
