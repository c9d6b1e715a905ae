"""A data set decoded once: uint8 images of one size that are mapped from disk, and their labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An image that is listed but cannot be used.

    Attributes:
        path: Of the image, below the data set's folder.
        listed: Where it is listed, such as `list_patition_label.txt:17`; may be empty.
        kind: `missing`, `unreadable` or `too large`.
        reason: In words.
    """

    path: str
    listed: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A prepared data set; index i of every array is image i, sorted by split.

    Attributes:
        folder: Where it lies.
        name: What errors and reports call it, such as `raf-db:basic`.
        class_names: Canonical names in canonical order.
        images: uint8 [sample, 3, size, size]; a read-only memory map.
        label: int64 [sample]; class as given, -1 where none was.
        true_label: int64 [sample]; -1 where nobody knows.
        split: int64 [sample]; 0 train, 1 val, 2 test.
        row: int64 [sample]; row in the data set's own numbering.
        path: Text [sample]; file or row that the image came from.
        group: int64 [sample]; equal numbers >= 0: images that are the same in every pixel; -1:
            there is no other.
        near_train: float32 [sample]; of validation and test images the highest pixel correlation
            with a training image or its mirror image, in [-1, 1]; -1 of training images.
        original_size: int64 [sample, 2]; height and width before cropping and scaling.
        problems: Images that are listed but not in here.
        notes: What the user must be told.
    """

    folder: Path
    name: str
    class_names: tuple[str, ...]
    images: np.ndarray
    label: np.ndarray
    true_label: np.ndarray
    split: np.ndarray
    row: np.ndarray
    path: np.ndarray
    group: np.ndarray
    near_train: np.ndarray
    original_size: np.ndarray
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label)
