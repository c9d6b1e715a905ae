"""A row and pictures as values of W&B: numbers, its confusion matrix, histograms and images.

The functions get the library as an argument; `fer_ray.record.wandb_run` imports it.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from types import ModuleType
from typing import Any


def row_values(
    wandb: ModuleType, row: Mapping[str, Any], class_names: Sequence[str]
) -> dict[str, Any]:
    """The numbers of a row as they are, its confusion matrix and histograms as W&B's charts.

    Args:
        wandb: The library.
        row: One epoch, as the training loop reports it.
        class_names: Names of the classes, in label order.
    """
    values = {key: value.item() if hasattr(value, "item") else value for key, value in row.items()}
    sent = {key: value for key, value in values.items() if isinstance(value, int | float)}
    if counts := row.get("val/confusion"):
        sent["val/confusion"] = _confusion_chart(wandb, counts, class_names)
    if histogram := row.get("split/histogram"):
        for network, heights in enumerate(histogram["counts"]):
            bars = wandb.Histogram(np_histogram=(heights, histogram["edges"]))
            sent[f"split/histogram/network_{network}"] = bars
    for statistic, networks in (row.get("split/mixture") or {}).items():
        for network, components in enumerate(networks):
            for side, value in zip(("low", "high"), components, strict=True):
                sent[f"split/mixture/network_{network}/{statistic}_{side}"] = value
    return sent


def image_value(wandb: ModuleType, png: bytes) -> Any:
    """A PNG as W&B's image."""
    from PIL import Image

    return wandb.Image(Image.open(BytesIO(png)))


def _confusion_chart(
    wandb: ModuleType, counts: Sequence[Sequence[int]], class_names: Sequence[str]
) -> Any:
    columns = ["Actual", "Predicted", "nPredictions"]
    cells = [
        [actual, predicted, int(count)]
        for actual, line in zip(class_names, counts, strict=True)
        for predicted, count in zip(class_names, line, strict=True)
    ]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=columns, data=cells),
        {column: column for column in columns},
        {"title": "Validation images: true class against prediction"},
    )
