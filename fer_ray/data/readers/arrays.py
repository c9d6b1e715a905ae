"""Reads `arrays:/path.npz`: a data set that is already arrays.

Two layouts are understood. The plain one has `images`, `labels` (-1 for a training image without
one), `split`, `class_names` and optionally `true_labels` and `dup_group`. The other is FER2013
joined with FER+'s crowd votes and is recognised by `label_fer2013`: training on FER2013's labels,
judged against FER+'s majority.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fer_ray.data.classes import canonical_order
from fer_ray.data.faces import UNKNOWN, DataError, FaceData, Faces, carve_validation
from fer_ray.data.packs.cache import cached_arrays
from fer_ray.data.packs.pack import NEAR_COPY
from fer_ray.data.readers.npz import (
    LAYOUT,
    channels_first,
    load_npz,
    number_column,
    require_array,
    text_column,
)
from fer_ray.data.records import TEST, TRAIN, VAL

_VERSION = 1  # another way to decode is another cache entry
_PLAIN = ("images", "labels", "split", "class_names")
_FERPLUS = ("images", "label_fer2013", "majority_ferplus", "usage", "near_train", "class_names")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Every usable image with native labels, before validation is carved."""

    label_key: str
    label: np.ndarray
    true_key: str
    true_label: np.ndarray
    split: np.ndarray
    group: np.ndarray
    row: np.ndarray
    keep: np.ndarray
    notes: tuple[str, ...]


def read_arrays(rest: str, val_fraction: float, seed: int) -> FaceData:
    """The data set in an .npz file; decoded once, mapped from the cache afterwards.

    Without validation rows, `val_fraction` of the training rows are carved off.

    Raises:
        DataError: If the file is missing, damaged, or does not hold what it must.
    """
    path = _existing(rest)
    status = path.stat()
    key = f"arrays/{_VERSION}/{path}/{status.st_size}/{status.st_mtime_ns}"
    arrays = cached_arrays(key, lambda: decode(path))
    small = {name: np.array(value) for name, value in arrays.items() if name != "images"}
    faces = Faces(
        images=arrays["images"],
        label=small["label"],
        true_label=small["true_label"],
        row=small["row"],
    )
    train, val, test = (np.flatnonzero(small["split"] == code) for code in (TRAIN, VAL, TEST))
    notes = tuple(str(note) for note in small["notes"])
    train_faces, val_faces = faces.take(train), faces.take(val)
    if not val.size:
        train_faces, val_faces = carve_validation(
            train_faces, small["group"][train], val_fraction, seed
        )
    return FaceData(
        name=f"arrays:{path.name}",
        class_names=tuple(str(name) for name in small["class_names"]),
        train=train_faces,
        val=val_faces,
        test=faces.take(test),
        notes=notes,
    )


def decode(path: Path) -> dict[str, np.ndarray]:
    """Read the file, check it, bring it into canonical classes and rows sorted by split.

    Returns:
        `images` uint8 [sample, channel, height, width]; `label`, `true_label`, `split`, `group`,
        `row` int64 [sample]; `class_names` and `notes` as text.

    Raises:
        DataError: If anything is missing, of the wrong type or shape, or out of range.
    """
    raw = load_npz(path)
    is_ferplus = "label_fer2013" in raw
    for name in _FERPLUS if is_ferplus else _PLAIN:
        require_array(path, raw, name)
    images = channels_first(path, raw["images"])
    rows = (_ferplus_rows if is_ferplus else _plain_rows)(path, raw, len(images))
    names = tuple(text_column(path, raw["class_names"]))
    try:
        class_names, label_map = canonical_order(names)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    rows = replace(
        rows,
        label=_relabel(path, rows.label_key, rows.label, label_map, rows.keep),
        true_label=_relabel(path, rows.true_key, rows.true_label, label_map, rows.keep),
    )
    kept = np.flatnonzero(rows.keep)
    kept = kept[np.argsort(rows.split[kept], kind="stable")]
    columns = ("label", "true_label", "split", "group", "row")
    return {
        "images": images[kept],
        **{name: getattr(rows, name)[kept].astype(np.int64) for name in columns},
        "class_names": np.array(class_names),
        "notes": np.array(rows.notes, dtype=np.str_),
    }


