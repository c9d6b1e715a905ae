"""Reads `folder:/path`: images in folders that are named after their expression.

The root holds `train/<class>/...`, and optionally `val` (or `valid`, `validation`) and `test`; or
the class folders themselves. An image in whatever depth below a class folder is of that class.
`ids=` says what class folders mean that are numbers. `labels=FILE` is a table of images and labels,
which then say the class; where the images lie does not matter (`labelled_folder`).
"""

import hashlib
from pathlib import Path

import numpy as np

from fer_ray.data.classes import CANONICAL
from fer_ray.data.faces import UNKNOWN_TRUTH, DataError
from fer_ray.data.readers.class_folders import Listing, left_beside, list_classes, visible
from fer_ray.data.readers.class_ids import KEY, read_ids
from fer_ray.data.readers.labelled_folder import LABELS, SPLITS, read_labels
from fer_ray.data.records import TEST, TRAIN, VAL, Records, Source, require_images

KEYS: tuple[str, ...] = (LABELS, KEY)

TEST_FRACTION = 0.2
"""Share of the images that test where the folder names no test images."""


def list_folder(source: Source) -> Records:
    """List images by split and class; folders without `test` give some of their images to test.

    Without test images those of validation are the test set; without either, a fifth of the
    training images, chosen by the path below the class folder and thus the same everywhere.

    Raises:
        DataError: If there are no images, class folders have unknown names (with all of them), or
            a class has no training image.
    """
    root, ids, table = source.path, read_ids(source), source.file(LABELS)
    tops = _split_folders(root) if table is None else ()
    listing = (
        list_classes(root, tops or ("",), ids=ids)
        if table is None
        else read_labels(source, table, ids)
    )
    code = {top: SPLITS[top.lower()] for top in set(listing.top) - {""}} | {"": TRAIN}
    subset, notes = _with_test(listing, np.array([code[top] for top in listing.top]))
    class_names = tuple(name for name in CANONICAL if name in set(listing.class_name))
    label = {name: i for i, name in enumerate(class_names)}
    records = Records(
        name=f"{source.scheme}:{root.name}",
        root=root,
        path=listing.path,
        listed=listing.listed or ("",) * len(listing.path),
        label=np.array([label[name] for name in listing.class_name], dtype=np.int64),
        true_label=np.full(len(listing.path), UNKNOWN_TRUTH, dtype=np.int64),
        subset=subset,
        class_names=class_names,
        sources=(str(root.absolute()), *listing.folders),
        notes=(*notes, *left_beside(root, tops), *listing.notes),
    )
    require_images(records)
    return records


def _split_folders(root: Path) -> tuple[str, ...]:
    """Names of the folders that are splits; none: the class folders lie in the root.

    Raises:
        DataError: If the root is no folder, or there is a split but no training images, or
            two folders are one split.
    """
    if not root.is_dir():
        raise DataError.at(
            str(root), expected="a folder", got="a file", remedy="Give the folder of the images."
        )
    tops = tuple(
        entry.name for entry in visible(root) if entry.name.lower() in SPLITS and entry.is_dir()
    )
    codes = [SPLITS[name.lower()] for name in tops]
    if tops and (TRAIN not in codes or len(set(codes)) < len(codes)):
        raise DataError.at(
            str(root),
            expected="train, and at most one each of val (valid, validation) and test",
            got=", ".join(tops),
            remedy="Rename the folders, or move them out.",
        )
    return tops


def _with_test(listing: Listing, subset: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The split with test images in any case, and what to say of it."""
    if (subset == TEST).any():
        return subset, ()
    if (subset == VAL).any():
        note = "there are no test images: those of validation are the test set"
        return np.where(subset == VAL, TEST, subset), (note,)
    num_below = int(TEST_FRACTION * 2**64)
    below = [listing.below_class(i).encode() for i in range(len(subset))]
    number = [int.from_bytes(hashlib.sha256(text).digest()[:8], "big") for text in below]
    is_test = np.array([value < num_below for value in number])
    note = (
        f"there are no test images: {int(is_test.sum())} of {len(subset)} images, "
        f"chosen by a hash of their path ({TEST_FRACTION:.0%}), are the test set"
    )
    return np.where(is_test, TEST, subset), (note,)
