"""A data set decoded once: uint8 images of one size that are mapped from disk, and their labels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_ray.data.faces import (
    DataError,
    FaceData,
    Faces,
    ImageRows,
    carve_validation,
    take_images,
)
from fer_ray.data.records import TEST, TRAIN, VAL

MANIFEST = "pack.json"
"""Written last: a folder without it is no pack."""
VERSION = 1
COLUMNS = (
    "label",
    "true_label",
    "split",
    "row",
    "path",
    "group",
    "near_train",
    "original_size",
)
"""Arrays of a pack beside its images, each a file of its own."""
_BLOCK = 4096
_NUM_LISTED = 5
NEAR_COPY = 0.95
"""Pixel correlation above which two images are taken to be the same picture."""


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
        images: uint8 [sample, channel, height, width]; a read-only memory map. Those read from
            files are RGB and square.
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

    def check_problems(self, max_missing_fraction: float) -> None:
        """Refuse a pack that lacks too many of the images that were listed.

        Raises:
            DataError: With the first few of them.
        """
        num_listed = len(self) + len(self.problems)
        refuse_too_many(self.name, self.problems, num_listed, max_missing_fraction)

    @property
    def is_leak(self) -> np.ndarray:
        """For every image (bool): whether it is held out and yet a copy of a training image."""
        held_out = self.split != TRAIN
        trained = np.unique(self.group[(self.split == TRAIN) & (self.group >= 0)])
        is_copy = np.isin(self.group, trained) | (self.near_train > NEAR_COPY)
        leak: np.ndarray = held_out & is_copy
        return leak


def refuse_too_many(
    name: str, problems: Sequence[Problem], num_listed: int, max_missing_fraction: float
) -> None:
    """Refuse a data set of which too many images are missing or unreadable.

    Raises:
        DataError: With the first few of them.
    """
    if len(problems) <= max_missing_fraction * num_listed and len(problems) < num_listed:
        return
    first = "; ".join(
        f"{problem.path} ({problem.listed + ': ' if problem.listed else ''}{problem.kind}, "
        f"{problem.reason})"
        for problem in problems[:_NUM_LISTED]
    )
    raise DataError.at(
        name,
        expected=f"at most {max_missing_fraction:.1%} of {num_listed} images missing or unreadable",
        got=f"{len(problems)}, such as {first}",
        remedy="Complete the data set, or raise data.max_missing_fraction "
        "(--max-missing-fraction) to go on without them.",
    )


def open_pack(folder: Path) -> Pack:
    """Open a prepared data set: everything is mapped from disk, nothing is read yet.

    Raises:
        DataError: If the folder is no pack, is of another version, or lacks a file.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["version"] != VERSION:
            raise ValueError(f"version {manifest['version']}, this is {VERSION}")
        arrays = {name: _mapped(folder, name) for name in ("images", *COLUMNS)}
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError.at(
            str(folder),
            expected="a folder written by `python -m fer_ray.data prepare`",
            got=f"{type(error).__name__}: {error}",
            remedy="Prepare the data set again.",
        ) from None
    return Pack(
        folder=folder,
        name=manifest["name"],
        class_names=tuple(manifest["class_names"]),
        problems=tuple(Problem(**problem) for problem in manifest["problems"]),
        notes=tuple(manifest["notes"]),
        **arrays,
    )


def _mapped(folder: Path, name: str) -> np.ndarray:
    array: np.ndarray = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return array


def copy_images(images: np.ndarray | ImageRows, target: Path) -> None:
    """Write images as those of a pack, in blocks."""
    copy = np.lib.format.open_memmap(target, "w+", np.uint8, images.shape)
    for start in range(0, len(images), _BLOCK):
        copy[start : start + _BLOCK] = images[start : start + _BLOCK]
    copy.flush()


def write_columns(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write every array of a pack but its images.

    Correlations are rounded to four digits, for the last bits depend on the number of threads.
    """
    for name in COLUMNS:
        column = columns[name].round(4) if name == "near_train" else columns[name]
        np.save(folder / f"{name}.npy", column, allow_pickle=False)


def write_manifest(
    folder: Path,
    *,
    name: str,
    class_names: Sequence[str],
    problems: Sequence[Problem],
    notes: Sequence[str],
    more: Mapping[str, Any],
) -> None:
    """Write what makes a folder a pack; the same pack gives the same bytes."""
    content = {
        "version": VERSION,
        "name": name,
        "class_names": list(class_names),
        "notes": list(notes),
        "problems": [asdict(problem) for problem in problems],
        **more,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def pack_faces(pack: Pack, *, val_fraction: float, seed: int, deduplicate: bool) -> FaceData:
    """The data set as it is trained on.

    Without validation images, `val_fraction` of the training images are carved off. The images stay
    on disk and are shared by all processes that map them.

    Args:
        pack: The prepared data set.
        val_fraction: Share in (0, 1).
        seed: Which training images validate.
        deduplicate: Whether test and validation images that are copies of training images are
            dropped, and all but the first of equal test images; counted in the notes.

    Raises:
        DataError: If a subset is empty or a class has no training image.
    """
    split = np.array(pack.split)
    notes = list(pack.notes)
    dropped = _dropped(pack, notes) if deduplicate else np.zeros(len(split), dtype=bool)
    train, val, test = (np.flatnonzero((split == code) & ~dropped) for code in (TRAIN, VAL, TEST))
    train_faces, val_faces = _faces(pack, train), _faces(pack, val)
    if not val.size:
        group = np.array(pack.group[train])
        train_faces, val_faces = carve_validation(train_faces, group, val_fraction, seed)
    return FaceData(
        name=pack.name,
        class_names=pack.class_names,
        train=train_faces,
        val=val_faces,
        test=_faces(pack, test),
        notes=tuple(notes),
    )


def _dropped(pack: Pack, notes: list[str]) -> np.ndarray:
    """Who is left out as a copy; says how many."""
    split, leak = np.array(pack.split), np.array(pack.is_leak)
    repeated = np.zeros(len(split), dtype=bool)
    rest = np.flatnonzero((split == TEST) & ~leak & (pack.group >= 0))
    _, first = np.unique(pack.group[rest], return_index=True)
    repeated[np.delete(rest, first)] = True
    for code, word in ((VAL, "validation"), (TEST, "test")):
        num = int((leak & (split == code)).sum())
        if num:
            notes.append(
                f"{num} of {int((split == code).sum())} {word} images are copies of training "
                f"images (equal, or pixel correlation above {NEAR_COPY}) and were left out"
            )
    if repeated.any():
        notes.append(f"{int(repeated.sum())} test images repeat another one and were left out")
    dropped: np.ndarray = leak | repeated
    return dropped


def _faces(pack: Pack, rows: np.ndarray) -> Faces:
    return Faces(
        images=take_images(pack.images, rows),
        label=np.array(pack.label[rows]),
        true_label=np.array(pack.true_label[rows]),
        row=np.array(pack.row[rows]),
    )