def _plain_rows(path: Path, raw: Mapping[str, np.ndarray], num: int) -> _Rows:
    """The plain layout: labels and split as they stand.

    Raises:
        DataError: If a column has the wrong length or type, or `split` has an unknown code.
    """
    split = number_column(path, raw, "split", num)
    bad = np.flatnonzero((split < TRAIN) | (split > TEST))
    if bad.size:
        raise DataError.at(
            f"{path}: split[{bad[0]}]",
            expected="0 (train), 1 (val) or 2 (test)",
            got=f"{split[bad[0]]} ({bad.size} such rows)",
            remedy="Give every image one of the three codes, or drop it.",
        )
    unknown = np.full(num, UNKNOWN)
    label = number_column(path, raw, "labels", num)
    has_truth = "true_labels" in raw
    return _Rows(
        label_key="labels",
        label=label,
        true_key="true_labels",
        true_label=number_column(path, raw, "true_labels", num) if has_truth else unknown,
        split=split,
        group=number_column(path, raw, "dup_group", num) if "dup_group" in raw else unknown,
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
    is_test, is_copy = usage == 1, near > NEAR_COPY
    given = number_column(path, raw, "label_fer2013", num)
    no_majority = int((is_test & ~is_known).sum())
    copies = int((is_test & is_known & is_copy).sum())
    train_known = is_known & ~is_test
    wrong = (given != majority)[train_known].mean() if train_known.any() else 0.0
    notes = (
        f"train and val carry FER2013's labels; FER+ has a majority for {train_known.sum()} of "
        f"these {(~is_test).sum()} images and disagrees with the label of {wrong:.1%} of them",
        f"test carries FER+'s majority labels; of {is_test.sum()} images {no_majority} were "
        f"dropped for want of a majority among the seven classes and {copies} as copies of "
        f"training images (pixel correlation above {NEAR_COPY})",
    )
    return _Rows(
        label_key="label_fer2013",
        label=np.where(is_test & is_known, majority, given),
        true_key="majority_ferplus",
        true_label=np.where(is_known, majority, UNKNOWN),
        split=np.where(is_test, TEST, TRAIN),
        group=number_column(path, raw, "dup_group", num)
        if "dup_group" in raw
        else np.full(num, UNKNOWN),
        row=number_column(path, raw, "row", num) if "row" in raw else np.arange(num),
        keep=~is_test | (is_known & ~is_copy),
        notes=notes,
    )


def _existing(rest: str) -> Path:
    """The file a spec names.

    Raises:
        DataError: If no path is given or no file is there.
    """
    path = Path(rest).expanduser().resolve()
    if not rest or not path.is_file():
        raise DataError.at(
            f"arrays:{rest}",
            expected="an .npz file",
            got="a folder" if rest and path.is_dir() else "no such file",
            remedy=f"Check the path (it is taken from {Path.cwd()}); the file holds {LAYOUT}.",
        )
    return path


def _relabel(
    path: Path,
    name: str,
    label: np.ndarray,
    label_map: Mapping[int, int],
    keep: np.ndarray,
) -> np.ndarray:
    """Native labels to canonical ones; `UNKNOWN` stays where it may.

    Raises:
        DataError: If a kept row has a label without a class name.
    """
    highest = len(label_map) - 1
    bad = np.flatnonzero(keep & ((label < UNKNOWN) | (label > highest)))
    if bad.size:
        raise DataError.at(
            f"{path}: {name}[{bad[0]}]",
            expected=f"{UNKNOWN} (none) to {highest}, a row of class_names",
            got=f"{label[bad[0]]} ({bad.size} such rows)",
            remedy="Drop these images or name their class in class_names.",
        )
    table = np.array([label_map[i] for i in range(len(label_map))] + [UNKNOWN])
    return table[np.where(keep, label, UNKNOWN)]
