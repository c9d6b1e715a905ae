"""Files that show a run: pictures as PNG bytes, and the confusion matrix as CSV text."""

import csv
from collections.abc import Mapping, Sequence
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any

from fer_ray.record.figures import (
    Counts,
    confusion_figure,
    curves_figure,
    losses_figure,
    scaling_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_csv(counts: Counts, class_names: Sequence[str]) -> str:
    r"""The matrix as CSV with a header; rows are true classes, columns predictions.

    >>> confusion_csv([[3, 1], [0, 2]], ["anger", "fear"])
    'true,anger,fear\nanger,3,1\nfear,0,2\n'
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true", *class_names])
    writer.writerows([name, *line] for name, line in zip(class_names, counts, strict=True))
    return text.getvalue()


def confusion_png(counts: Counts, class_names: Sequence[str], title: str = "") -> bytes:
    """`confusion_figure` as PNG."""
    return _png(confusion_figure(counts, class_names, title))


def losses_png(
    histogram: Mapping[str, Any], mixture: Mapping[str, Any] | None = None, title: str = ""
) -> bytes:
    """`losses_figure` as PNG."""
    return _png(losses_figure(histogram, mixture, title))


def curves_png(rows: Sequence[Mapping[str, Any]], keys: Sequence[str], title: str = "") -> bytes:
    """`curves_figure` as PNG."""
    return _png(curves_figure(rows, keys, title))


def scaling_png(points: Sequence[Mapping[str, Any]], title: str = "") -> bytes:
    """`scaling_figure` as PNG."""
    return _png(scaling_figure(points, title))


def _png(figure: "Figure") -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()
