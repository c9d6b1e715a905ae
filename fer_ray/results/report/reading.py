"""Reads one run for its report: rows, configuration, test, split."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import yaml

from fer_ray.core.operating_points import POINTS, at_points, reweighted
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text
from fer_ray.results.report.records import CHOSEN, Answers, Trained
from fer_ray.results.run_files import (
    CONFIG,
    SUMMARY,
    RunFolderError,
    damaged,
    entry,
    no_run,
    other_version,
    read_summary,
    read_text,
    reading,
)
from fer_ray.search.sweep import MetricMode
from fer_ray.training.finish import SPLIT, TEST

ROWS = "metrics.jsonl"
_RECALL = "val/recall/"


def read_run(
    folder: Folder, names: list[str], metric: str | None = None, mode: MetricMode | None = None
) -> Trained:
    """Read a run that has at least one epoch; it may still train, or not have been tested.

    Args:
        folder: The run's folder.
        names: What it holds.
        metric: What the search optimises; by default the run's own.
        mode: Likewise.

    Raises:
        RunFolderError: If it is no run, has no epoch, was made by another version, or is damaged.
        StorageError: If it cannot be read.
    """
    if CONFIG not in names:
        raise no_run(folder, names)
    config = read_config(folder)
    with reading(folder):
        rows = JsonLinesTracker(folder).rows
    if not rows:
        raise RunFolderError.at(
            folder,
            expected="a run with at least one epoch",
            got=f"none in {ROWS}",
            remedy=f"Add --name {folder.name} --resume to its command.",
        )
    summary = read_summary(folder) if SUMMARY in names else None
    return Trained(
        name=folder.name,
        folder=folder,
        config=config,
        rows=rows,
        class_names=_class_names(folder, rows[0]),
        metric=metric or str(config["metric"]),
        mode=mode or config["mode"],
        summary=summary,
        tested=read_tested(folder, summary, names) if summary is not None else None,
        split=read_arrays(folder, SPLIT) if SPLIT in names else {},
    )


def read_config(folder: Folder) -> dict[str, Any]:
    """Read the nested `config.yaml` of a run.

    Raises:
        RunFolderError: If it is damaged or lacks what every run of this version has.
    """
    try:
        config = yaml.safe_load(read_text(folder, CONFIG))
        for path in (("optim", "epochs"), ("method", "name"), ("metric",), ("data", "spec")):
            value: Any = config
            for key in path:
                value = value[key]
    except (yaml.YAMLError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise RunFolderError.at(
            folder / CONFIG,
            expected="the configuration of a run as YAML",
            got=f"a file that is damaged or of another version ({error_text(error)[:200]})",
            remedy="Copy the folder anew, or train again.",
        ) from None
    return dict(config)


def _class_names(folder: Folder, row: Mapping[str, Any]) -> tuple[str, ...]:
    names = tuple(key.removeprefix(_RECALL) for key in row if key.startswith(_RECALL))
    if names and "val/confusion" in row:
        return names
    raise RunFolderError.at(
        folder / ROWS,
        expected="the recall of every class and val/confusion in every row",
        got="rows without them",
        remedy=other_version(None),
    )


def read_tested(folder: Folder, summary: Mapping[str, Any], names: list[str]) -> Answers:
    """Read the confusion matrices of a test, and its predictions if they are kept.

    Raises:
        RunFolderError: If the summary was made by another version, or a file is damaged.
        StorageError: If the folder cannot be read.
    """
    classes = entry(folder, dict(summary), ("classes",), list)
    paths = {point: ("test", "points", point, "confusion_matrix") for point in POINTS}
    confusion = {}
    for point, path in ({CHOSEN: ("test", "confusion_matrix")} | paths).items():
        matrix = np.array(entry(folder, dict(summary), path, list), dtype=object)
        if matrix.shape != (len(classes), len(classes)):
            shape = f"{len(classes)} rows of {len(classes)} counts"
            raise damaged(folder, ".".join(path), shape, matrix.tolist())
        confusion[point] = matrix.astype(np.int64)
    if TEST not in names:
        return Answers(confusion=confusion, label=None, answer=None)
    arrays = read_arrays(folder, TEST)
    return Answers(
        confusion=confusion, label=arrays["label"], answer=_answers(folder, summary, arrays["prob"])
    )


def _answers(folder: Folder, summary: Mapping[str, Any], prob: np.ndarray) -> dict[str, np.ndarray]:
    """The class answered for every test image, by operating point."""

    def shares(key: str) -> torch.Tensor:
        named = entry(folder, dict(summary), ("prediction", key), dict)
        return torch.tensor([*named.values()], dtype=torch.float64)

    mean, said = shares("mean_prediction"), torch.from_numpy(prob)
    points: dict[str, torch.Tensor] = {
        str(name): found for name, found in at_points(said, shares("natural"), mean).items()
    }
    is_moved = summary["prediction"].get("chosen") is not None
    points[CHOSEN] = reweighted(said, shares("chosen"), mean) if is_moved else said
    return {name: found.argmax(dim=1).numpy() for name, found in points.items()}


def read_arrays(folder: Folder, name: str) -> dict[str, np.ndarray]:
    """Read a file of arrays.

    Raises:
        RunFolderError: If it is damaged.
        StorageError: If it cannot be read.
    """
    with reading(folder):
        content = folder.read_bytes(name)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise RunFolderError.at(
            folder / name,
            expected="arrays of NumPy",
            got=f"a damaged file ({error_text(error)[:200]})",
            remedy="Copy the folder anew, or train again.",
        ) from None
