"""A pack under construction: decoded in chunks, continued where a killed process stopped."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fer_ray.data.images import take_images
from fer_ray.data.packs.chunks import CHUNK, Box, Target, make_chunk
from fer_ray.data.packs.copies import exact_groups, near_train
from fer_ray.data.packs.crew import make_chunks
from fer_ray.data.packs.decode import decode, fit
from fer_ray.data.packs.pack import (
    VERIFIED,
    Problem,
    copy_images,
    refuse_too_many,
    write_columns,
    write_manifest,
)
from fer_ray.data.records import Records

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

    def run(self, num_processes: int, digest: str, max_missing_fraction: float) -> None:
        """Everything up to the manifest."""
        self._marks.mkdir(parents=True, exist_ok=True)
        whole = self._work / "images.npy"
        if whole.exists() and not self._all.exists():  # stopped after the last chunk
            whole.rename(self._all)
        if not self._all.exists() or np.load(self._all, mmap_mode="r").shape != self._shape:
            part = self._all.with_suffix(".part")
            np.lib.format.open_memmap(part, "w+", np.uint8, self._shape)
            part.rename(self._all)
        marks = self._make(num_processes)
        records = self._records
        problems = {
            i: Problem(path=records.path[i], listed=records.listed[i], **why)
            for start, mark in marks.items()
            for place, why in mark["problems"].items()
            for i in [int(self._order[start + int(place)])]
        }
        listed = [problems[i] for i in sorted(problems)]
        refuse_too_many(records.name, listed, len(records), max_missing_fraction)
        self._finish(digest, [marks[start] for start in sorted(marks)], problems)

    def _make(self, num_processes: int) -> dict[int, dict[str, Any]]:
        """The marks of all chunks, by place of the first image; those that lack are made.

        A chunk with problems is tried again: the data set may have been completed since.
        """
        images = np.load(self._all, mmap_mode="r")
        target = Target(
            images=str(self._all),
            offset=images.offset,
            marks=str(self._marks),
            shape=self._shape[1:],
        )
        marks, todo = {}, []
        for start in range(0, len(self._records), CHUNK):
            num = len(self._rows(start))
            mark = target.read(start, num)
            if mark is None or mark["problems"]:
                todo.append(start)
            else:
                marks[start] = mark
                self._advance(num)
        made = make_chunks(target, todo, partial(self._own, target), self._files, num_processes - 1)
        with closing(made):
            for start, mark in made:
                marks[start] = mark
                self._advance(len(self._rows(start)))
        return marks

    def _rows(self, start: int) -> np.ndarray:
        return self._order[start : start + CHUNK]

    def _own(self, target: Target, start: int) -> dict[str, Any]:
        rows = self._rows(start).tolist()
        one = partial(decode_one, self._records, self._size)
        return make_chunk(target, start, len(rows), lambda place: one(rows[place]))

    def _files(self, start: int) -> tuple[list[str], list[Box | None]]:
        rows = self._rows(start).tolist()
        root = str(self._records.root)
        paths = [os.path.join(root, self._records.path[i]) for i in rows]
        return paths, [box_of(self._records, i) for i in rows]

    def _finish(
        self, digest: str, marks: list[dict[str, Any]], problems: dict[int, Problem]
    ) -> None:
        """Leave out what cannot be used, look for copies, write all files, the manifest last."""
        records = self._records
        usable = np.flatnonzero(~np.isin(self._order, list(problems)))
        images = self._usable_images(usable)
        with ThreadPoolExecutor(max_workers=1) as disk:
            written = disk.submit(_write_through, self._work / "images.npy")
            write_columns(self._work, self._columns(images, usable, marks))
            written.result()  # before anything says that the pack is whole
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

    def _columns(
        self, images: np.ndarray, usable: np.ndarray, marks: list[dict[str, Any]]
    ) -> dict[str, np.ndarray]:
        """What is known of the images that can be used; looks for copies among them."""
        records, rows = self._records, self._order[usable]
        checksums = np.concatenate([mark["checksums"] for mark in marks])
        subset = records.subset[rows].astype(np.int64)
        group, near = records.group, records.near_train
        optional = {} if records.verified is None else {VERIFIED: records.verified[rows]}
        return {
            "label": records.label[rows].astype(np.int64),
            "true_label": records.true_label[rows].astype(np.int64),
            "subset": subset,
            "row": records.row_numbers[rows].astype(np.int64),
            "path": np.array([records.path[i] for i in rows], dtype=np.str_),
            "group": exact_groups(images, checksums[usable]) if group is None else group[rows],
            "near_train": near_train(images, subset, self._advance_copies)
            if near is None
            else near[rows],
            "original_size": np.concatenate([mark["sizes"] for mark in marks])[usable],
            **optional,
        }

    def _usable_images(self, usable: np.ndarray) -> np.ndarray:
        """The images file of the pack: the one that was written, or what is good of it."""
        target = self._work / "images.npy"
        if len(usable) == len(self._order):
            self._all.rename(target)
        else:
            copy_images(take_images(np.load(self._all, mmap_mode="r"), usable), target)
        mapped: np.ndarray = np.load(target, mmap_mode="r")
        return mapped


def _write_through(path: Path) -> None:
    """Wait until a file has reached the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
    return decode(os.path.join(records.root, records.path[i]), size[0], box_of(records, i))


def box_of(records: Records, i: int) -> Box | None:
    """Left, top, right and bottom of the face in image i; `None`: the whole image."""
    if records.box is None or not records.box[i].any():
        return None
    left, top, right, bottom = records.box[i].tolist()
    return left, top, right, bottom


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
