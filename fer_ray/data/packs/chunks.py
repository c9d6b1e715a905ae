"""A chunk of a pack's images: decoded, written, checked and marked as done.

Any process can make a chunk, so nothing is imported here that is slow to import.
"""

import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_ray.data.packs.decode import decode
from fer_ray.data.packs.read import ImageError

CHUNK = 256
"""Images that are decoded, written and marked as done together."""

Box = tuple[int, int, int, int]
One = tuple[np.ndarray, tuple[int, int], tuple[str, ...]]
"""Pixels [channel, height, width], original height and width, and what had to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where chunks go.

    Attributes:
        images: File of all images, of its full size.
        offset: Bytes of it before the first image.
        marks: Folder of what is done: a file per chunk, named by its first image.
        shape: Channels, height and width of an image.
    """

    images: str
    offset: int
    marks: str
    shape: tuple[int, int, int]

    def mark(self, start: int) -> Path:
        """The file that says that a chunk is done."""
        return Path(self.marks) / f"{start}.json"

    def read(self, start: int, num: int) -> dict[str, Any] | None:
        """What is known of a chunk that is done; `None` if it is not, or was not wholly written."""
        try:
            mark: dict[str, Any] = json.loads(self.mark(start).read_text("utf-8"))
            checksums = mark["checksums"]
            with open(self.images, "rb") as file:
                file.seek(self.offset + start * self.num_bytes)
                written = [zlib.crc32(file.read(self.num_bytes)) for _ in range(num)]
        except (OSError, ValueError, KeyError):
            return None
        return mark if checksums == written else None

    @property
    def num_bytes(self) -> int:
        """Bytes of an image."""
        channels, height, width = self.shape
        return channels * height * width


def make_chunk(target: Target, start: int, num: int, one: Callable[[int], One]) -> dict[str, Any]:
    """Decode a chunk, write it, then mark it.

    The checksums of the mark say whether the images have reached the disk; a chunk that has not is
    made again. So nothing waits for the disk here.

    Args:
        target: Where it goes.
        start: Place of its first image in the file.
        num: Images in it.
        one: Makes the image of a place in the chunk; an `ImageError` is noted.

    Returns:
        The mark: `sizes` [num, 2], `checksums` (CRC-32 of the pixels) [num], `done` (how many
        images needed what) and `problems` by place in the chunk.
    """
    images = np.zeros((num, *target.shape), dtype=np.uint8)
    sizes, done, problems = [(0, 0)] * num, Counter[str](), {}
    checksums = []
    for place in range(num):
        try:
            images[place], sizes[place], how = one(place)
            done.update(how)
        except ImageError as error:
            problems[str(place)] = {"kind": error.kind, "reason": str(error)}
        checksums.append(zlib.crc32(images[place].data))
    with open(target.images, "r+b") as file:
        os.pwrite(file.fileno(), images.data, target.offset + start * target.num_bytes)
    made = {"sizes": sizes, "checksums": checksums, "done": done, "problems": problems}
    part = target.mark(start).with_suffix(".part")
    part.write_text(json.dumps(made))
    part.rename(target.mark(start))
    return made


def file_chunk(
    target: Target,
    start: int,
    paths: Sequence[str],
    boxes: Sequence[Box | None],
    decode: Callable[[str, int, Box | None], One] = decode,
) -> dict[str, Any]:
    """`make_chunk` of RGB image files, with the box of the face in each of them."""
    size = target.shape[1]
    return make_chunk(
        target, start, len(paths), lambda place: decode(paths[place], size, boxes[place])
    )
