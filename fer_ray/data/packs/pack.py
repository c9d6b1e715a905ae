"""A data set decoded once: uint8 images of one size that are mapped from disk, and their labels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_ray.data.faces import DataError
from fer_ray.data.images import ImageRows
from fer_ray.data.packs.check import check_arrays, check_manifest
from fer_ray.data.records import TRAIN

MANIFEST = "pack.json"
"""Written last: a folder without it is no pack."""
VERSION = 2
COLUMNS = (
    "label",
    "true_label",
    "subset",
    "row",
    "path",
    "group",
    "near_train",
    "original_size",
)
"""Arrays of a pack beside its images, each a file of its own."""
VERIFIED = "verified"
"""An array that a pack has only if its data set says which labels are verified."""
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
    """A prepared data set; index i of every array is image i, sorted by subset.

    Attributes:
        folder: Where it lies.
        name: What errors and reports call it, such as `raf-db:basic`.
        class_names: Canonical names in canonical order.
        images: uint8 [sample, channel, height, width]; a read-only memory map. Those read from
            files are RGB and square.
        made_of: Digest of all that the pack was made of; empty if it was made of another pack.
        label: int64 [sample]; class as given, -1 where none was.
        true_label: int64 [sample]; -1 if it is not known.
        subset: int64 [sample]; 0 train, 1 val, 2 test.
        row: int64 [sample]; row in the data set's own numbering.
        path: Text [sample]; file or row that the image came from.
        group: int64 [sample]; equal numbers >= 0: images that are the same in every pixel; -1:
            there is no other.
        near_train: float32 [sample]; of validation and test images the highest pixel correlation
            with a training image or its mirror image, in [-1, 1]; -1 of training images.
        original_size: int64 [sample, 2]; height and width before cropping and scaling.
        problems: Images that are listed but not in here.
        notes: What the user must be told.
        verified: int64 [sample, 2]; see `Records.verified`.
    """

    folder: Path
    name: str
    class_names: tuple[str, ...]
    made_of: str
    images: np.ndarray
    label: np.ndarray
    true_label: np.ndarray
    subset: np.ndarray
    row: np.ndarray
    path: np.ndarray
    group: np.ndarray
    near_train: np.ndarray
    original_size: np.ndarray
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    verified: np.ndarray | None = None

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
        held_out = self.subset != TRAIN
        trained = np.unique(self.group[(self.subset == TRAIN) & (self.group >= 0)])
        is_copy = np.isin(self.group, trained) | (self.near_train > NEAR_COPY)
        leak: np.ndarray = held_out & is_copy
        return leak


def refuse_too_many(
    name: str, problems: Sequence[Problem], num_listed: int, max_missing_fraction: float
) -> None:
    """Refuse a data set with too many missing or unreadable images.

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
    if len(problems) == num_listed:
        raise DataError.at(
            name,
            expected="images that can be read",
            got=f"none: all {num_listed} are missing or unreadable, such as {first}",
            remedy="Check the path: do the lists and the images lie where they were unpacked?",
        )
    raise DataError.at(
        name,
        expected=f"at most {max_missing_fraction:.1%} of {num_listed} images missing or unreadable",
        got=f"{len(problems)}, such as {first}",
        remedy="Complete the data set, or raise data.max_missing_fraction "
        "(--max-missing-fraction) to go on without them.",
    )


def open_pack(folder: Path) -> Pack:
    """Open a prepared data set: everything is mapped from disk, no image is read yet.

    Raises:
        DataError: If the folder is no pack, is of another version, lacks a file, or holds what no
            pack can hold; names the file.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and manifest.get("version") != VERSION:
            raise ValueError(f"version {manifest.get('version')!r:.20}, this is {VERSION}")
        check_manifest(manifest)
        has_verified = (folder / f"{VERIFIED}.npy").exists()
        names = ("images", *COLUMNS, *([VERIFIED] if has_verified else []))
        arrays = {name: _mapped(folder, name) for name in names}
        check_arrays(arrays, len(manifest["class_names"]))
    except Exception as error:  # numpy raises whatever a damaged header leads to
        raise DataError.at(
            str(folder),
            expected="a folder written by `python -m fer_ray.data prepare`",
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            remedy="Prepare the data set again.",
        ) from None
    return Pack(
        folder=folder,
        name=manifest["name"],
        class_names=tuple(manifest["class_names"]),
        made_of=manifest.get("made_of", ""),
        problems=tuple(Problem(**problem) for problem in manifest["problems"]),
        notes=tuple(manifest["notes"]),
        verified=arrays.pop(VERIFIED, None),
        **arrays,
    )


def _mapped(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        if not path.is_file():  # a pipe would be waited for
            raise OSError("no such file")
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:
        raise ValueError(f"{path.name}: {error}") from None
    return array


def copy_images(images: np.ndarray | ImageRows, target: Path) -> None:
    """Write images as those of a pack, in blocks."""
    copy = np.lib.format.open_memmap(target, "w+", np.uint8, images.shape)
    for start in range(0, len(images), _BLOCK):
        copy[start : start + _BLOCK] = images[start : start + _BLOCK]
    copy.flush()


def write_columns(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write every array of a pack but its images; `VERIFIED` if it is among `columns`.

    Correlations are rounded to four digits, because the last bits depend on the number of threads.
    """
    for name in (*COLUMNS, *columns.keys() & {VERIFIED}):
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
