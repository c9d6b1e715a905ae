"""Takes single arrays out of an .npz file and refuses what is not as it should be."""

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fer_ray.data.faces import DataError

LAYOUT = "uint8 images [N,H,W] or [N,H,W,3], labels, split (0 train, 1 val, 2 test), class_names"
"""What an .npz data set holds, for messages."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_ENCRYPTED = 1


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file; what it says of itself is checked before memory is taken.

    Raises:
        DataError: If the file is no .npz, is damaged or encrypted, holds pickled objects, or
            declares arrays that its bytes or this machine's memory do not hold.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = [x for x in archive.infolist() if x.filename.endswith(".npy")]
            num_bytes = sum(_declared_bytes(archive, member) for member in members)
            if num_bytes > _memory():
                raise ValueError(f"arrays of {num_bytes / 1e9:,.0f} GB, more than memory holds")
            return {
                member.filename.removesuffix(".npy"): _array(archive, member) for member in members
            }
    except Exception as error:  # numpy and zipfile raise whatever damage leads to
        raise DataError.at(
            str(path),
            expected="an .npz file of plain arrays",
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            remedy="Write it with numpy.savez_compressed; no object arrays.",
        ) from error


def _declared_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Bytes of an array by its header.

    Raises:
        ValueError: If it is encrypted, holds objects, or has another size than its header says.
    """
    if member.flag_bits & _ENCRYPTED:
        raise ValueError(f"{member.filename} is encrypted")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{member.filename} is of version {version}")
        shape, _, dtype = _HEADERS[version](file)
        start = file.tell()
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds objects, not plain numbers or text")
    num_bytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or start + num_bytes != member.file_size:
        raise ValueError(
            f"{member.filename} declares {dtype} {list(shape)}, which are {num_bytes:,} bytes, and "
            f"holds {member.file_size - start:,}"
        )
    return num_bytes


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_array(path: Path, raw: Mapping[str, np.ndarray], name: str) -> None:
    """Refuse a file without this array.

    Raises:
        DataError: Listing the arrays that were found.
    """
    if name not in raw:
        raise DataError.at(
            f"{path}: {name}",
            expected="an array of this name",
            got=f"only {', '.join(sorted(raw)) or 'an empty file'}",
            remedy=f"Add it; the file holds {LAYOUT}.",
        )


def checked_images(path: Path, images: np.ndarray) -> np.ndarray:
    """The images as they are: uint8 [N,H,W] or [N,H,W,3].

    Raises:
        DataError: If dtype or shape are wrong.
    """
    is_grey, is_rgb = images.ndim == 3, images.ndim == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (is_grey or is_rgb) or not images.size:
        raise DataError.at(
            f"{path}: images",
            expected="uint8 [N,H,W] or [N,H,W,3], N > 0",
            got=f"{images.dtype} {list(images.shape)}",
            remedy="Scale pixels to 0..255, cast to uint8 and put the channels last.",
        )
    return images


def number_column(
    path: Path, raw: Mapping[str, np.ndarray], name: str, num: int, kind: str = "iu"
) -> np.ndarray:
    """One number per image; signed, so that -1 stays -1.

    Raises:
        DataError: If the length or dtype is wrong.
    """
    column = raw[name]
    if column.shape != (num,) or column.dtype.kind not in kind:
        numbers = "integers" if kind == "iu" else "numbers"
        raise DataError.at(
            f"{path}: {name}",
            expected=f"{numbers} [{num}], one per image",
            got=f"{column.dtype} {list(column.shape)}",
            remedy="Give every image one value, in the order of images.",
        )
    return column.astype(np.float64 if kind != "iu" else np.int64)


def text_column(path: Path, names: np.ndarray) -> list[str]:
    """Class names, which may be stored as bytes.

    Raises:
        DataError: If they are not a list of text.
    """
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DataError.at(
            f"{path}: class_names",
            expected="text [num_classes], the name of label 0 first",
            got=f"{names.dtype} {list(names.shape)}",
            remedy='Store numpy.array(["neutral", "happiness", ...]).',
        )
    decoded = np.char.decode(names) if names.dtype.kind == "S" else names
    return [str(name) for name in decoded]
