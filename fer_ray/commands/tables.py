"""What commands print besides their progress."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from fer_ray.config import RunConfig
from fer_ray.data import FaceData
from fer_ray.record.storage import Folder
from fer_ray.record.tables import confusion_table, points_table, recall_table
from fer_ray.training.scaling import PARTS, Point


def print_config(console: Console, run: RunConfig) -> None:
    """Print a run as YAML that `--config` can read."""
    text = yaml.safe_dump(run.to_dict(), sort_keys=False)
    console.print(text, end="", highlight=False, markup=False, soft_wrap=True)


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """Print what the user should know about the data."""
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def print_result(
    console: Console, summary: Mapping[str, Any], data: FaceData, folder: Folder
) -> None:
    """Print recall, confusion matrix and operating points of the test set, and the folder."""
    test, best = summary["test"], summary["best"]
    support = dict(zip(data.class_names, map(sum, test["confusion_matrix"]), strict=True))
    why = "the last" if summary["select"] == "last" else f"best {summary['metric']} on validation"
    console.print(
        f"\nTest set, networks of epoch {best['epoch']} ({why}):",
        highlight=False,
    )
    console.print(recall_table(test["recall"], test["macro_recall"], test["accuracy"], support))
    console.print(confusion_table(test["confusion_matrix"], data.class_names))
    console.print(points_table(test["points"]))
    console.print(f"files: {folder}", highlight=False, soft_wrap=True)


def scaling_table(points: Sequence[Point], title: str) -> Table:
    """Make a table with a line per measured point."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("scaling")
    for column in ("workers", "batch", "images/s", "efficiency", *PARTS):
        table.add_column(column, justify="right")
    for point in points:
        shares = [f"{point.share[part]:.1%}" for part in PARTS]
        table.add_row(
            point.scaling,
            str(point.num_workers),
            str(point.batch_size),
            f"{point.images_per_s:,.0f}",
            f"{point.efficiency:.2f}",
            *shares,
        )
    return table
