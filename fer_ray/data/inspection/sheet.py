"""Pictures of an inspection page: a contact sheet by class, and copies side by side."""

import base64
from collections import Counter
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from fer_ray.data.faces import UNKNOWN
from fer_ray.data.inspection.inspect import Inspection, Pair, counted, printable
from fer_ray.data.inspection.subject import Subject
from fer_ray.data.records import SPLITS, TRAIN

NUM_PER_CLASS = 12
_SEED = 0
_LARGEST, _LOSSLESS = 96, 48
_QUALITY = 82


def shown(text: str) -> str:
    """Text as HTML; characters that cannot be printed are replaced."""
    return escape(printable(text))


def data_uri(image: np.ndarray) -> str:
    """An image within a page: PNG up to 48 pixels, else JPEG of at most 96.

    Args:
        image: uint8 [channel, height, width], grey or RGB.
    """
    is_grey = len(image) == 1 or ((image[0] == image[1]).all() and (image[0] == image[2]).all())
    picture = Image.fromarray(
        image[0] if is_grey else np.ascontiguousarray(image.transpose(1, 2, 0))
    )
    picture.thumbnail((_LARGEST, _LARGEST))
    file, kind = BytesIO(), "png" if max(picture.size) <= _LOSSLESS else "jpeg"
    options = {"optimize": True} if kind == "png" else {"quality": _QUALITY}
    picture.save(file, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def contact_sheet(subject: Subject) -> str:
    """Some training images of every given class, the same ones each time."""
    is_train = subject.split == TRAIN
    parts = []
    for label in (*range(len(subject.class_names)), UNKNOWN):
        rows = np.flatnonzero(is_train & (subject.label == label))
        if label == UNKNOWN and not rows.size:
            continue
        name = "no label" if label == UNKNOWN else subject.class_names[label]
        chosen = np.random.default_rng((_SEED, label + 1)).permutation(rows)[:NUM_PER_CLASS]
        figures = "".join(_figure(subject, int(row), _caption(subject, int(row))) for row in chosen)
        head = f"<h3>{shown(name)} <small>{counted(len(rows), 'training image')}</small></h3>"
        parts.append(f'{head}\n<div class="sheet">{figures}</div>')
    return "\n".join(parts)


def pair_figures(subject: Subject, pairs: Sequence[Pair]) -> str:
    """Copies beside what they copy."""
    cards = []
    for pair in pairs:
        figures = []
        for row, split in ((pair.row, pair.split), (pair.other, SPLITS[TRAIN])):
            caption = f"<b>{split}</b> {_caption(subject, row)}<br>{shown(str(subject.path[row]))}"
            figures.append(_figure(subject, row, caption))
        cards.append(
            f'<div class="card"><div class="pair">{"".join(figures)}</div>'
            f"<p>{pair.correlation_text}</p></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def disagreeing_figures(inspection: Inspection, subject: Subject) -> str:
    """Images that are there more than once under different labels: each once, with its labels."""
    cards = []
    for rows in inspection.disagreeing:
        labels = Counter(subject.name_of(int(subject.label[row])) for row in rows)
        caption = ", ".join(f"{num} {shown(name)}" for name, num in labels.items())
        cards.append(_figure(subject, rows[0], caption))
    return f'<div class="sheet">{"".join(cards)}</div>'


def _figure(subject: Subject, row: int, caption: str) -> str:
    path, source = shown(str(subject.path[row])), data_uri(subject.images[row])
    return (
        f'<figure><img src="{source}" alt="{path}" title="{path}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _caption(subject: Subject, row: int) -> str:
    """The label, and the truth where it is known and another one."""
    label, truth = int(subject.label[row]), int(subject.true_label[row])
    caption = f"<span>{shown(subject.name_of(label))}</span>"
    if truth not in (UNKNOWN, label):
        caption += f' <span class="wrong">is {shown(subject.name_of(truth))}</span>'
    return caption
