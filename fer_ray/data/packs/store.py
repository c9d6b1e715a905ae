"""Writes packs of images that are arrays already."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_ray.data.images import ImageRows
from fer_ray.data.packs.copies import exact_groups, near_train
from fer_ray.data.packs.pack import Pack, copy_images, open_pack, write_columns, write_manifest

SOURCE_COLUMNS = ("label", "true_label", "subset", "row", "path", "original_size")
"""Columns of a pack that its images do not tell."""


def write_pack(
    out: Path,
    *,
    images: np.ndarray | ImageRows,
    columns: Mapping[str, np.ndarray],
    name: str,
    class_names: Sequence[str],
    notes: Sequence[str],
    more: Mapping[str, Any],
) -> Pack:
    """Write a pack as a whole: it is there, or nothing is.

    Args:
        out: Folder, which must not exist.
        images: uint8 [sample, channel, height, width].
        columns: `SOURCE_COLUMNS`, and `VERIFIED` if there is one; the others are computed here.
        name: What errors and reports call the data set.
        class_names: Canonical names in canonical order.
        notes: What the user must be told.
        more: For the manifest, such as how it was made.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        copy_images(images, part / "images.npy")
        mapped = np.load(part / "images.npy", mmap_mode="r")
        copies = {
            "group": exact_groups(mapped),
            "near_train": near_train(mapped, columns["subset"]),
        }
        write_columns(part, {**columns, **copies})
        write_manifest(
            part, name=name, class_names=class_names, problems=(), notes=notes, more=more
        )
        part.chmod(0o755)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return open_pack(out)
