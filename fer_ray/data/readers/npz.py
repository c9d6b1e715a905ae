"""Takes single arrays out of an .npz file and refuses what is not as it should be."""

import lzma
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fer_ray.data.faces import DataError

LAYOUT = "uint8 images [N,H,W] or [N,H,W,3], labels, split (0 train, 1 val, 2 test), class_names"
"""What an .npz data set holds, for messages."""

_DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file.

    Raises:
        DataError: If the file is no .npz, is damaged, or holds pickled objects.
    """
    try:
        with path.open("rb") as file:
            opened = np.load(file, allow_pickle=False)
            if not isinstance(opened, np.lib.npyio.NpzFile):
                raise ValueError("a single array, not an archive of named ones")
            return {name: np.asarray(opened[name]) for name in opened.files}
    except _DAMAGE as error:
        raise DataError.at(
            str(path),
            expected="an .npz file of plain arrays",
            got=f"{type(error).__name__}: {error}",
            remedy="Write it with numpy.savez_compressed; no object arrays.",
        ) from error


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
