"""Decodes one image file into uint8 pixels of a given size."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fer_ray.data.packs.read import ImageError, Raster, read_rgb

LUMA = np.array([19595, 38470, 7471])
"""Weights of red, green and blue in a grey image, out of 2**16 (ITU-R BT.601)."""


def decode(
    path: str | Path, size: int, box: tuple[int, int, int, int] | None = None
) -> tuple[UInt8[np.ndarray, "3 size size"], tuple[int, int], tuple[str, ...]]:
    """Read one image: the face's square, or the middle square, scaled to `size`.

    Args:
        path: The file.
        size: Height and width of the result in pixels.
        box: Left, top, right, bottom of the face, exclusive ends; it is made a square around its
            centre, moved into the image if it can be.

    Returns:
        Pixels, the original height and width, and what had to be done to it (see `read_rgb`) or is
        odd (`flat`: all pixels are the same).

    Raises:
        ImageError: If the file is missing, is no image, is cut short, is too large, or the box
            lies outside.
    """
    rgb, original, done = read_rgb(path, size if box is None else None)
    pixels = square(rgb, size, box)
    line = pixels[0, 0].tobytes()  # nearly always enough to know
    is_flat = line.count(line[:1]) == size and bool((pixels == pixels[:, :1, :1]).all())
    return pixels, original, (*done, "flat") if is_flat else done


def square(
    image: Raster, size: int, box: tuple[int, int, int, int] | None = None
) -> UInt8[np.ndarray, "3 size size"]:
    """The square of the face, or the middle one, scaled to `size`.

    Raises:
        ImageError: If the box is empty or lies outside the image.
    """
    height, width = _size(image)
    left, top, right, bottom = box or (0, 0, width, height)
    if (
        right <= left
        or bottom <= top
        or right <= 0
        or bottom <= 0
        or left >= width
        or top >= height
    ):
        raise ImageError(
            "unreadable", f"the face box {box} lies outside the {width} x {height} image"
        )
    side = max(right - left, bottom - top) if box else min(width, height)
    side = min(side, width, height)
    x = min(max((left + right - side) / 2, 0), width - side)
    y = min(max((top + bottom - side) / 2, 0), height - side)
    if not width == height == side == size:
        image = _as_image(image).resize(
            (size, size),
            Image.Resampling.BILINEAR,
            box=(x, y, x + side, y + side),
            reducing_gap=3.0,
        )
    if isinstance(image, np.ndarray):
        return _colours(image)
    if image.mode == "L":
        return _colours(np.asarray(image)[:, :, None])
    lines = np.frombuffer(image.tobytes("raw", "RGB;L"), dtype=np.uint8)  # a colour after another
    return lines.reshape(size, 3, size).transpose(1, 0, 2)


def fit(
    rgb: Raster, num_channels: int, size: tuple[int, int]
) -> UInt8[np.ndarray, "{num_channels} {size[0]} {size[1]}"]:
    """An upright image as a pack holds it: its middle square scaled to the pack's size.

    Args:
        rgb: The image.
        num_channels: 3 for RGB, 1 for grey: Pillow's weighted mean of the three colours, which
            leaves grey as it is.
        size: Height and width in pixels. If they differ, only images of that very size fit.

    Raises:
        ImageError: If the image does not fit.
    """
    height, width = size
    if height == width:
        pixels = square(rgb, height)
    elif (found := _size(rgb)) == size:
        pixels = _colours(np.asarray(rgb))
    else:
        raise ImageError(
            "unreadable", f"expected {width} x {height} pixels, got {found[1]} x {found[0]}"
        )
    return pixels if num_channels == 3 else luma(pixels)


def luma(pixels: UInt8[np.ndarray, "3 height width"]) -> UInt8[np.ndarray, "1 height width"]:
    """Grey of RGB pixels, as Pillow's `convert("L")` rounds it.

    >>> luma(np.full((3, 1, 1), 77, np.uint8)).item()
    77
    """
    weighted = np.tensordot(LUMA, pixels.astype(np.int64), axes=1)
    grey: np.ndarray = (weighted + LUMA.sum() // 2) // LUMA.sum()
    return grey.astype(np.uint8)[None]


def _size(image: Raster) -> tuple[int, int]:
    """Height and width."""
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    return image.height, image.width


def _as_image(pixels: Raster) -> Image.Image:
    """Pillow's image of it; grey stays grey, so that only one channel is scaled."""
    if isinstance(pixels, np.ndarray):
        return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    return pixels


def _colours(
    pixels: UInt8[np.ndarray, "height width channel"],
) -> UInt8[np.ndarray, "3 height width"]:
    """Channels first; of grey, three that are the same."""
    planes = pixels.transpose(2, 0, 1)
    return planes if len(planes) == 3 else np.broadcast_to(planes, (3, *planes.shape[1:]))
