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
    MANIFEST,
    VERSION,
    Pack,
    Problem,
    copy_images,
    open_pack,
    refuse_too_many,
    write_columns,
    write_manifest,
)
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


def auto_size(records: Records) -> int:
    """112, or the images' own size where the smallest of the first few is smaller; at least 16."""
    if records.pixels is not None:
        return int(min(DEFAULT_SIZE, *records.pixels.shape[1:3]))
    sizes = []
    for path in records.path[:_SAMPLE]:
        try:
            with Image.open(records.root / path) as image:
                sizes.append(min(image.size))
        except Exception:  # it is counted when all are decoded
            continue
    return max(_SMALLEST, min([DEFAULT_SIZE, *sizes]))


def estimate(records: Records, size: int, num_threads: int) -> Estimate:
    """Size exactly, time by decoding a few images from all over the list."""
    rows = np.unique(np.linspace(0, len(records) - 1, _SAMPLE).astype(int))
    start = time.perf_counter()
    for i in rows:
        with suppress(ImageError):  # it is counted when all are decoded
            _one(records, size, int(i))
    per_image = (time.perf_counter() - start) / len(rows)
    return Estimate(
        num_images=len(records),
        num_bytes=len(records) * 3 * size * size,
        seconds=len(records) * per_image / num_threads,
    )


def prepare(
    records: Records,
    size: int,
    out: Path,
    *,
    max_missing_fraction: float = 0.01,
    num_threads: int | None = None,
    announce: Callable[[Estimate, Path], None] | None = None,
    advance: Advance | None = None,
    advance_copies: Advance | None = None,
) -> Pack:
    """Make the pack of a data set, or open it if it is there already.

    The same input gives the same bytes. A second process waits for the first and opens its pack;
    after a kill the next one decodes only what is missing.

    Args:
        records: What the data set lists.
        size: Height and width of the images, 16 to 1024 pixels.
        out: Folder of the pack; what is made lies beside it until it is whole.
        max_missing_fraction: Share of images that may be missing or unreadable.
        num_threads: All of the machine's by default.
        announce: Told before decoding what it will take.
        advance: Told of images decoded.
        advance_copies: Told of validation and test images compared with those of training.

    Raises:
        DataError: If nothing is listed, too many images are missing or unreadable (with the first
            of them), `out` holds something else, or the disk is too small.
    """
    _check(records, size, out)
    digest = _digest(records, size)
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.with_name(f".{out.name}.lock")):
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
            announce(estimate(records, size, threads), out)
        building = _Building(records, size, work, advance or _ignore, advance_copies)
        building.run(threads, digest, max_missing_fraction)
        work.rename(out)
    return open_pack(out)


def _check(records: Records, size: int, out: Path) -> None:
    if not len(records):
        raise DataError.at(
            records.name,
            expected="at least one image",
            got="none",
            remedy="Check the path and the data set's lists.",
        )
    if not _SMALLEST <= size <= _LARGEST:
        raise DataError.at(
            "size",
            expected=f"{_SMALLEST} to {_LARGEST} pixels",
            got=str(size),
            remedy=f"Example: {DEFAULT_SIZE}.",
        )
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    free, needed = shutil.disk_usage(parent).free, len(records) * 3 * size * size
    if not out.exists() and free < needed:
        raise DataError.at(
            str(out),
            expected=f"{needed / 1e9:.1f} GB of free disk",
            got=f"{free / 1e9:.1f} GB",
            remedy="Choose a smaller size or another disk.",
        )


def _existing(out: Path, digest: str) -> Pack:
    pack = open_pack(out)
    made_of = json.loads((out / MANIFEST).read_text(encoding="utf-8")).get("made_of")
    if made_of != digest:
        raise DataError.at(
            str(out),
            expected="no such folder, or this data set at this size",
            got=f"a pack of {pack.name} made of something else",
            remedy="Choose another --out, or remove the folder.",
        )
    return pack


def _digest(records: Records, size: int) -> str:
    """Of everything that a pack depends on but the content of image files."""
    digest = hashlib.sha256(json.dumps([VERSION, size, records.name]).encode())
    texts = (records.path, records.listed, records.class_names, records.notes)
    digest.update(json.dumps(texts, ensure_ascii=False).encode())
    for name in ("label", "true_label", "split", "box", "row", "pixels"):
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
        size: int,
        work: Path,
        advance: Advance,
        advance_copies: Advance | None,
    ) -> None:
        self._records, self._size, self._work = records, size, work
        self._advance, self._advance_copies = advance, advance_copies
        self._order = np.argsort(records.split, kind="stable")
        self._all, self._marks = work / "all.npy", work / "done"
        self._shape = (len(records), 3, size, size)

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
        split = records.split[rows].astype(np.int64)
        row = np.arange(len(order)) if records.row is None else records.row
        write_columns(
            self._work,
            {
                "label": records.label[rows].astype(np.int64),
                "true_label": records.true_label[rows].astype(np.int64),
                "split": split,
                "row": row[rows].astype(np.int64),
                "path": np.array([records.path[i] for i in rows], dtype=np.str_),
                "group": exact_groups(images),
                "near_train": near_train(images, split, self._advance_copies),
                "original_size": np.concatenate([mark["sizes"] for mark in marks])[usable],
            },
        )
        write_manifest(
            self._work,
            name=records.name,
            class_names=records.class_names,
            problems=[problems[i] for i in sorted(problems)],
            notes=[*records.notes, *_notes(records, marks, problems)],
            more={"size": self._size, "made_of": digest},
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
    records: Records, size: int, i: int
) -> tuple[np.ndarray, tuple[int, int], tuple[str, ...]]:
    """Image i, from its file or from the table that holds it.

    Raises:
        ImageError: If it cannot be used.
    """
    if records.pixels is not None:
        pixels = records.pixels[i]
        image = Image.fromarray(pixels).convert("RGB")
        return square(image, size), (pixels.shape[0], pixels.shape[1]), ()
    box = None
    if records.box is not None and records.box[i].any():
        left, top, right, bottom = records.box[i].tolist()
        box = (left, top, right, bottom)
    return decode(records.root / records.path[i], size, box)


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
