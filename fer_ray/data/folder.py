"""Reads `folder:/path`: images in folders that are named after their expression.

The root holds `train/<class>/...`, and optionally `val` (or `valid`, `validation`) and `test`; or
the class folders themselves. An image in whatever depth below a class folder is of that class.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_ray.data.classes import CANONICAL, canonical_name
from fer_ray.data.faces import UNKNOWN, DataError
from fer_ray.data.records import IMAGE_SUFFIXES, TEST, TRAIN, VAL, Records, Source

KEYS: tuple[str, ...] = ()

TEST_FRACTION = 0.2
"""Share of the images that test where the folder names no test images."""
_SPLITS = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
_NUM_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Images in class folders, sorted by path; entry i of every field but the notes is image i.

    Attributes:
        path: Below the root, with slashes.
        top: Folder that holds the class folder, such as `train`; empty: the root itself.
        class_name: Canonical.
        notes: What was left out.
    """

    path: tuple[str, ...]
    top: tuple[str, ...]
    class_name: tuple[str, ...]
    notes: tuple[str, ...]

    def below_class(self, i: int) -> str:
        """Path of image i below its class folder."""
        return self.path[i].split("/", 2 if self.top[i] else 1)[-1]


def list_folder(source: Source) -> Records:
    """List images by split and class; folders without `test` give some of their images to test.

    Without test images those of validation are the test set; without either, a fifth of the
    training images, chosen by the path below the class folder and thus the same everywhere.

    Raises:
        DataError: If there are no images, class folders have unknown names (with all of them), or
            a class has no training image.
    """
    root = source.path
    tops = _split_folders(root)
    listing = list_classes(root, tops or ("",))
    code = {top: _SPLITS[top.lower()] for top in tops} | {"": TRAIN}
    split, notes = _with_test(listing, np.array([code[top] for top in listing.top]))
    class_names = tuple(name for name in CANONICAL if name in set(listing.class_name))
    label = {name: i for i, name in enumerate(class_names)}
    records = Records(
        name=f"{source.scheme}:{root.name}",
        root=root,
        path=listing.path,
        listed=("",) * len(listing.path),
        label=np.array([label[name] for name in listing.class_name], dtype=np.int64),
        true_label=np.full(len(listing.path), UNKNOWN, dtype=np.int64),
        split=split,
        class_names=class_names,
        notes=(*notes, *left_beside(root, tops), *listing.notes),
    )
    require_images(records)
    return records


def list_classes(root: Path, tops: Collection[str], known: Collection[str] = CANONICAL) -> Listing:
    """List the images in the class folders of some folders; hidden files do not count.

    Args:
        root: The data set's folder.
        tops: Folders in it that hold class folders; empty text is the root itself.
        known: Canonical names that class folders may stand for.

    Raises:
        DataError: If a folder cannot be read, there are no images, or class folders that hold
            images have names that stand for none of `known`; with all of them.
    """
    found, loose, others = [], [], Counter[str]()
    for top in tops:
        prefix = f"{top}/" if top else ""
        for path in _files(root / top, prefix, frozenset()):
            suffix = os.path.splitext(path)[1].lower()
            folder, slash, _ = path.removeprefix(prefix).partition("/")
            if suffix not in IMAGE_SUFFIXES:
                others[suffix or "without an ending"] += 1
            elif slash:
                found.append((path, top, folder))
            else:
                loose.append(path)
    notes = tuple(_notes(loose, others))
    if not found:
        raise DataError.at(
            str(root),
            expected="images in folders named after expressions, such as train/happy/1.jpg",
            got="; ".join(["none", *notes]),
            remedy="Is this the folder that holds train/, or the class folders?",
        )
    classes = _canonical(root, Counter((top, folder) for _, top, folder in found), known)
    found.sort()
    return Listing(
        path=tuple(path for path, _, _ in found),
        top=tuple(top for _, top, _ in found),
        class_name=tuple(classes[folder] for _, _, folder in found),
        notes=notes,
    )


def left_beside(root: Path, tops: Collection[str]) -> Iterator[str]:
    """A note on what lies beside the folders that were read, if anything does."""
    names = [entry.name for entry in _visible(root) if entry.name not in tops]
    if tops and names:
        more = f" and {len(names) - _NUM_LISTED} more" if len(names) > _NUM_LISTED else ""
        beside = ", ".join(sorted(tops))
        yield f"left out beside {beside}: {', '.join(names[:_NUM_LISTED])}{more}"


