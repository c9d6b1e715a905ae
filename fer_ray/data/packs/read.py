"""Reads one image file into 8-bit RGB, or says why it cannot."""

import functools
import io
import os
import stat
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from fer_ray.data.formats import IMAGE_FORMATS
from fer_ray.data.packs.jpeg import decode_plain

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded: no face needs them, and a few would fill the
memory."""

Raster = Image.Image | UInt8[np.ndarray, "height width channel"]
"""An upright image in 8 bits: Pillow's in RGB, or an array of one (grey) or three channels."""
_READ_WHOLE = 4 * 2**20
"""Bytes of a file up to which it is read at once."""
_MAY_TURN = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp", "transparency"})
"""What Pillow notes of a file that may say that it is to be turned, or is transparent."""
_MAX_8_BITS, _MAX_12_BITS = 255, 4095


class ImageError(Exception):
    """An image that cannot be used; `kind` is `missing`, `unreadable` or `too large`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def read_rgb(
    path: str | Path, size: int | None = None
) -> tuple[Raster, tuple[int, int], tuple[str, ...]]:
    """Read one image file into 8-bit RGB.

    The file's content decides what it is, not its ending. Grey becomes RGB, CMYK too, 16 bits and
    floating-point numbers are scaled to 8 bits, what is transparent becomes black, the first frame
    stands for all, and the camera's orientation is undone.

    Args:
        path: The file.
        size: Pixels that the middle square is to be scaled to: a JPEG far larger than that is
            decoded at an eighth, a quarter or a half. By default at its full size.

    Returns:
        The image, the original height and width, and what had to be done to it (`grey`, `CMYK`,
        `16 bits`, `float`, `transparent`, `misnamed`), to be counted.

    Raises:
        ImageError: If the file is missing, is no image, is cut short or is too large.
    """
    reduced = None if size is None else 4 * size  # no smaller image has a half
    try:
        with _open_file(path) as file:
            if (pixels := _read_plain(file, reduced)) is not None:
                grey = ("grey",) if pixels.shape[2] == 1 else ()
                return pixels, pixels.shape[:2], (*_misnamed(path, "JPEG"), *grey)
            with Image.open(file, formats=_known_formats()) as image:
                original = image.height, image.width
                if original[0] * original[1] > MAX_PIXELS:
                    raise ImageError("too large", f"{original[1]} x {original[0]} pixels")
                done = _misnamed(path, image.format)
                if size is not None and min(original) >= 4 * size:
                    image.draft(None, (2 * size, 2 * size))
                rgb, how = to_rgb(image)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("missing", "no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("too large", str(error)) from None
    except UnidentifiedImageError:  # its own words hold an address of the memory
        is_empty = not os.path.getsize(path)
        reason = "an empty file" if is_empty else f"cannot identify image file {str(path)!r}"
        raise ImageError("unreadable", reason) from None
    except Exception as error:  # Pillow's decoders raise whatever they come across
        raise ImageError("unreadable", _words(error)) from None
    return rgb, original, (*done, *how)


def _open_file(path: str | Path) -> io.BytesIO | io.BufferedReader:
    """A regular file, opened; a small one is read at once, which is cheaper than in many pieces.

    Raises:
        ImageError: If it is something else. A pipe is not waited for.
        OSError: If it cannot be opened.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("unreadable", "no file, such as a folder or a pipe")
        if status.st_size > _READ_WHOLE:
            return os.fdopen(os.dup(number), "rb")
        with os.fdopen(number, "rb", buffering=0, closefd=False) as file:
            return io.BytesIO(file.readall())
    finally:
        os.close(number)


def _read_plain(
    file: io.BytesIO | io.BufferedReader, max_side: int | None
) -> UInt8[np.ndarray, "height width channel"] | None:
    """The pixels of a small and plain JPEG; of all others `None`."""
    if isinstance(file, io.BytesIO):
        return decode_plain(file.getvalue(), max_pixels=MAX_PIXELS, max_side=max_side)
    return None


def _misnamed(path: str | Path, kind: str | None) -> tuple[str, ...]:
    suffix = os.path.splitext(path)[1].lower()
    return () if kind in IMAGE_FORMATS.get(suffix, ()) else ("misnamed",)


@functools.cache
def _known_formats() -> tuple[str, ...]:
    """What this Pillow can read of `IMAGE_FORMATS`; it finds MPO by opening a JPEG."""
    Image.init()
    wanted = set().union(*IMAGE_FORMATS.values()) - {"MPO"}
    return tuple(sorted(wanted & Image.OPEN.keys(), key=lambda name: (name != "JPEG", name)))


def to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in 8-bit RGB and upright, and what had to be done to it."""
    if image.mode == "RGB" and _is_plain_jpeg(image):
        image.load()
        return image, ()
    done: tuple[str, ...] = ()
    if image.mode.startswith("I"):
        image, done = Image.fromarray(_from_16_bits(np.asarray(image))), ("16 bits",)
    elif image.mode == "F":
        image, done = Image.fromarray(_from_float(np.asarray(image))), ("float",)
    elif image.has_transparency_data:
        image, done = image.convert("RGBA"), ("transparent",)
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    elif image.mode == "CMYK":
        done = ("CMYK",)
    elif image.mode in ("L", "1"):
        done = ("grey",)
    return ImageOps.exif_transpose(image).convert("RGB"), done


def _is_plain_jpeg(image: Image.Image) -> bool:
    """Whether nothing in the file can say that it is to be turned or is transparent."""
    return image.format == "JPEG" and not image.info.keys() & _MAY_TURN


def _from_16_bits(
    values: Shaped[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width"]:
    """Grey values in 8 bits; cameras and converters leave the upper 4 or 8 bits of 16 empty."""
    values = np.asarray(values).astype(np.int64)
    most = int(values.max(initial=0))
    divisor = 1 if most <= _MAX_8_BITS else 16 if most <= _MAX_12_BITS else 257
    scaled: np.ndarray = (values // divisor).clip(0, 255).astype(np.uint8)
    return scaled


def _from_float(values: Float[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Grey values in 8 bits, of values up to 1, up to 255, or else up to 65,535.

    Raises:
        ImageError: If a value is not finite.
    """
    if not np.isfinite(values).all():
        raise ImageError("unreadable", "grey values that are not finite")
    most = float(values.max(initial=0.0))
    factor = 255.0 if most <= 1 else 1.0 if most <= _MAX_8_BITS else 1 / 257
    scaled: np.ndarray = np.rint(values * factor).clip(0, 255).astype(np.uint8)
    return scaled


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
