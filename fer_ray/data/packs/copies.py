"""Finds images that a data set holds more than once: equal in every pixel, or nearly so.

Two images are compared by the Pearson correlation of their grey pixels, and by that of one with the
mirror image of the other; the higher one counts. Every image is centred and scaled to length one,
then split into the part that mirroring keeps (even) and the part whose sign it turns (odd). With
the products e of the even and o of the odd parts, the two correlations are e + o and e - o, so the
higher one is e + |o|: both for the price of one.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Int, Int64, UInt8
from torch import Tensor

from fer_ray.data.packs.pack import NEAR_COPY
from fer_ray.data.records import TRAIN

MAX_COMPARED = 400_000
"""Images among which near copies are looked for: the time grows with the square."""
SIDE = 48
"""Larger images are averaged down to this height and width before they are compared."""
_ROWS, _AMONG = 4096, 1024
"""Images compared at once; this and reading them take about 200 MiB, and 50 MiB per thread."""
_MAX_THREADS, _TIMED = 8, 256
_READ_BYTES = 16 * 2**20
_FLAT = 1e-3
"""Range of grey values below which an image is constant."""
_NUM_FREQUENCIES = 12
_ROUNDING = 1e-4


class _Parts(NamedTuple):
    """Images as vectors of length one; `level` is the grey of a constant image, else NaN."""

    even: Float32[Tensor, "sample even"]
    odd: Float32[Tensor, "sample odd"]
    level: Float32[Tensor, " sample"]

    def rows(self, start: int, num: int) -> "_Parts":
        return _Parts(*(part[start : start + num] for part in self))


def exact_groups(
    images: UInt8[np.ndarray, "sample ..."], checksums: Int[np.ndarray, " sample"] | None = None
) -> Int64[np.ndarray, " sample"]:
    """Number the images that are the same in every pixel.

    Images are hashed one by one (BLAKE2b, 16 bytes), so a memory map is never held as a whole.

    Args:
        images: May be a memory map.
        checksums: Equal for equal images; those without an equal are then not read.

    Returns:
        0, 1, ... in order of first occurrence; -1: there is no other such image.

    >>> exact_groups(np.array([[7], [5], [9], [5]], dtype=np.uint8))
    array([-1,  0, -1,  0])
    """
    seen: dict[bytes, int] = {}
    first = np.empty(len(images), dtype=np.int64)
    may_be_copy = np.ones(len(images), dtype=bool)
    if checksums is not None:
        _, place, count = np.unique(checksums, return_inverse=True, return_counts=True)
        may_be_copy = count[place] > 1
    first[~may_be_copy] = np.flatnonzero(~may_be_copy)
    for i in np.flatnonzero(may_be_copy).tolist():
        pixels = np.ascontiguousarray(images[i])
        first[i] = seen.setdefault(hashlib.blake2b(pixels.data, digest_size=16).digest(), i)
    is_copy = np.bincount(first, minlength=len(images))[first] > 1
    group = np.full(len(images), -1, dtype=np.int64)
    group[is_copy] = np.unique(first[is_copy], return_inverse=True)[1]
    return group


def near_train(
    images: UInt8[np.ndarray, "sample channel height width"],
    subset: Int[np.ndarray, " sample"],
    advance: Callable[[int], None] | None = None,
) -> Float32[np.ndarray, " sample"]:
    """Highest correlation of every held-out image with a training image or its mirror image.

    A constant image correlates 1 with a constant image of the same grey and 0 with all others.

    Args:
        images: May be a memory map; read in blocks.
        subset: 0 train, 1 val, 2 test.
        advance: Told of held-out images done; in total as many as there are.

    Returns:
        In [-1, 1]; -1 of training images, and of all where there is no training image.
    """
    found = np.full(len(images), -1, dtype=np.float32)
    held_out = np.flatnonzero(subset != TRAIN)
    found[held_out] = nearest(images, held_out, np.flatnonzero(subset == TRAIN), advance)[0]
    return found


def nearest(
    images: UInt8[np.ndarray, "sample channel height width"],
    rows: Int[np.ndarray, " row"],
    among: Int[np.ndarray, " other"],
    advance: Callable[[int], None] | None = None,
) -> tuple[Float32[np.ndarray, " row"], Int64[np.ndarray, " row"]]:
    """Find the most similar of some images for each of others.

    Args:
        images: May be a memory map; read in blocks.
        rows: Images whose nearest neighbour is wanted.
        among: Images to search.
        advance: Told of rows done; in total `len(rows)`.

    Returns:
        Correlation in [-1, 1], and which of `among` it is (its row in `images`); -1 and -1 where
        `among` is empty.
    """
    best, index = torch.full((len(rows),), -2.0), torch.full((len(rows),), -1)
    done = told = 0
    blocks = [among[first : first + _AMONG] for first in range(0, len(among), _AMONG)]
    with _threads() as pool:
        for start in range(0, len(rows), _ROWS):
            mine = slice(start, start + _ROWS)
            parts = _parts(images, rows[mine])
            found = pool.map(lambda x: _correlation(parts, _parts(images, x)).max(dim=1), blocks)  # noqa: B023
            for others, (value, place) in zip(blocks, found, strict=True):
                is_nearer = value > best[mine]
                best[mine] = torch.where(is_nearer, value, best[mine])
                index[mine] = torch.where(is_nearer, torch.from_numpy(others)[place], index[mine])
                done += len(parts.level) * len(others)
                if advance is not None:
                    now = done // len(among)
                    advance(now - told)
                    told = now
    if advance is not None and told < len(rows):
        advance(len(rows) - told)
    return best.clamp(-1, 1).numpy(), index.numpy()


def seconds_to_compare(
    sample: UInt8[np.ndarray, "sample channel height width"], num_rows: int, num_among: int
) -> float:
    """About how long `nearest` takes on this machine as it is now, for images like the sample."""
    if not (num_rows and num_among and len(sample)):
        return 0.0
    rows = np.arange(_TIMED) % len(sample)
    num_threads = min(_num_threads(), -(-num_among // _AMONG))
    with _threads():
        _parts(sample, rows[:1])
        start = time.perf_counter()
        parts = _parts(sample, rows)
        middle = time.perf_counter()
        _correlation(parts, parts).max(dim=1)
        end = time.perf_counter()
    per_image, per_pair = (middle - start) / _TIMED, (end - middle) / _TIMED**2
    num_read = num_rows + -(-num_rows // _ROWS) * num_among
    return (num_read * per_image + num_rows * num_among * per_pair) / num_threads


def near_pairs(
    images: UInt8[np.ndarray, "sample channel height width"],
    threshold: float = NEAR_COPY,
    *,
    rows: Int[np.ndarray, " compared"] | None = None,
    max_pairs: int = 10_000,
) -> tuple[Int64[np.ndarray, "pair 2"], Float32[np.ndarray, " pair"]]:
    """All pairs of images that correlate above a threshold, directly or mirrored.

    Only the lowest frequencies of all pairs are compared. What two images' higher frequencies could
    add is at most the product of their lengths; the few pairs that this lets pass are compared in
    full. So no pair is missed, in about a third of the time. The outline of an image takes 600
    bytes. Among 40,000 images it takes about 10 seconds of one core, among 300,000 some minutes.

    Args:
        images: May be a memory map; read in blocks.
        threshold: Above 0.
        rows: Which images to compare, in ascending order; all by default.
        max_pairs: The search ends at so many; if as many are returned, there may be more.

    Returns:
        Places (i, j) in `images` with i < j, and their correlations; the highest first.
    """
    rows = np.arange(len(images)) if rows is None else rows
    outlines = _outlines(images, rows)

    def compare(blocks: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        left, right = blocks
        bound = _correlation(outlines.rows(left, _AMONG), outlines.rows(right, _AMONG))
        may_be_near = bound > threshold - _ROUNDING
        if left != right and not may_be_near.any():
            return np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32)
        near = may_be_near.nonzero() + torch.tensor([left, right])
        near = near[near[:, 0] < near[:, 1]]
        i, j = near[:, 0].unique(), near[:, 1].unique()
        exact = _correlation(_parts(images, rows[i.numpy()]), _parts(images, rows[j.numpy()]))
        found = ((exact > threshold) & (i[:, None] < j)).nonzero(as_tuple=True)
        pair = torch.stack([i[found[0]], j[found[1]]], dim=1).numpy()
        return rows[pair], exact[found].clamp(max=1).numpy()

    pairs, values, num = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=np.float32)], 0
    blocks = combinations_with_replacement(range(0, len(rows), _AMONG), 2)
    with _threads() as pool:
        for pair, value in pool.map(compare, blocks):
            pairs.append(pair)
            values.append(value)
            num += len(value)
            if num >= max_pairs:
                break
    pair, value = np.concatenate(pairs)[:max_pairs], np.concatenate(values)[:max_pairs]
    by_value = np.lexsort((pair[:, 1], pair[:, 0], -value))
    return pair[by_value], value[by_value]


def _num_threads() -> int:
    return min(torch.get_num_threads(), _MAX_THREADS)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that compute side by side, each with one thread of torch.

    Several threads within every step wait for one another, which is far slower where other
    processes use the cores too.
    """
    num = torch.get_num_threads()
    pool = ThreadPoolExecutor(_num_threads(), initializer=torch.set_num_threads, initargs=(1,))
    torch.set_num_threads(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num)