def require_images(records: Records) -> None:
    """Refuse a data set that cannot be trained or tested on, before anything is decoded.

    Raises:
        DataError: If there is no training image, no test image, or none of a class in training.
    """
    for code, word in ((TRAIN, "training"), (TEST, "test")):
        if not (records.split == code).any():
            raise DataError.at(
                f"{records.name} ({records.root})",
                expected=f"at least one {word} image",
                got="; ".join(["none", *records.notes]),
                remedy="Add some, or check the split.",
            )
    trained = set(records.label[records.split == TRAIN].tolist())
    missing = [name for i, name in enumerate(records.class_names) if i not in trained]
    if missing:
        raise DataError.at(
            f"{records.name} ({records.root})",
            expected="training images of every class",
            got=f"none of {', '.join(missing)}",
            remedy="Add some, or take the class out of the data set.",
        )


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
        entry.name for entry in _visible(root) if entry.name.lower() in _SPLITS and entry.is_dir()
    )
    codes = [_SPLITS[name.lower()] for name in tops]
    if tops and (TRAIN not in codes or len(set(codes)) < len(codes)):
        raise DataError.at(
            str(root),
            expected="train, and at most one each of val (valid, validation) and test",
            got=", ".join(tops),
            remedy="Rename the folders, or move them out.",
        )
    return tops


def _with_test(listing: Listing, split: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The split with test images in any case, and what to say of it."""
    if (split == TEST).any():
        return split, ()
    if (split == VAL).any():
        note = "there are no test images: those of validation are the test set"
        return np.where(split == VAL, TEST, split), (note,)
    num_below = int(TEST_FRACTION * 2**64)
    below = [listing.below_class(i).encode() for i in range(len(split))]
    number = [int.from_bytes(hashlib.sha256(text).digest()[:8], "big") for text in below]
    is_test = np.array([value < num_below for value in number])
    note = (
        f"there are no test images: {int(is_test.sum())} of {len(split)} images, "
        f"chosen by a hash of their path ({TEST_FRACTION:.0%}), are the test set"
    )
    return np.where(is_test, TEST, split), (note,)


def _canonical(
    root: Path, num_images: Counter[tuple[str, str]], known: Collection[str]
) -> dict[str, str]:
    """Canonical name of every class folder.

    Raises:
        DataError: If there is none; with all such folders and their numbers of images.
    """
    names: dict[str, str] = {}
    unknown = []
    for (top, folder), num in sorted(num_images.items()):
        try:
            names[folder] = canonical_name(folder)
        except DataError:
            names[folder] = ""
        if names[folder] not in known:
            unknown.append(f"{top}{'/' if top else ''}{folder} ({num} images)")
    if unknown:
        raise DataError.at(
            str(root),
            expected=f"class folders named {', '.join(known)} (or happy, 4_sad and the like)",
            got=", ".join(unknown),
            remedy="Rename these folders, or move them out. Is this the folder that holds train/, "
            "or the class folders?",
        )
    return names


def _notes(loose: list[str], others: Counter[str]) -> Iterator[str]:
    if loose:
        yield (
            f"{len(loose)} images outside of class folders were left out, the first {min(loose)}"
        )
    if others:
        kinds = ", ".join(f"{num} {suffix}" for suffix, num in sorted(others.items()))
        yield f"{others.total()} files that are no images were left out: {kinds}"


def _files(folder: Path, below: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """`below` and the path of every visible file in a folder; links are followed.

    Raises:
        DataError: If a folder cannot be read or contains itself through a link.
    """
    entries = _visible(folder)
    status = folder.stat()
    own = status.st_dev, status.st_ino
    if own in above:
        raise DataError.at(
            str(folder),
            expected="folders that end somewhere",
            got="a link to a folder above",
            remedy="Remove the link.",
        )
    for entry in entries:
        if entry.is_dir():
            yield from _files(Path(entry.path), f"{below}{entry.name}/", above | {own})
        else:
            yield f"{below}{entry.name}"


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, without hidden files, in the order of the names.

    Raises:
        DataError: If it cannot be read, or a name is not UTF-8.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry for entry in entries if not entry.name.startswith(".")),
                key=lambda entry: entry.name.encode(),
            )
    except (OSError, UnicodeEncodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"the name {error.object!r}"
        raise DataError.at(
            str(folder),
            expected="a folder that can be read, with names in UTF-8",
            got=str(reason),
            remedy="Check permissions and names.",
        ) from None
    return found
