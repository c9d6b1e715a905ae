"""What it is worth to review images: rounds of review and training (`audit.py`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import points, report
from benchmarks.audit_find import judged
from benchmarks.audit_runs import (
    Opened,
    Task,
    folder_of,
    is_finished,
    next_review,
    open_folder,
    train_folder,
)
from benchmarks.noise_runs import Case, with_epochs
from benchmarks.noise_sets import NoiseSet
from fer_ray.results.audit.draw import SAMPLES, Sample

COUNTS, QUICK_COUNTS = (100, 200, 500, 1000), (20, 40)
"""Reviewed images; every round adds to the one before."""


def first_tasks(faces: NoiseSet, work: Path, num_seeds: int) -> list[Task]:
    """The rounds without a review, with which all strategies begin."""
    return [
        (f"nothing reviewed, seed {seed}", review_rounds, (faces, work, SAMPLES[0], (), seed))
        for seed in range(num_seeds)
    ]


def later_tasks(
    faces: NoiseSet,
    work: Path,
    num_seeds: int,
    only: Sequence[str] | None,
    counts: Sequence[int],
) -> list[Task]:
    """A task for every strategy and seed: its rounds follow each other."""
    strategies = [one for one in SAMPLES if not only or one in only]
    return [
        (f"{strategy}, seed {seed}", review_rounds, (faces, work, strategy, counts, seed))
        for seed in range(num_seeds)
        for strategy in strategies
    ]


def worth_raw(faces: NoiseSet, seed: int, verified: Path | None) -> dict[str, Any]:
    """Configuration of a round."""
    values: dict[str, Any] = {"method.name": "peer_posterior", "method.num_networks": 2}
    if verified is not None:
        values["data.verified"] = str(verified)
    return with_epochs(Case(name="worth", values=values).raw(faces, Path(), seed), faces.epochs)


def rounds(
    faces: NoiseSet, work: Path, strategy: Sample, counts: Sequence[int], seed: int
) -> list[tuple[int, Path | None, Path]]:
    """Reviewed images, the file of verified labels, and the run's folder, of every round."""
    found = []
    for num in (0, *counts):
        path = None
        if num:
            path = (work / f"reviewed-{strategy}-{num}-seed{seed}.csv").absolute()
        stem = f"worth-{strategy}-{num}-seed{seed}" if num else f"worth-0-seed{seed}"
        found.append((num, path, folder_of(worth_raw(faces, seed, path), work, stem)))
    return found


def review_rounds(
    faces: NoiseSet,
    work: Path,
    strategy: Sample,
    counts: Sequence[int],
    seed: int,
    deadline: float,
) -> None:
    """Train, review, train again, and so on.

    Raises:
        PausedError: If the deadline has passed.
    """
    before: tuple[int, Path | None, Path] | None = None
    for num, path, folder in rounds(faces, work, strategy, counts, seed):
        if path is not None and not path.exists():
            assert before is not None
            opened = open_folder(before[2])
            next_review(opened, strategy, num - before[0], seed, before[1], path)
        train_folder(worth_raw(faces, seed, path), folder, deadline)
        before = num, path, folder


def worth_rows(
    faces: NoiseSet, work: Path, num_seeds: int, counts: Sequence[int]
) -> list[report.Row]:
    """A row for every strategy and number of reviewed images, over the finished seeds."""
    rows: list[report.Row] = []
    for strategy in SAMPLES:
        of_seeds = [rounds(faces, work, strategy, counts, k) for k in range(num_seeds)]
        for same in zip(*of_seeds, strict=True):
            done = [open_folder(folder) for _, _, folder in same if is_finished(folder)]
            if done:
                num = same[0][0]
                head = {"case": f"{strategy}, {num}", "strategy": strategy, "reviewed": num}
                figures = [worth_figures(opened) for opened in done]
                means = {key: report.mean_std([x[key] for x in figures]) for key in figures[0]}
                rows.append(head | {"num_seeds": len(done)} | means)
    return rows


def worth_figures(opened: Opened) -> dict[str, float]:
    """What a round has found, and how its networks do on the test images."""
    data, label, prob = opened.data, opened.data.test.label, opened.test
    natural, balanced = points.shares(label, prob.shape[1]), np.ones(prob.shape[1])
    changed = (
        0
        if data.verified is None
        else int((data.verified.is_told & (data.verified.label != data.verified.given)).sum())
    )
    return {
        "errors_found": float(changed),
        "accuracy_natural": points.accuracy_and_recall(label, points.answers(prob, natural))[0],
        "macro_recall_balanced": points.accuracy_and_recall(label, points.answers(prob, balanced))[
            1
        ],
        "auroc": judged(opened.beliefs.score[: len(data.train)], data)["auroc"],
        "seconds": opened.cost["seconds"],
    }
