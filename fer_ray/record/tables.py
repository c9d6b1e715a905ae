"""Final tables on a terminal: recall per class and the confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.bar import Bar
from rich.table import Column, Table
from rich.text import Text

from fer_ray.record.text import Number, abbreviate, metric_text

GAP = 2
_BAR_WIDTH = 20


def plain_table(columns: Sequence[Column], gap: int = GAP) -> Table:
    """An empty table without lines; `gap` is the number of blanks between columns."""
    for column in columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    return Table(*columns, box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")


def recall_table(
    recall: Mapping[str, Number],
    macro_recall: Number,
    accuracy: Number,
    support: Mapping[str, int],
) -> Table:
    """Recall of every class with its number of images, then macro recall and accuracy.

    Args:
        recall: Recall by class name, in [0, 1]; NaN for a class without images.
        macro_recall: Mean of the recalls, in [0, 1].
        accuracy: Share of all images that are classified correctly, in [0, 1].
        support: Number of images by class name.
    """
    columns = [Column("class"), Column("images", justify="right")]
    table = plain_table([*columns, Column("recall", justify="right"), Column("")])
    for name, value in recall.items():
        table.add_row(name, f"{support.get(name, 0):,}", metric_text(value), _bar(value))
    total = f"{sum(support.values()):,}"
    table.add_row("macro recall", "", metric_text(macro_recall), _bar(macro_recall), style="bold")
    table.add_row("accuracy", total, metric_text(accuracy), _bar(accuracy))
    return table


def points_table(points: Mapping[str, Mapping[str, Any]]) -> Table:
    """Accuracy and macro recall at every operating point.

    Args:
        points: By name of the point, `accuracy` and `macro_recall` in [0, 1].
    """
    columns = [Column(name, justify="right") for name in ("accuracy", "macro recall")]
    table = plain_table([Column("operating point"), *columns])
    for name, found in points.items():
        table.add_row(name, metric_text(found["accuracy"]), metric_text(found["macro_recall"]))
    return table


def confusion_table(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> Table:
    """The confusion matrix with the recall of each row.

    Args:
        counts: Rows are true classes, columns predictions.
        class_names: Names of the classes, in label order.
    """
    columns = [Column("true")]
    columns += [Column(name, justify="right") for name in abbreviate(class_names)]
    table = plain_table([*columns, Column("recall", justify="right")], gap=1)
    for index, (name, line) in enumerate(zip(class_names, counts, strict=True)):
        total = sum(line)
        cells = [
            Text(str(count), style=_cell_style(count, total, on_diagonal=column == index))
            for column, count in enumerate(line)
        ]
        table.add_row(name, *cells, metric_text(line[index] / total if total else None))
    return table


def _bar(share: Number) -> Bar:
    return Bar(1.0, 0.0, share if math.isfinite(share) else 0.0, width=_BAR_WIDTH, color="cyan")


def _cell_style(count: int, total: int, *, on_diagonal: bool) -> str:
    if on_diagonal:
        return "bold green"
    if count == 0:
        return "dim"
    return "yellow" if count >= 0.2 * total else ""
