"""What a command prints at its end."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from fer_ray.data import FaceData
from fer_ray.record.storage import Folder
from fer_ray.record.tables import confusion_table, recall_table


def print_result(
    console: Console, summary: Mapping[str, Any], data: FaceData, folder: Folder
) -> None:
    """The test set's recall and confusion tables, and where the files are."""
    test, best = summary["test"], summary["best"]
    support = dict(zip(data.class_names, map(sum, test["confusion_matrix"]), strict=True))
    console.print(
        f"\nTest set, networks of epoch {best['epoch']} (best {summary['metric']} on validation):",
        highlight=False,
    )
    console.print(recall_table(test["recall"], test["macro_recall"], test["accuracy"], support))
    console.print(confusion_table(test["confusion_matrix"], data.class_names))
    console.print(f"files: {folder}", highlight=False, soft_wrap=True)
