"""Decodes one image file into uint8 RGB pixels of a given size, or says why it cannot."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded: no face needs them, and a few would fill the
memory."""

_FORMATS = {
    ".jpg": {"JPEG", "MPO"},
    ".jpeg": {"JPEG", "MPO"},
    ".png": {"PNG"},
    ".bmp": {"BMP", "DIB"},
    ".tif": {"TIFF"},
    ".tiff": {"TIFF"},
    ".webp": {"WEBP"},
}
_KNOWN = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP")  # Pillow finds MPO by opening a JPEG

LUMA = np.array([19595, 38470, 7471])
"""Weights of red, green and blue in a grey image, out of 2**16 (ITU-R BT.601)."""


class ImageError(Exception):
    """An image that cannot be used; `kind` is `missing`, `unreadable` or `too large`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def decode(
    path: Path, size: int, box: tuple[int, int, int, int] | None = None
) -> tuple[UInt8[np.ndarray, "3 size size"], tuple[int, int], tuple[str, ...]]:
    """Read one image: the face's square, or the middle square, scaled to `size`.

    Args:
        path: The file.
        size: Height and width of the result in pixels.
        box: Left, top, right, bottom of the face, exclusive ends; it is made a square around its
            centre, moved into the image if it can be.

    Returns:
        Pixels, the original height and width, and what had to be done to it; see `read_rgb`.

    Raises:
        ImageError: If the file is missing, is no image, is cut short, is too large, or the box
            lies outside.
    """
    rgb, original, done = read_rgb(path, size if box is None else None)
    return square(rgb, size, box), original, done


def read_rgb(
    path: Path, size: int | None = None
) -> tuple[Image.Image, tuple[int, int], tuple[str, ...]]:
    """Read one image file into 8-bit RGB.

    The file's content decides what it is, not its ending. Grey becomes RGB, CMYK too, 16 bits are
    scaled to 8, what is transparent becomes black, and the camera's orientation is undone.

    Args:
        path: The file.
        size: Pixels that the middle square is to be scaled to: a JPEG far larger than that is
            decoded at an eighth, a quarter or a half. By default at its full size.

    Returns:
        The image, the original height and width, and what had to be done to it (`grey`, `CMYK`,
        `16 bits`, `transparent`, `misnamed`), to be counted.

    Raises:
        ImageError: If the file is missing, is no image, is cut short or is too large.
    """
    try:
        with Image.open(path, formats=_KNOWN) as image:
            original = image.height, image.width
            if original[0] * original[1] > MAX_PIXELS:
                raise ImageError("too large", f"{original[1]} x {original[0]} pixels")
            done = [] if image.format in _FORMATS.get(path.suffix.lower(), ()) else ["misnamed"]
            if size is not None:
                image.draft(None, (2 * size, 2 * size))
            rgb, how = to_rgb(image)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("missing", "no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("too large", str(error)) from None
    except Exception as error:  # Pillow's decoders raise whatever they come across
        reason = "an empty file" if path.exists() and not path.stat().st_size else _words(error)
        raise ImageError("unreadable", reason) from None
    return rgb, original, (*done, *how)


def to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in 8-bit RGB and upright, and what had to be done to it."""
    done: tuple[str, ...] = ()
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        image, done = Image.fromarray((values // 257).clip(0, 255).astype(np.uint8)), ("16 bits",)
    elif image.has_transparency_data:
        image, done = image.convert("RGBA"), ("transparent",)
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    elif image.mode == "CMYK":
        done = ("CMYK",)
    elif image.mode in ("L", "1"):
        done = ("grey",)
    return ImageOps.exif_transpose(image).convert("RGB"), done


def square(
    image: Image.Image, size: int, box: tuple[int, int, int, int] | None = None
) -> UInt8[np.ndarray, "3 size size"]:
    """The square of the face, or the middle one, scaled to `size`.

    Raises:
        ImageError: If the box is empty or lies outside the image.
    """
    width, height = image.size
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
    scaled = image.resize(
        (size, size), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side), reducing_gap=3.0
    )
    return np.asarray(scaled).transpose(2, 0, 1)


def fit(
    rgb: Image.Image, num_channels: int, size: tuple[int, int]
) -> UInt8[np.ndarray, "{num_channels} {size[0]} {size[1]}"]:
    """An upright RGB image as a pack holds it: its middle square scaled to the pack's size.

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
    elif rgb.size == (width, height):
        pixels = np.asarray(rgb).transpose(2, 0, 1)
    else:
        raise ImageError(
            "unreadable", f"expected {width} x {height} pixels, got {rgb.width} x {rgb.height}"
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


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
