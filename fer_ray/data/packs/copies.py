"""Finds images that a data set holds more than once: equal in every pixel, or nearly so."""

import hashlib
import time
from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, Int64, UInt8
from torch import Tensor

from fer_ray.data.packs.likeness import (
    BLOCK,
    Parts,
    both_of,
    correlation,
    correlation_of,
    num_threads,
    outlines_of,
    parts_of,
    threads,
)
from fer_ray.data.packs.pack import NEAR_COPY
from fer_ray.data.records import TRAIN

MAX_COMPARED = 400_000
"""Images among which near copies are looked for: the time grows with the square."""
_ROWS = 4096
"""Images compared at once with others; this and reading them take about 200 MiB, and 50 MiB per
thread."""
_COARSE, _FINE = 12, 16
"""Frequencies of an outline: of those that are all kept, and of others."""
_MAX_ROUND = 8
_MAX_CHOSEN = 0.05
"""Share of pairs to be compared in full from which on it is cheaper to compare all."""
_TIMED, _PER_BOUND = 256, 2.0
"""Images that are timed, and about how much longer a pair takes than its bound."""
_ROUNDING = 1e-4


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
    with threads() as pool:
        for start in range(0, len(rows), _ROWS):
            mine = slice(start, start + _ROWS)
            own = both_of(images, rows[mine], _FINE)
            for blocks in _rounds(among):
                floor = best[mine].clone()
                found = pool.map(
                    lambda x: _best_among(own, both_of(images, x, _FINE), floor),  # noqa: B023
                    blocks,
                )
                for others, (value, place) in zip(blocks, found, strict=True):
                    is_nearer = value > best[mine]
                    best[mine] = torch.where(is_nearer, value, best[mine])
                    nearer = torch.from_numpy(others)[place]
                    index[mine] = torch.where(is_nearer, nearer, index[mine])
                    done += len(value) * len(others)
                    if advance is not None:
                        now = done // len(among)
                        advance(now - told)
                        told = now
    if advance is not None and told < len(rows):
        advance(len(rows) - told)
    return best.clamp(-1, 1).numpy(), index.numpy()


def _rounds(among: Int[np.ndarray, " other"]) -> Iterator[list[np.ndarray]]:
    """Blocks of images; those of a round are compared at once, with what the rounds before found.

    Rounds do not depend on the number of threads, so neither does what is found.
    """
    blocks = [among[first : first + BLOCK] for first in range(0, len(among), BLOCK)]
    num = 1
    while blocks:
        yield blocks[:num]
        blocks, num = blocks[num:], min(2 * num, _MAX_ROUND)


def _best_among(
    own: tuple[Parts, Parts], others: tuple[Parts, Parts], floor: Float32[Tensor, " row"]
) -> tuple[Float32[Tensor, " row"], Int64[Tensor, " row"]]:
    """Correlation and place of every image's most similar of others, exact if above the floor.

    Where the floor can be reached, the pair with the highest bound is compared in full; then those
    whose bound is higher than what that gives.
    """
    bound = correlation(own[1], others[1])
    highest, place = bound.max(dim=1)
    value = torch.full_like(highest, -2)
    i = (highest > floor - _ROUNDING).nonzero()[:, 0]
    value[i] = correlation_of(own[0], others[0], i, place[i])
    is_chosen = bound > torch.maximum(value, floor)[:, None] - _ROUNDING
    if is_chosen.count_nonzero() > _MAX_CHOSEN * bound.numel():
        value, place = correlation(own[0], others[0]).max(dim=1)
        return value, place
    i, j = is_chosen.nonzero(as_tuple=True)
    exact = correlation_of(own[0], others[0], i, j)
    value = value.scatter_reduce(0, i, exact, "amax")
    is_best = exact == value[i]
    none = len(bound[0])
    first = torch.full_like(place, none).scatter_reduce(0, i[is_best], j[is_best], "amin")
    return value, torch.where(first < none, first, place)


def seconds_to_compare(
    sample: UInt8[np.ndarray, "sample channel height width"], num_rows: int, num_among: int
) -> float:
    """About how long `nearest` takes on this machine as it is now, for images like the sample."""
    if not (num_rows and num_among and len(sample)):
        return 0.0
    rows = np.arange(_TIMED) % len(sample)
    num = min(num_threads(), -(-num_among // BLOCK))
    with threads():
        both_of(sample, rows[:1], _FINE)
        start = time.perf_counter()
        _, outlines = both_of(sample, rows, _FINE)
        middle = time.perf_counter()
        correlation(outlines, outlines).max(dim=1)
        end = time.perf_counter()
    per_image, per_pair = (middle - start) / _TIMED, _PER_BOUND * (end - middle) / _TIMED**2
    num_read = num_rows + -(-num_rows // _ROWS) * num_among
    return (num_read * per_image + num_rows * num_among * per_pair) / num


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
    outlines = outlines_of(images, rows, _COARSE)

    def compare(blocks: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        left, right = blocks
        bound = correlation(outlines.rows(left, BLOCK), outlines.rows(right, BLOCK))
        may_be_near = bound > threshold - _ROUNDING
        if left != right and not may_be_near.any():
            return np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32)
        near = may_be_near.nonzero() + torch.tensor([left, right])
        near = near[near[:, 0] < near[:, 1]]
        i, j = near[:, 0].unique(), near[:, 1].unique()
        exact = correlation(parts_of(images, rows[i.numpy()]), parts_of(images, rows[j.numpy()]))
        found = ((exact > threshold) & (i[:, None] < j)).nonzero(as_tuple=True)
        pair = torch.stack([i[found[0]], j[found[1]]], dim=1).numpy()
        return rows[pair], exact[found].clamp(max=1).numpy()

    pairs, values, num = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=np.float32)], 0
    blocks = combinations_with_replacement(range(0, len(rows), BLOCK), 2)
    with threads() as pool:
        for pair, value in pool.map(compare, blocks):
            pairs.append(pair)
            values.append(value)
            num += len(value)
            if num >= max_pairs:
                break
    pair, value = np.concatenate(pairs)[:max_pairs], np.concatenate(values)[:max_pairs]
    by_value = np.lexsort((pair[:, 1], pair[:, 0], -value))
    return pair[by_value], value[by_value]


def is_mirrored(
    images: UInt8[np.ndarray, "sample channel height width"],
    rows: Int[np.ndarray, " pair"],
    others: Int[np.ndarray, " pair"],
) -> Bool[np.ndarray, " pair"]:
    """Whether the first image of a pair is more like the mirror image of the second."""
    product = (parts_of(images, rows).odd * parts_of(images, others).odd).sum(dim=1)
    mirrored: np.ndarray = (product < -_ROUNDING).numpy()
    return mirrored
