"""Reads `arrays:/path.npz`: a data set that is already arrays.

Two layouts are understood. The plain one has `images`, `labels` (-1 for a training image without
one), `split`, `class_names` and optionally `true_labels` and `dup_group`. The other is FER2013
joined with FER+'s crowd votes and is recognised by `label_fer2013`: training on FER2013's labels,
judged against FER+'s majority. It says itself which images are copies (`dup_group`, `near_train`).
Either may have `verified_labels` (-1: nobody has looked again, -2: the class cannot be told) and
`verified_sample` (1: drawn at random, the default; 0: picked).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_ray.data.classes import canonical_order
from fer_ray.data.faces import CANNOT_TELL, NOT_VERIFIED, UNKNOWN_TRUTH, UNLABELED, DataError
from fer_ray.data.readers.npz import (
    LAYOUT,
    checked_images,
    load_npz,
    number_column,
    require_array,
    text_column,
)
from fer_ray.data.records import TEST, TRAIN, Records, Source

KEYS: tuple[str, ...] = ()
VERSION = 1
"""Counts up when the same file is listed in another way: packs in the cache are made again."""

_PLAIN = ("images", "labels", "split", "class_names")
_FERPLUS = ("images", "label_fer2013", "majority_ferplus", "usage", "near_train", "class_names")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Every usable image with native labels, before validation is carved."""

    label_key: str
    label: np.ndarray
    true_key: str
    true_label: np.ndarray
    subset: np.ndarray
    group: np.ndarray | None
    near_train: np.ndarray | None
    row: np.ndarray
    keep: np.ndarray
    notes: tuple[str, ...]


def list_arrays(source: Source) -> Records:
    """List the images of an .npz file, in canonical classes.

    Raises:
        DataError: If the file is missing, damaged, or does not hold what it must.
    """
    path = _existing(source.path)
    raw = load_npz(path)
    is_ferplus = "label_fer2013" in raw
    for name in _FERPLUS if is_ferplus else _PLAIN:
        require_array(path, raw, name)
    images = checked_images(path, raw["images"])
    rows = (_ferplus_rows if is_ferplus else _plain_rows)(path, raw, len(images))
    try:
        class_names, label_map = canonical_order(tuple(text_column(path, raw["class_names"])))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    label = _relabel(path, rows.label_key, rows.label, label_map, rows.keep)
    true_label = _relabel(path, rows.true_key, rows.true_label, label_map, rows.keep)
    verified = _verified(path, raw, label_map, rows.keep)
    kept = np.flatnonzero(rows.keep)
    return Records(
        name=f"arrays:{path.name}",
        root=path.parent,
        path=tuple(f"{path.name}:{rows.row[i]}" for i in kept),
        listed=("",) * len(kept),
        label=label[kept],
        true_label=true_label[kept],
        subset=rows.subset[kept].astype(np.int64),
        class_names=class_names,
        pixels=images if len(kept) == len(images) else images[kept],
        row=rows.row[kept].astype(np.int64),
        group=None if rows.group is None else rows.group[kept].astype(np.int64),
        near_train=None if rows.near_train is None else rows.near_train[kept].astype(np.float32),
        verified=None if verified is None else verified[kept],
        num_channels=1 if images.ndim == 3 else 3,
        sources=(str(path),),
        notes=rows.notes,
    )


def _plain_rows(path: Path, raw: Mapping[str, np.ndarray], num: int) -> _Rows:
    """The plain layout: labels and split as they stand.

    Raises:
        DataError: If a column has the wrong length or type, or `split` has an unknown code.
    """
    subset = number_column(path, raw, "split", num)
    bad = np.flatnonzero((subset < TRAIN) | (subset > TEST))
    if bad.size:
        raise DataError.at(
            f"{path}: split[{bad[0]}]",
            expected="0 (train), 1 (val) or 2 (test)",
            got=f"{subset[bad[0]]} ({bad.size} such rows)",
            remedy="Give every image one of the three codes, or drop it.",
        )
    unknown = np.full(num, UNKNOWN_TRUTH)
    label = number_column(path, raw, "labels", num)
    has_truth = "true_labels" in raw
    return _Rows(
        label_key="labels",
        label=label,
        true_key="true_labels",
        true_label=number_column(path, raw, "true_labels", num) if has_truth else unknown,
        subset=subset,
        group=number_column(path, raw, "dup_group", num) if "dup_group" in raw else None,
        near_train=None,
        row=np.arange(num),
        keep=np.ones(num, dtype=bool),
        notes=(),
    )


