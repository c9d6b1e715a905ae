"""What commands print besides their progress."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from fer_ray.config import RunConfig
from fer_ray.data import FaceData
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.record.tables import confusion_table, points_table, recall_table
from fer_ray.training.scaling import PARTS, Point

_RESCUED = "split/rescued/"


def print_config(console: Console, run: RunConfig) -> None:
    """Print a run as YAML that `--config` can read."""
    text = yaml.safe_dump(run.to_dict(), sort_keys=False)
    console.print(text, end="", highlight=False, markup=False, soft_wrap=True)


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """Print what the user should know about the data."""
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def rescue_notes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What to say of a run's rows if `method.min_class_fraction` has kept classes from starving.

    >>> rescue_notes([{"epoch": 7, "split/rescued/fear": 3.0}])[0].partition(";")[0]
    'the split would have kept hardly a label of fear (from epoch 7)'
    """
    first: dict[str, int] = {}
    for row in rows:
        for key in row:
            if key.startswith(_RESCUED):
                first.setdefault(key.removeprefix(_RESCUED), row["epoch"])
    if not first:
        return []
    named = ", ".join(f"{name} (from epoch {epoch})" for name, epoch in first.items())
    return [
        f"the split would have kept hardly a label of {named}; method.min_class_fraction kept the "
        "likeliest ones. Try a longer method.warmup_epochs or a lower threshold"
    ]


def print_result(
    console: Console, summary: Mapping[str, Any], data: FaceData, folder: Folder
) -> None:
    """Print the figures of the test set, notes on the run, and where files are."""
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
    print_notes(console, rescue_notes(JsonLinesTracker(folder).rows))
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
