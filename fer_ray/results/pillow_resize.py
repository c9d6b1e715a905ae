"""Pillow's bilinear `resize` of the middle square, bit for bit, in operations that can be exported.

Packs are made with Pillow, so an exported model has to scale as it does: blocks of pixels are
averaged first where the image is at least six times as large (`reducing_gap=3`), then two passes
follow with integer weights. Each of the three rounds to grey levels. In float64 all these integers
are exact. Names in quotes are those of Pillow's sources.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from PIL import Image
from torch import Tensor

from fer_ray.data.packs.decode import square

_ONE = float(1 << 22)  # "PRECISION_BITS": what the integer weights of a pixel sum to
_GAP = 3.0
# A line is cut to the square and what the filter reaches beyond it, then averaged to fewer than six
# pixels for each of the result.
_MOST = 6

Scalar = Float64[Tensor, ""]


@dataclass(frozen=True, slots=True)
class _Line:
    """How the rows, or the columns, of an image are averaged and scaled.

    Attributes:
        cuts: Where blocks begin and end, as indices into a line; empty blocks at its end.
        num: Number of blocks that are not empty.
        weights: Integer weight of every block in every pixel of the result.
    """

    cuts: Int64[Tensor, " cut"]
    num: Scalar
    weights: Float64[Tensor, "block pixel"]


def scaled(
    pixels: Float64[Tensor, "batch channel height width"], size: int, *, shortens_first: bool
) -> Float64[Tensor, "batch channel {size} {size}"]:
    """The middle square of images, scaled to `size`.

    Args:
        pixels: Whole numbers from 0 to 255.
        size: Height and width of the result.
        shortens_first: Whether tall images are shortened before they are narrowed; see
            the function of this name.
    """
    height, width = (torch.full((), side, dtype=torch.float64) for side in pixels.shape[2:])
    side = torch.minimum(height, width)
    factor = (side / size / _GAP).floor().clamp(min=1)
    rows = _line(height, side, factor, size)
    columns = _line(width, side, factor, size)
    blocks = _averaged(pixels, rows, columns)
    result = _rounded(rows.weights.T @ _rounded(blocks @ columns.weights))
    if not shortens_first:
        return result
    other = _rounded(_rounded(rows.weights.T @ blocks) @ columns.weights)
    # What Pillow scales: the image, or what was cut out of it and averaged.
    tall = torch.where(factor > 1, rows.num, height)
    wide = torch.where(factor > 1, columns.num, width)
    is_tall = (tall > size) & (tall - size > 2 * (wide - size))
    return torch.where(is_tall, other, result)


def _line(length: Scalar, side: Scalar, factor: Scalar, size: int) -> _Line:
    """Blocks and weights of a line with the square in its middle."""
    first = (length - side) / 2
    last = first + side
    # "_get_safe_box": what the filter reaches.
    reach = 0.5 * (side / size)
    begin = (first - reach).floor().clamp(min=0)
    end = torch.minimum((last + reach).ceil(), length)
    steps = torch.arange(_MOST * (size + 2) + 1, dtype=torch.float64)
    cuts = torch.minimum(begin + steps * factor, end)
    num = ((end - begin) / factor).ceil()
    # Pillow holds the box in float32.
    low, high = ((edge - begin) / factor for edge in (first, last))
    return _Line(cuts.long(), num, _weights(len(steps) - 1, num, low.float(), high.float(), size))


def _weights(
    most: int, num: Scalar, low: Tensor, high: Tensor, size: int
) -> Float64[Tensor, "{most} {size}"]:
    """Weights of the first `num` of `most` blocks in pixels between `low` and `high`.

    A triangle around the middle of a pixel, as wide as that where the line is shortened. Every
    operation is that of "precompute_coeffs", in its order.
    """
    scale = (high - low).double() / size
    middle = low.double() + (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    block = torch.arange(most, dtype=torch.float64)[:, None]
    distance = ((block - middle + 0.5) * (1 / scale.clamp(min=1.0))).abs()
    share = (1 - distance).clamp(min=0) * (block < num)
    share = share * (1 / share.sum(dim=0, keepdim=True))
    return (share * _ONE + 0.5).floor()


def _averaged(
    pixels: Float64[Tensor, "batch channel height width"], rows: _Line, columns: _Line
) -> Float64[Tensor, "batch channel row column"]:
    """Means of the blocks as grey levels, as "ImagingReduce" rounds them; 0 for empty blocks."""
    sums = _block_sums(_block_sums(pixels, columns.cuts).transpose(2, 3), rows.cuts)
    area = rows.cuts.diff()[:, None] * columns.cuts.diff()
    share = (2.0**24 / area.clamp(min=1).double()).floor()  # "division_UINT32"
    rounding = (area // 2).double()
    return ((sums.transpose(2, 3) + rounding) * share / 2.0**24).floor()


def _block_sums(
    values: Float64[Tensor, "batch channel line pixel"], cuts: Int64[Tensor, " cut"]
) -> Float64[Tensor, "batch channel line block"]:
    """Sums over the blocks of lines: differences of running sums, which are whole numbers."""
    running = torch.nn.functional.pad(values.cumsum(dim=3), (1, 0))
    return running.index_select(3, cuts).diff(dim=3)


def _rounded(sums: Float64[Tensor, "batch channel _ _"]) -> Float64[Tensor, "batch channel _ _"]:
    """Sums of integer weights times pixels as grey levels."""
    return ((sums + _ONE / 2) / _ONE).floor().clamp(0, 255)


def shortens_first() -> bool:
    """Whether the Pillow at hand shortens tall images before it narrows them, as Pillow 13 does.

    The order changes how grey levels are rounded.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (90, 50, 3), dtype=np.uint8)
    ours = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    plain = scaled(ours, 48, shortens_first=False)[0].numpy()
    return not np.array_equal(square(Image.fromarray(pixels), 48), plain)
