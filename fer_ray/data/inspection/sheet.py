"""Pictures of an inspection page: a contact sheet by class, and copies side by side."""

import base64
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from fer_ray.data.faces import UNKNOWN_TRUTH, UNLABELED
from fer_ray.data.inspection.inspection import Inspection, Pair, counted
from fer_ray.data.packs.pack import Pack
from fer_ray.data.records import SUBSETS, TRAIN

NUM_PER_CLASS = 12
_SEED = 0
_LARGEST, _LOSSLESS = 96, 48
_QUALITY = 82

Figure = dict[str, str]
"""An image of the page: `source`, `path`, `label`; `truth` and `subset` where they are shown."""


def data_uri(image: np.ndarray, largest: int = _LARGEST) -> str:
    """An image within a page: PNG up to 48 pixels, else JPEG.

    Args:
        image: uint8 [channel, height, width], grey or RGB.
        largest: Height and width that larger images are scaled down to.
    """
    is_grey = len(image) == 1 or ((image[0] == image[1]).all() and (image[0] == image[2]).all())
    picture = Image.fromarray(
        image[0] if is_grey else np.ascontiguousarray(image.transpose(1, 2, 0))
    )
    picture.thumbnail((largest, largest))
    file, kind = BytesIO(), "png" if max(picture.size) <= _LOSSLESS else "jpeg"
    options = {"optimize": True} if kind == "png" else {"quality": _QUALITY}
    picture.save(file, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def contact_sheet(pack: Pack) -> list[dict[str, Any]]:
    """Some training images of every given class, the same ones each time."""
    is_train = pack.subset == TRAIN
    parts = []
    for label in (*range(len(pack.class_names)), UNLABELED):
        rows = np.flatnonzero(is_train & (pack.label == label))
        if label == UNLABELED and not rows.size:
            continue
        chosen = np.random.default_rng((_SEED, label + 1)).permutation(rows)[:NUM_PER_CLASS]
        parts.append(
            {
                "name": "no label" if label == UNLABELED else pack.class_names[label],
                "count": counted(len(rows), "training image"),
                "figures": [_figure(pack, int(row)) for row in chosen],
            }
        )
    return parts


def pair_cards(pack: Pack, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Copies beside what they copy."""
    return [
        {
            "figures": [
                _figure(pack, pair.row, subset=pair.subset),
                _figure(pack, pair.other, subset=SUBSETS[TRAIN]),
            ],
            "correlation": pair.correlation_text,
        }
        for pair in pairs
    ]


def disagreeing_figures(inspection: Inspection, pack: Pack) -> list[Figure]:
    """Images that are there more than once under different labels: each once, with its labels."""
    figures = []
    for rows in inspection.disagreeing:
        labels = Counter(_name_of(pack, int(pack.label[row])) for row in rows)
        caption = ", ".join(f"{num} {name}" for name, num in labels.items())
        figures.append(_figure(pack, rows[0]) | {"label": caption, "truth": ""})
    return figures


def _figure(pack: Pack, row: int, *, subset: str = "") -> Figure:
    """An image with its label, and with the truth where it is known and another one."""
    label, truth = int(pack.label[row]), int(pack.true_label[row])
    return {
        "source": data_uri(pack.images[row]),
        "path": str(pack.path[row]),
        "label": _name_of(pack, label),
        "truth": _name_of(pack, truth) if truth not in (UNKNOWN_TRUTH, label) else "",
        "subset": subset,
    }


def _name_of(pack: Pack, label: int) -> str:
    """Name of a class, or a dash where there is no label."""
    return "-" if label == UNLABELED else pack.class_names[label]