def is_mirrored(
    images: UInt8[np.ndarray, "sample channel height width"],
    rows: Int[np.ndarray, " pair"],
    others: Int[np.ndarray, " pair"],
) -> Bool[np.ndarray, " pair"]:
    """Whether the first image of a pair is more like the mirror image of the second."""
    product = (_parts(images, rows).odd * _parts(images, others).odd).sum(dim=1)
    mirrored: np.ndarray = (product < -_ROUNDING).numpy()
    return mirrored


def _correlation(a: _Parts, b: _Parts) -> Float32[Tensor, "a b"]:
    """The higher one of both correlations, of all pairs."""
    product = a.even @ b.even.T
    product += (a.odd @ b.odd.T).abs_()
    flat = (~a.level.isnan()).nonzero()[:, 0]
    product[flat] += ((a.level[flat, None] - b.level).abs() < _FLAT).float()
    return product


def _parts(images: np.ndarray, rows: np.ndarray) -> _Parts:
    """Both parts of some images, as vectors of length one together."""
    blocks = []
    for unit, level in _units(images, rows):
        half = (unit.shape[2] + 1) // 2
        mirrored = unit.flip(2)[:, :, :half]
        even, odd = unit[:, :, :half] + mirrored, unit[:, :, :half] - mirrored
        weight = torch.full((half,), math.sqrt(0.5))  # of two halves that hold the same
        if unit.shape[2] % 2:
            weight[-1] = 0.5  # the middle column is its own mirror image
        blocks.append(_Parts((even * weight).flatten(1), (odd * weight).flatten(1), level))
    return _joined(blocks)


