"""A row and pictures as values of W&B: numbers, its confusion matrix, histograms and images.

The functions get the library as an argument; `fer_ray.record.wandb_run` imports it.
"""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from types import ModuleType
from typing import Any

_HISTOGRAMS = ("split/histogram", "split/clean_prob")
_USER = re.compile(r"(://)[^/@\s]+@")
_OPTION = re.compile(r"([?&][^=&\s]+)=[^&\s]+")


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
    for key in _HISTOGRAMS:
        histogram = row.get(key) or {"counts": []}
        for network, heights in enumerate(histogram["counts"]):
            bars = wandb.Histogram(np_histogram=(heights, histogram["edges"]))
            sent[f"{key}/network_{network}"] = bars
    for statistic, networks in (row.get("split/mixture") or {}).items():
        for network, components in enumerate(networks):
            for side, value in zip(("low", "high"), components, strict=True):
                sent[f"split/mixture/network_{network}/{statistic}_{side}"] = value
    return sent


def without_secrets(value: Any) -> Any:
    """The same value without the keys and passwords that addresses in it may hold.

    >>> without_secrets({"spec": "arrays:s3://key:secret@bucket/x.npz?region=eu&token=abc"})
    {'spec': 'arrays:s3://***@bucket/x.npz?region=***&token=***'}
    """
    if isinstance(value, Mapping):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    if not isinstance(value, str) or "://" not in value:
        return value
    return _OPTION.sub(r"\1=***", _USER.sub(r"\1***@", value))


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
