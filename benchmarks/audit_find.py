"""How well wrong labels are found: rankings of the audit and by cleanlab's recipe (`audit.py`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from benchmarks.audit_runs import (
    NUM_FOLDS,
    Task,
    cross_validate,
    folder_of,
    is_finished,
    open_folder,
    open_validated,
    train_folder,
)
from benchmarks.noise_runs import Case, verified_path, with_epochs
from benchmarks.noise_sets import NoiseSet
from fer_ray.core.metrics import auroc
from fer_ray.data import FaceData, open_data
from fer_ray.data.faces import UNKNOWN_TRUTH

METRICS = ("auroc", "average_precision", "precision_at_100", "precision_at_1000")
GOALS = {False: 0.90, True: 0.94}
"""AUROC without and with verified labels."""
METHODS: Mapping[str, Mapping[str, Any]] = {
    "audit": {"method.name": "peer_posterior", "method.num_networks": 2},
    "cleanlab": {"method.name": "cross_entropy"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A way to rank labels, with or without verified ones."""

    way: str
    knows_verified: bool

    @property
    def name(self) -> str:
        """Its name in the table."""
        return f"{self.way}, {'verified' if self.knows_verified else 'nothing verified'}"

    def raw(self, faces: NoiseSet, work: Path, seed: int) -> dict[str, Any]:
        """Configuration of its run, or of the run of a fold, in the budget."""
        case = Case(
            name=self.way,
            values=METHODS[self.way],
            knows_verified=self.knows_verified,
        )
        # A fold learns from all images but a fifth, and there are five.
        share = 2 / (NUM_FOLDS - 1) if self.way == "cleanlab" else 1
        epochs = max(1, round(share * faces.epochs))
        return with_epochs(case.raw(faces, work, seed), epochs)


CONTENDERS = tuple(
    Contender(way=way, knows_verified=known) for known in (False, True) for way in METHODS
)


def find_tasks(
    faces: NoiseSet, work: Path, num_seeds: int, only: Sequence[str] | None
) -> list[Task]:
    """A task for every contender and seed."""
    tasks: list[Task] = []
    for seed in range(num_seeds):
        verified_path(faces, work, seed)  # before processes write it twice
        for one in chosen(only):
            raw = one.raw(faces, work, seed)
            train = cross_validate if one.way == "cleanlab" else train_folder
            tasks.append((f"{one.name}, seed {seed}", train, (raw, find_folder(raw, one, work))))
    return tasks


def chosen(only: Sequence[str] | None) -> list[Contender]:
    """The contenders that the command line names."""
    return [one for one in CONTENDERS if not only or one.way in only]


def find_folder(raw: Mapping[str, Any], one: Contender, work: Path) -> Path:
    """The folder of a contender's run."""
    return folder_of(raw, work, report.slug(f"find {one.name}"))


def find_rows(
    faces: NoiseSet, work: Path, num_seeds: int, only: Sequence[str] | None
) -> list[report.Row]:
    """A row for every ranking, over the seeds that are finished."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in chosen(only):
        for seed in range(num_seeds):
            raw = one.raw(faces, work, seed)
            folder = find_folder(raw, one, work)
            if is_finished(folder):
                verified = verified_path(faces, work, seed) if one.knows_verified else None
                for name, figures in rankings(one, faces, folder, verified).items():
                    found.setdefault(name, []).append(figures)
    return [
        {"case": name, "num_seeds": len(seeds)}
        | {key: report.mean_std([x[key] for x in seeds]) for key in seeds[0] if key != "classes"}
        | {"classes": by_class([x["classes"] for x in seeds])}
        for name, seeds in found.items()
    ]


def rankings(
    one: Contender, faces: NoiseSet, folder: Path, verified: Path | None
) -> dict[str, dict[str, Any]]:
    """Figures of every ranking that a run yields, by name."""
    place = None if verified is None else str(verified)
    data = open_data(faces.spec, deduplicate=False, verified=place)
    if one.way == "audit":
        opened = open_folder(folder)
        score = opened.beliefs.score[: len(data.train)]
        return {one.name: judged(score, data) | dict(opened.cost)}
    prob, cost = open_validated(folder)
    given = given_labels(data)
    rows = np.arange(len(given))
    own = prob[rows, given]
    others = prob.copy()
    others[rows, given] = -1
    scores = {"self-confidence": own, "margin": own - others.max(axis=1)}
    return {
        one.name.replace(",", f" by {key},", 1): judged(score, data) | cost
        for key, score in scores.items()
    }


def given_labels(data: FaceData) -> np.ndarray:
    """Training labels as given, whatever is verified."""
    return np.asarray(data.train.label if data.verified is None else data.verified.given)


def judged(score: np.ndarray, data: FaceData) -> dict[str, Any]:
    """Figures of a ranking; the lowest score is the likeliest error."""
    given, truth = given_labels(data), data.train.true_label
    known = (given >= 0) & (truth != UNKNOWN_TRUTH)
    if data.verified is not None:
        known &= ~data.verified.is_seen
    given, truth, score = given[known], truth[known], score[known]
    by_label = {
        name: ranked(score[given == k], (given != truth)[given == k])
        for k, name in enumerate(data.class_names)
        if 0 < (given != truth)[given == k].sum() < (given == k).sum()
    }
    return ranked(score, given != truth) | {"classes": by_label}


def ranked(score: np.ndarray, is_wrong: np.ndarray) -> dict[str, float]:
    """AUROC, average precision, and precision among the first 100 and 1,000."""
    from sklearn.metrics import average_precision_score

    first = is_wrong[np.argsort(score, kind="stable")]
    return {
        "auroc": auroc(torch.from_numpy(~is_wrong), torch.from_numpy(score)),
        "average_precision": float(average_precision_score(is_wrong, -score)),
        "precision_at_100": float(first[:100].mean()),
        "precision_at_1000": float(first[:1000].mean()),
    }


def by_class(seeds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Means over seeds, by given label."""
    names = [name for name in seeds[0] if all(name in seed for seed in seeds)]
    return {
        name: {key: report.mean_std([seed[name][key] for seed in seeds]) for key in seeds[0][name]}
        for name in names
    }


def make_goals(rows: Sequence[report.Row]) -> list[report.Goal]:
    """The audit against the better of cleanlab's rankings, and against figures to reach."""
    goals = []
    for known in (False, True):
        word = "verified" if known else "nothing verified"
        ours = [row for row in rows if row["case"] == f"audit, {word}"]
        others = [
            row
            for row in rows
            if row["case"].startswith("cleanlab") and row["case"].endswith(f", {word}")
        ]
        for row in ours:
            value = row["auroc"]["mean"]
            goals.append(report.Goal(name=f"AUROC, {word}", goal=f">= {GOALS[known]}", value=value))
            for key in METRICS if others else ():
                best = max(other[key]["mean"] for other in others)
                name = f"{key.replace('_', ' ')} over cleanlab's better ranking, {word}, points"
                ahead = 100 * (row[key]["mean"] - best)
                goals.append(report.Goal(name=name, goal=">= 0", value=ahead))
    return goals