def _outlines(images: np.ndarray, rows: np.ndarray) -> _Parts:
    """The lowest frequencies of some images, and in `even` the length of all others together."""
    blocks = []
    for unit, level in _units(images, rows):
        vertical, horizontal = (_cosines(side) for side in unit.shape[1:])
        low = vertical @ unit @ horizontal.T  # every other frequency turns its sign when mirrored
        rest = unit.square().sum(dim=(1, 2)) - low.square().sum(dim=(1, 2))
        even = torch.cat([low[:, :, 0::2].flatten(1), rest.clamp_min(0).sqrt()[:, None]], dim=1)
        blocks.append(_Parts(even, low[:, :, 1::2].flatten(1), level))
    return _joined(blocks)


def _joined(blocks: list[_Parts]) -> _Parts:
    return _Parts(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def _cosines(side: int) -> Float32[Tensor, "frequency side"]:
    """The lowest frequencies of the orthonormal cosine transform."""
    place = torch.arange(side) + 0.5
    frequency = torch.arange(min(side, _NUM_FREQUENCIES))[:, None]
    wave = torch.cos(torch.pi / side * place * frequency) * math.sqrt(2 / side)
    wave[0] = math.sqrt(1 / side)
    return wave


def _units(
    images: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[Float32[Tensor, "sample height width"], Float32[Tensor, " sample"]]]:
    """Blocks of grey images with mean 0 and length 1, or all 0 and their grey if constant."""
    num = max(1, min(_AMONG, _READ_BYTES // max(1, math.prod(images.shape[1:]))))
    for start in range(0, max(1, len(rows)), num):
        total = images[rows[start : start + num]].sum(axis=1, dtype=np.int32)  # torch is far slower
        grey = torch.from_numpy(np.asarray(total)).float() / images.shape[1]
        size = [min(side, SIDE) for side in grey.shape[1:]]
        if list(grey.shape[1:]) != size:
            grey = F.interpolate(grey[:, None], size=size, mode="area")[:, 0]
        low, high = grey.amin(dim=(1, 2)), grey.amax(dim=(1, 2))
        is_flat = high - low < _FLAT
        centred = grey - grey.mean(dim=(1, 2), keepdim=True)
        centred[is_flat] = 0
        unit = centred / centred.norm(dim=(1, 2), keepdim=True).clamp_min(_FLAT)
        yield unit, torch.where(is_flat, low, torch.nan)
