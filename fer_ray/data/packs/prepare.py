"""Decodes a data set once, in parallel, into a pack; goes on where a killed process stopped."""

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from fer_ray.data.faces import DataError, take_images
from fer_ray.data.packs.copies import exact_groups, near_train
from fer_ray.data.packs.decode import ImageError, decode, square
from fer_ray.data.packs.pack import (
    VERSION,
    Pack,
    Problem,
    copy_images,
    open_pack,
    refuse_too_many,
    write_columns,
    write_manifest,
)
from fer_ray.data.packs.stamps import stamps
from fer_ray.data.records import Records

DEFAULT_SIZE = 112
_SMALLEST, _LARGEST = 16, 1024
_CHUNK = 256
"""Images that are decoded, written and marked as done together."""
_SAMPLE = 24

Advance = Callable[[int], None]
"""Told how many more images are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What preparing will take.

    Attributes:
        num_images: Images to decode.
        num_bytes: Bytes of the pack's images.
        seconds: By the time a few images took.
    """

    num_images: int
    num_bytes: int
    seconds: float


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
            with Image.open(records.root / path) as image:
                sizes.append(min(image.size))
        except Exception:  # it is counted when all are decoded
            continue
    side = max(_SMALLEST, min([DEFAULT_SIZE, *sizes]))
    return side, side


def estimate(records: Records, size: tuple[int, int], num_threads: int) -> Estimate:
    """Size exactly, time by decoding a few images from all over the list."""
    rows = np.unique(np.linspace(0, len(records) - 1, _SAMPLE).astype(int))
    start = time.perf_counter()
    for i in rows:
        with suppress(ImageError):  # it is counted when all are decoded
            _one(records, size, int(i))
    per_image = (time.perf_counter() - start) / len(rows)
    return Estimate(
        num_images=len(records),
        num_bytes=len(records) * records.num_channels * size[0] * size[1],
        seconds=len(records) * per_image / num_threads,
    )


