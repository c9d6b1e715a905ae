"""Folders of images by class: a folder of links, in which some images lie in another class."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from fer_ray.data.classes import AFFECTNET, canonical_name
from fer_ray.data.faces import DataError
from fer_ray.data.records import SUBSETS, TEST, Records, Source


def write_tree(source: Source, records: Records, names: Mapping[int, str], out: Path) -> None:
    """Links to all images, by split and class; class folders keep their names.

    A corrected image gets the name of its old class too if the new folder has one of its name. A
    split that the reader made by itself becomes folders.
    """
    tops = _tops(source, records)
    folder_of = _class_folders(records)
    taken: set[Path] = set()
    order = sorted(range(len(records)), key=lambda i: i in names)  # who stays keeps the name
    for i in order:
        path = PurePosixPath(records.path[i])
        top, folder, below = _parts(path)
        name = names.get(i, records.class_names[int(records.label[i])])
        kept = folder if i not in names else folder_of.get(name, name)
        target = out / (tops[i] or top) / kept / below
        if target in taken:
            target = target.with_name(f"{target.stem}-was-{folder}{target.suffix}")
        taken.add(target)
        link(records.root / path, target)
    if source.scheme == "fer2013":  # PrivateTest is no part of the records
        shutil.rmtree(out / "test", ignore_errors=True)
        link(records.root / "test", out / "test")


def write_annotations(
    source: Source, records: Records, names: Mapping[int, str], out: Path
) -> None:
    """AffectNet's newer release: links, and new annotations for the corrected images."""
    native = {name: number for number, name in AFFECTNET.items()}
    new = {PurePosixPath(records.listed[i]).name: native[name] for i, name in names.items()}
    folder = source.path / "train_set"
    link(source.path / "val_set", out / "val_set")
    link(folder / "images", out / "train_set" / "images")
    with os.scandir(folder / "annotations") as entries:
        for entry in entries:
            target = out / "train_set" / "annotations" / entry.name
            if entry.name not in new:
                link(Path(entry.path), target)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            old = np.load(entry.path, allow_pickle=False)
            np.save(target, np.full_like(old, new[entry.name]), allow_pickle=False)


def link(image: Path, target: Path) -> None:
    """Link to a file or folder; copy it where links are not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(image.absolute())
    except (OSError, NotImplementedError):
        if image.is_dir():
            shutil.copytree(image, target)
        else:
            shutil.copy2(image, target)


def _tops(source: Source, records: Records) -> list[str]:
    """The folder of every image's split, where it is not the one that it lies in.

    Where the data set has no test folder, the reader has chosen the test images: they get one.
    """
    if source.scheme == "fer2013":
        return [""] * len(records)
    own = {_parts(PurePosixPath(path))[0].lower() for path in records.path}
    if "test" in own:
        return [""] * len(records)
    return [SUBSETS[TEST] if code == TEST else SUBSETS[code] for code in records.subset.tolist()]


def _parts(path: PurePosixPath) -> tuple[str, str, str]:
    """Split, class folder, and the rest of the path of an image; the split may be empty."""
    first, *rest = path.parts
    try:
        canonical_name(first)
    except DataError:
        return first, rest[0], "/".join(rest[1:])
    return "", first, "/".join(rest)


def _class_folders(records: Records) -> dict[str, str]:
    """The folder of every class, as the data set writes its name."""
    folders: dict[str, str] = {}
    for path in records.path:
        _, folder, _ = _parts(PurePosixPath(path))
        folders.setdefault(canonical_name(folder), folder)
    return folders
