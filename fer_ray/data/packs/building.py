"""A pack under construction: decoded in chunks, continued where a killed process stopped."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fer_ray.data.images import take_images
from fer_ray.data.packs.copies import exact_groups, near_train
from fer_ray.data.packs.decode import ImageError, decode, fit
from fer_ray.data.packs.pack import (
    VERIFIED,
    Problem,
    copy_images,
    refuse_too_many,
    write_columns,
    write_manifest,
)
from fer_ray.data.records import Records

_CHUNK = 256
"""Images that are decoded, written and marked as done together."""

Advance = Callable[[int], None]
"""Told how many more images are done."""


def ignore(num: int) -> None:
    """Take no note."""


class Building:
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
                images[place], sizes[place], how = decode_one(self._records, self._size, i)
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
        row = records.row_numbers
        group, near = records.group, records.near_train
        optional = {} if records.verified is None else {VERIFIED: records.verified[rows]}
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
                **optional,
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


def decode_one(
    records: Records, size: tuple[int, int], i: int
) -> tuple[np.ndarray, tuple[int, int], tuple[str, ...]]:
    """Image i, from its file or from the table that holds it.

    Raises:
        ImageError: If it cannot be used.
    """
    if records.pixels is not None:
        pixels = records.pixels[i]
        original = pixels.shape[0], pixels.shape[1]
        if original != size:
            rgb = Image.fromarray(pixels).convert("RGB")
            return fit(rgb, records.num_channels, size), original, ()
        channels = np.atleast_3d(pixels).transpose(2, 0, 1)
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
        "16 bits": "have 16 bits and were scaled to 8, by the bits that they use",
        "float": "have floating-point numbers and were scaled to 8 bits",
        "flat": "are of one shade, such as all black; look at them",
        "transparent": "have transparent parts, which became black",
    }
    for how, text in words.items():
        if done[how]:
            yield f"{done[how]} images {text}"