def prepare(
    records: Records,
    size: int | None,
    out: Path,
    *,
    max_missing_fraction: float = 0.01,
    num_threads: int | None = None,
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
        num_threads: All of the machine's by default.
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
        threads = num_threads or os.cpu_count() or 1
        for stale in out.parent.glob(f".{out.name}.*.part"):
            if stale != work:  # of an input that has changed since
                shutil.rmtree(stale)
        if announce is not None:
            announce(estimate(records, shape, threads), out)
        building = _Building(records, shape, work, advance or _ignore, advance_copies)
        building.run(threads, digest, max_missing_fraction)
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
            "size",
            expected=f"{_SMALLEST} to {_LARGEST} pixels",
            got=str(size),
            remedy=f"Example: {DEFAULT_SIZE}.",
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
    """Digest of everything that a pack depends on; image files count by size and time of change."""
    digest = hashlib.sha256(json.dumps([VERSION, size, records.name]).encode())
    if records.pixels is None:
        for line in stamps(str(records.root / path) for path in records.path):
            digest.update(line.encode())
    texts = (records.path, records.listed, records.class_names, records.notes)
    digest.update(json.dumps(texts, ensure_ascii=False).encode())
    for name in ("label", "true_label", "subset", "box", "row", "group", "near_train", "pixels"):
        column = getattr(records, name)
        if column is not None:
            digest.update(np.ascontiguousarray(column).view(np.uint8).data)
    return digest.hexdigest()


def _ignore(num: int) -> None:
    """Take no note."""


class _Building:
    """A pack under construction: a file of images in their final order, a mark per chunk done."""

    def __init__(
        self,
        records: Records,
        size: tuple[int, int],
        work: Path,
        advance: Advance,
        advance_copies: Advance | None,
    ) -> None:
        self._records, self._size, self._work = records, size, work
        self._advance, self._advance_copies = advance, advance_copies
        self._order = np.argsort(records.subset, kind="stable")
        self._all, self._marks = work / "all.npy", work / "done"
        self._shape = (len(records), records.num_channels, *size)

    def run(self, num_threads: int, digest: str, max_missing_fraction: float) -> None:
        """Everything up to the manifest."""
        self._marks.mkdir(parents=True, exist_ok=True)
        whole = self._work / "images.npy"
        if whole.exists() and not self._all.exists():  # stopped after the last chunk
            whole.rename(self._all)
        if not self._all.exists() or np.load(self._all, mmap_mode="r").shape != self._shape:
            part = self._all.with_suffix(".part")
            np.lib.format.open_memmap(part, "w+", np.uint8, self._shape)
            part.rename(self._all)
        self._offset = np.load(self._all, mmap_mode="r").offset
        starts = range(0, len(self._records), _CHUNK)
        with ThreadPoolExecutor(num_threads) as pool:
            futures = [pool.submit(self._chunk, start) for start in starts]
            try:
                for future in as_completed(futures):
                    self._advance(future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        marks = [self._mark(start) for start in starts]
        records = self._records
        problems = {
            int(i): Problem(path=records.path[int(i)], listed=records.listed[int(i)], **why)
            for mark in marks
            for i, why in mark["problems"].items()
        }
        listed = [problems[i] for i in sorted(problems)]
        refuse_too_many(records.name, listed, len(records), max_missing_fraction)
        self._finish(digest, marks, problems)

    def _mark(self, start: int) -> dict[str, Any]:
        mark: dict[str, Any] = json.loads((self._marks / f"{start}.json").read_text("utf-8"))
        return mark

    def _chunk(self, start: int) -> int:
        """Decode a chunk, write it through to the disk, then mark it; or find it marked.

        One with problems is tried again: the data set may have been completed since.
        """
        rows = self._order[start : start + _CHUNK]
        mark = self._marks / f"{start}.json"
        if mark.exists() and not self._mark(start)["problems"]:
            return len(rows)
        images = np.zeros((len(rows), *self._shape[1:]), dtype=np.uint8)
        sizes, done, problems = np.zeros((len(rows), 2), dtype=int), Counter[str](), {}
        for place, i in enumerate(rows.tolist()):
            try:
                images[place], sizes[place], how = _one(self._records, self._size, i)
                done.update(how)
            except ImageError as error:
                problems[i] = {"kind": error.kind, "reason": str(error)}
        with self._all.open("r+b") as file:
            os.pwrite(file.fileno(), images.data, self._offset + start * images[0].nbytes)
            os.fsync(file.fileno())
        part = mark.with_suffix(".part")
        part.write_text(json.dumps({"sizes": sizes.tolist(), "done": done, "problems": problems}))
        part.rename(mark)
        return len(rows)

    def _finish(
        self, digest: str, marks: list[dict[str, Any]], problems: dict[int, Problem]
    ) -> None:
        """Leave out what cannot be used, look for copies, write all files, the manifest last."""
        records, order = self._records, self._order
        usable = np.flatnonzero(~np.isin(order, list(problems)))
        rows = order[usable]
        images = self._usable_images(usable)
        subset = records.subset[rows].astype(np.int64)
        row = np.arange(len(order)) if records.row is None else records.row
        group, near = records.group, records.near_train
        write_columns(
            self._work,
            {
                "label": records.label[rows].astype(np.int64),
                "true_label": records.true_label[rows].astype(np.int64),
                "subset": subset,
                "row": row[rows].astype(np.int64),
                "path": np.array([records.path[i] for i in rows], dtype=np.str_),
                "group": exact_groups(images) if group is None else group[rows],
                "near_train": near_train(images, subset, self._advance_copies)
                if near is None
                else near[rows],
                "original_size": np.concatenate([mark["sizes"] for mark in marks])[usable],
            },
        )
        write_manifest(
            self._work,
            name=records.name,
            class_names=records.class_names,
            problems=[problems[i] for i in sorted(problems)],
            notes=[*records.notes, *_notes(records, marks, problems)],
            more={"size": list(self._size), "made_of": digest},
        )
        shutil.rmtree(self._marks)
        self._all.unlink(missing_ok=True)

    def _usable_images(self, usable: np.ndarray) -> np.ndarray:
        """The images file of the pack: the one that was written, or what is good of it."""
        target = self._work / "images.npy"
        if len(usable) == len(self._order):
            self._all.rename(target)
        else:
            copy_images(take_images(np.load(self._all, mmap_mode="r"), usable), target)
        mapped: np.ndarray = np.load(target, mmap_mode="r")
        return mapped


def _one(
    records: Records, size: tuple[int, int], i: int
) -> tuple[np.ndarray, tuple[int, int], tuple[str, ...]]:
    """Image i, from its file or from the table that holds it.

    Raises:
        ImageError: If it cannot be used.
    """
    if records.pixels is not None:
        pixels = records.pixels[i]
        original = pixels.shape[0], pixels.shape[1]
        channels = np.atleast_3d(pixels).transpose(2, 0, 1)
        if original != size:
            image = square(Image.fromarray(pixels).convert("RGB"), size[0])
            channels = image[: channels.shape[0]]
        return np.broadcast_to(channels, (records.num_channels, *size)), original, ()
    box = None
    if records.box is not None and records.box[i].any():
        left, top, right, bottom = records.box[i].tolist()
        box = (left, top, right, bottom)
    return decode(records.root / records.path[i], size[0], box)


def _notes(
    records: Records, marks: list[dict[str, Any]], problems: dict[int, Problem]
) -> Iterator[str]:
    kinds = Counter(problem.kind for problem in problems.values())
    for kind, num in sorted(kinds.items()):
        i = min(i for i, problem in problems.items() if problem.kind == kind)
        yield f"{num} images are {kind} and were left out, the first {records.place(i)}"
    done: Counter[str] = Counter()
    for mark in marks:
        done.update(mark["done"])
    words = {
        "misnamed": "are of another type than their ending says",
        "grey": "are grey and became RGB",
        "CMYK": "are CMYK and became RGB",
        "16 bits": "have 16 bits and were scaled to 8",
        "transparent": "have transparent parts, which became black",
    }
    for how, text in words.items():
        if done[how]:
            yield f"{done[how]} images {text}"
