"""Which files are taken to be images. A module that processes which only decode can import."""

from collections.abc import Mapping

_JPEG, _NETPBM = frozenset({"JPEG", "MPO"}), frozenset({"PPM"})
IMAGE_FORMATS: Mapping[str, frozenset[str]] = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".jpe": _JPEG,
    ".jfif": _JPEG,
    ".png": frozenset({"PNG"}),
    ".bmp": frozenset({"BMP", "DIB"}),
    ".gif": frozenset({"GIF"}),
    ".tif": frozenset({"TIFF"}),
    ".tiff": frozenset({"TIFF"}),
    ".webp": frozenset({"WEBP"}),
    ".avif": frozenset({"AVIF"}),
    ".pgm": _NETPBM,
    ".ppm": _NETPBM,
    ".pbm": _NETPBM,
    ".pnm": _NETPBM,
}
"""Ending of an image file -> what Pillow calls its format."""
IMAGE_SUFFIXES = frozenset(IMAGE_FORMATS)
