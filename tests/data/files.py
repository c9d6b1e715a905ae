"""Image files of drawn faces, and records that list them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fer_ray.data.records import Records
from fer_ray.data.synthetic.faces import draw_faces

CLASS_NAMES = ("neutral", "happiness", "anger")


def drawn(num: int, size: int = 40, seed: int = 0) -> np.ndarray:
    """Grey faces, uint8 [num, size, size], no two alike."""
    return draw_faces(np.arange(num) % 7, size, np.random.default_rng(seed))[0]


def write_folder(
    root: Path, num: int = 30, *, size: int = 40, suffix: str = ".png", **changes: Any
) -> Records:
    """Drawn faces as files of three classes: half of them train, the rest test, and their list."""
    root.mkdir(parents=True, exist_ok=True)
    paths = tuple(f"{i:05d}{suffix}" for i in range(num))
    for path, image in zip(paths, drawn(num, size), strict=True):
        Image.fromarray(image).convert("RGB").save(root / path)
    label = np.arange(num) % 3
    fields: dict[str, Any] = {
        "name": "folder:faces",
        "root": root,
        "path": paths,
        "listed": tuple(f"list.txt:{i + 1}" for i in range(num)),
        "label": label,
        "true_label": np.where(label == 2, 1, label),
        "subset": np.where(np.arange(num) % 2, 2, 0),
        "class_names": CLASS_NAMES,
    }
    return Records(**fields | changes)


def files_of(folder: Path) -> dict[str, bytes]:
    """Content by name of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
