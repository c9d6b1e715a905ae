"""Rows of an array of images, of which only those that are asked for are read from the disk."""

import math
from typing import Any

import numpy as np
from jaxtyping import Int


class ImageRows:
    """Some rows of a larger array of images; the array stays on disk until rows are read.

    Indexed like an array by a number, a slice or an array of numbers; what is taken is a copy.
    """

    def __init__(self, images: np.ndarray, rows: Int[np.ndarray, " taken"]) -> None:
        self._images, self._rows = images, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return (len(self._rows), *self._images.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of an array."""
        return self._images.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of these rows alone."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice | np.ndarray | list[int]) -> np.ndarray:
        taken: np.ndarray = self._images[self._rows[index]]
        return taken

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> np.ndarray:
        del copy  # the rows are always a copy
        return np.asarray(self[:], dtype=dtype)

    def take(self, index: slice | np.ndarray) -> "ImageRows":
        """Fewer rows of the same array."""
        return ImageRows(self._images, self._rows[index])


def take_images(images: np.ndarray | ImageRows, rows: np.ndarray) -> np.ndarray | ImageRows:
    """Some rows of images: of an array in memory a copy, of one on disk only where they are."""
    index: slice | np.ndarray = rows
    if rows.size and rows[0] >= 0 and np.all(np.diff(rows) == 1) and rows[-1] < len(images):
        index = slice(int(rows[0]), int(rows[-1]) + 1)
    if isinstance(images, ImageRows):
        return images.take(index)
    if isinstance(images, np.memmap) and not isinstance(index, slice):
        return ImageRows(images, rows)
    return images[index]
