"""How alike two images are, and what bounds it from above at a tenth of the cost.

Two images are compared by the Pearson correlation of their grey pixels, and by that of one with the
mirror image of the other; the higher one counts. Every image is centred and scaled to length one,
then split into the part that mirroring keeps (even) and the part whose sign it turns (odd). With
the products e of the even and o of the odd parts, the two correlations are e + o and e - o, so the
higher one is e + |o|: both for the price of one.

An *outline* has only the lowest frequencies of an image, and the length of all others together.
What two images' higher frequencies could add is at most the product of these lengths, so the
correlation of two outlines is never less than that of the images.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor

SIDE = 48
"""Larger images are averaged down to this height and width before they are compared."""
BLOCK = 1024
"""Images that are read, and compared with others, at once."""
_MAX_THREADS = 8
_READ_BYTES = 2 * 2**20
_FLAT = 1e-3
"""Range of grey values below which an image is constant."""


class Parts(NamedTuple):
    """Images as vectors of length one; `level` is the grey of a constant image, else NaN."""

    even: Float32[Tensor, "sample even"]
    odd: Float32[Tensor, "sample odd"]
    level: Float32[Tensor, " sample"]

    def rows(self, start: int, num: int) -> "Parts":
        """Images from `start` on, `num` of them."""
        return Parts(*(part[start : start + num] for part in self))


def correlation(a: Parts, b: Parts) -> Float32[Tensor, "a b"]:
    """The higher one of both correlations, of all pairs."""
    product = a.even @ b.even.T
    product += (a.odd @ b.odd.T).abs_()
    flat = (~a.level.isnan()).nonzero()[:, 0]
    product[flat] += ((a.level[flat, None] - b.level).abs() < _FLAT).float()
    return product


def correlation_of(
    a: Parts, b: Parts, i: Int64[Tensor, " pair"], j: Int64[Tensor, " pair"]
) -> Float32[Tensor, " pair"]:
    """The higher one of both correlations, of the pairs of image i of `a` and j of `b` alone.

    Ten times as much for a pair as `correlation`: for up to a tenth of them.

    Args:
        a: Images.
        b: Others.
        i: In ascending order.
        j: As many; in ascending order for every i.
    """
    starts = F.pad(torch.bincount(i, minlength=len(a.level)).cumsum(dim=0), (1, 0))
    pattern = _pattern(starts, j, len(b.level))
    even, odd = (
        torch.sparse.sampled_addmm(pattern, x, y.T, beta=0).values()
        for x, y in zip(a[:2], b[:2], strict=True)
    )
    exact: Tensor = even + odd.abs() + ((a.level[i] - b.level[j]).abs() < _FLAT).float()
    return exact


def _pattern(starts: Int64[Tensor, " end"], columns: Int64[Tensor, " pair"], width: int) -> Tensor:
    """A sparse matrix of zeros at the given places; row k has those from `starts[k]` on."""
    size = (len(starts) - 1, width)
    zeros = torch.zeros(len(columns))
    return torch.sparse_csr_tensor(starts, columns, zeros, size, check_invariants=False)


def parts_of(images: np.ndarray, rows: np.ndarray) -> Parts:
    """Both parts of some images, as vectors of length one together."""
    return _joined([_parts(*block) for block in _units(images, rows)])


def outlines_of(images: np.ndarray, rows: np.ndarray, num_frequencies: int) -> Parts:
    """Outlines of some images; the length of what they lack is in `even`."""
    return _joined([_outlines(*block, num_frequencies) for block in _units(images, rows)])


def both_of(images: np.ndarray, rows: np.ndarray, num_frequencies: int) -> tuple[Parts, Parts]:
    """`parts_of` and `outlines_of`, of images that are read once."""
    blocks = [(_parts(*x), _outlines(*x, num_frequencies)) for x in _units(images, rows)]
    parts, outlines = zip(*blocks, strict=True)
    return _joined(parts), _joined(outlines)


def _parts(unit: Tensor, level: Tensor) -> Parts:
    half = (unit.shape[2] + 1) // 2
    mirrored = unit.flip(2)[:, :, :half]
    even, odd = unit[:, :, :half] + mirrored, unit[:, :, :half] - mirrored
    weight = torch.full((half,), math.sqrt(0.5))  # of two halves that hold the same
    if unit.shape[2] % 2:
        weight[-1] = 0.5  # the middle column is its own mirror image
    return Parts((even * weight).flatten(1), (odd * weight).flatten(1), level)


def _outlines(unit: Tensor, level: Tensor, num_frequencies: int) -> Parts:
    vertical, horizontal = (_cosines(side, num_frequencies) for side in unit.shape[1:])
    low = vertical @ unit @ horizontal.T  # every other frequency turns its sign when mirrored
    rest = unit.square().sum(dim=(1, 2)) - low.square().sum(dim=(1, 2))
    even = torch.cat([low[:, :, 0::2].flatten(1), rest.clamp_min(0).sqrt()[:, None]], dim=1)
    return Parts(even, low[:, :, 1::2].flatten(1), level)


def _joined(blocks: Sequence[Parts]) -> Parts:
    return Parts(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def _cosines(side: int, num_frequencies: int) -> Float32[Tensor, "frequency side"]:
    """The lowest frequencies of the orthonormal cosine transform."""
    place = torch.arange(side) + 0.5
    frequency = torch.arange(min(side, num_frequencies))[:, None]
    wave = torch.cos(torch.pi / side * place * frequency) * math.sqrt(2 / side)
    wave[0] = math.sqrt(1 / side)
    return wave


def _units(
    images: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[Float32[Tensor, "sample height width"], Float32[Tensor, " sample"]]]:
    """Blocks of grey images with mean 0 and length 1, or all 0 and their grey if constant."""
    channels, height, width = images.shape[1:]
    num = max(1, min(BLOCK, _READ_BYTES // max(1, channels * height * width)))
    down, across = _average(height), _average(width)
    for start in range(0, max(1, len(rows)), num):
        total = images[rows[start : start + num]].sum(axis=1, dtype=np.uint16)  # torch is slower
        grey = torch.from_numpy(np.asarray(total).astype(np.float32)) / channels
        if max(height, width) > SIDE:
            grey = down @ (grey @ across.T)
        low, high = grey.amin(dim=(1, 2)), grey.amax(dim=(1, 2))
        is_flat = high - low < _FLAT
        centred = grey - grey.mean(dim=(1, 2), keepdim=True)
        centred[is_flat] = 0
        unit = centred / centred.norm(dim=(1, 2), keepdim=True).clamp_min(_FLAT)
        yield unit, torch.where(is_flat, low, torch.nan)


def _average(side: int) -> Float32[Tensor, "small side"]:
    """Matrix that averages `side` pixels down to `SIDE`, as torch's adaptive pooling does."""
    small = min(side, SIDE)
    matrix = torch.zeros(small, side)
    for i in range(small):
        start, end = i * side // small, -(-(i + 1) * side // small)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


def num_threads() -> int:
    """How many threads `threads` starts."""
    return min(torch.get_num_threads(), _MAX_THREADS)


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that compute side by side, each with one thread of torch.

    Several threads within every step wait for one another, which is far slower where other
    processes use the cores too.
    """
    with warnings.catch_warnings():  # torch says once that its sparse matrices are new, unchecked
        warnings.simplefilter("ignore")
        _pattern(torch.zeros(2, dtype=torch.int64), torch.empty(0, dtype=torch.int64), 1)
    num = torch.get_num_threads()
    pool = ThreadPoolExecutor(num_threads(), initializer=torch.set_num_threads, initargs=(1,))
    torch.set_num_threads(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num)