def _ferplus_rows(path: Path, raw: Mapping[str, np.ndarray], num: int) -> _Rows:
    """FER2013 with FER+: usage 0 is trained on FER2013's labels, usage 1 tests on FER+'s.

    Raises:
        DataError: If a column has the wrong length or type, or `usage` has an unknown code.
    """
    usage = number_column(path, raw, "usage", num)
    if not np.isin(usage, (0, 1)).all():
        raise DataError.at(
            f"{path}: usage",
            expected="0 (Training) or 1 (PublicTest)",
            got=str(sorted(set(usage.tolist()))),
            remedy="Keep the rows of Training and PublicTest only.",
        )
    majority = number_column(path, raw, "majority_ferplus", num)
    near = number_column(path, raw, "near_train", num, kind="fiu")
    is_known = (majority >= 0) & (majority < 7)
    is_test = usage == 1
    given = number_column(path, raw, "label_fer2013", num)
    none = np.full(num, -1)
    group = number_column(path, raw, "dup_group", num) if "dup_group" in raw else none
    no_majority = int((is_test & ~is_known).sum())
    train_known = is_known & ~is_test
    wrong = (given != majority)[train_known].mean() if train_known.any() else 0.0
    notes = (
        f"train and val carry FER2013's labels; FER+ has a majority for {train_known.sum()} of "
        f"these {(~is_test).sum()} images and disagrees with the label of {wrong:.1%} of them",
        f"test carries FER+'s majority labels; {no_majority} of {is_test.sum()} images have none "
        "among the seven classes and were left out",
    )
    return _Rows(
        label_key="label_fer2013",
        label=np.where(is_test & is_known, majority, given),
        true_key="majority_ferplus",
        true_label=np.where(is_known, majority, UNKNOWN_TRUTH),
        subset=np.where(is_test, TEST, TRAIN),
        # Test images that are copies of each other are kept, as in published results.
        group=np.where(is_test, none, group),
        near_train=np.where(is_test, near, -1),
        row=number_column(path, raw, "row", num) if "row" in raw else np.arange(num),
        keep=~is_test | is_known,
        notes=notes,
    )


def _verified(
    path: Path, raw: Mapping[str, np.ndarray], label_map: Mapping[int, int], keep: np.ndarray
) -> np.ndarray | None:
    """Verified labels and whether they are of random images, as in `Records.verified`.

    Raises:
        DataError: If a column has the wrong length or type, or an unknown value.
    """
    if "verified_labels" not in raw and "verified_sample" not in raw:
        return None
    require_array(path, raw, "verified_labels")
    native = number_column(path, raw, "verified_labels", len(keep))
    label = _relabel(
        path,
        "verified_labels",
        np.where(native == CANNOT_TELL, NOT_VERIFIED, native),
        label_map,
        keep,
    )
    label[native == CANNOT_TELL] = CANNOT_TELL
    if "verified_sample" not in raw:
        return np.stack([label, np.ones_like(label)], axis=1)
    sample = number_column(path, raw, "verified_sample", len(keep))
    bad = np.flatnonzero((label != NOT_VERIFIED) & ~np.isin(sample, (0, 1)))
    if bad.size:
        raise DataError.at(
            f"{path}: verified_sample[{bad[0]}]",
            expected="0 (picked) or 1 (random)",
            got=f"{sample[bad[0]]} ({bad.size} such rows)",
            remedy="Give every verified image one of the two codes.",
        )
    return np.stack([label, sample], axis=1)


def _existing(path: Path) -> Path:
    """The file a spec names.

    Raises:
        DataError: If it is a folder.
    """
    if not path.is_file():
        raise DataError.at(
            f"arrays:{path}",
            expected="an .npz file",
            got="a folder",
            remedy=f"Give the file itself; it holds {LAYOUT}.",
        )
    return path


def _relabel(
    path: Path,
    name: str,
    label: np.ndarray,
    label_map: Mapping[int, int],
    keep: np.ndarray,
) -> np.ndarray:
    """Native labels to canonical ones; `UNLABELED` stays where it may.

    Raises:
        DataError: If a kept row has a label without a class name.
    """
    highest = len(label_map) - 1
    bad = np.flatnonzero(keep & ((label < UNLABELED) | (label > highest)))
    if bad.size:
        raise DataError.at(
            f"{path}: {name}[{bad[0]}]",
            expected=f"{UNLABELED} (none) to {highest}, a row of class_names",
            got=f"{label[bad[0]]} ({bad.size} such rows)",
            remedy="Drop these images or name their class in class_names.",
        )
    table = np.array([label_map[i] for i in range(len(label_map))] + [UNLABELED])
    return table[np.where(keep, label, UNLABELED)]
