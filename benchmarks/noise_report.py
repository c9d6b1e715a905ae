"""Rows, goals and table of `real_noise.py`, from the predictions that its runs have kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from benchmarks import points, report
from benchmarks.cases import BASE, compared_with
from benchmarks.noise_runs import Case, agrees, verified_model, verified_rows
from benchmarks.noise_sets import NoiseSet
from fer_ray.core.metrics import auroc
from fer_ray.core.noise_model import NoiseModel
from fer_ray.data import FaceData

POINTS = ("trained", "natural", "estimated", "balanced")
"""Operating points; `estimated` is natural with the shares that the verified labels give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run.

    Attributes:
        test: Predictions of the test images.
        train: Predictions of the training images.
        figures: Seconds and forward-equivalents.
        config: The configuration.
        clean_prob: The clean probability of the last split, if there was one.
    """

    test: np.ndarray
    train: np.ndarray
    figures: Mapping[str, float]
    config: Mapping[str, Any]
    clean_prob: np.ndarray | None = None


def read_outcome(path: Path) -> Outcome:
    """Read the file that `noise_runs.train_case` wrote."""
    with np.load(path) as file:
        arrays = {key: file[key].astype(np.float64) for key in ("test", "train")}
        found = file.get("clean_prob")
        return Outcome(
            **arrays,
            figures=json.loads(str(file["figures"])),
            config=json.loads(str(file["config"])),
            clean_prob=found,
        )


def make_rows(
    faces: NoiseSet,
    cases: Sequence[Case],
    outcomes: Mapping[str, Mapping[int, Outcome]],
    budget: float,
    work: Path,
) -> list[report.Row]:
    """Return a row for every case of a data set; `outcomes` are by case and seed."""
    data = faces.open()
    label = data.test.label
    seeds = {seed for runs in outcomes.values() for seed in runs}
    models = {seed: verified_model(faces, work, seed) for seed in seeds}
    seen = {seed: verified_rows(faces, work, seed) for seed in seeds}
    rows, hits = [], {}
    for case in cases:
        runs = outcomes[case.name]
        answered = {seed: _answers(run.test, label, models[seed]) for seed, run in runs.items()}
        hits[case.name] = {
            point: {seed: answer[point] == label for seed, answer in answered.items()}
            for point in ("natural", "balanced")
        }
        row: report.Row = {"case": f"{faces.name}: {case.name}" if faces.name else case.name}
        row |= _run_figures(case, list(runs.values()), budget)
        for point in POINTS:
            pairs = [points.accuracy_and_recall(label, x[point]) for x in answered.values()]
            row[point] = _named([report.mean_std(values) for values in zip(*pairs, strict=True)])
        row["recall"] = {
            point: _recalls(data, [answer[point] for answer in answered.values()])
            for point in ("natural", "balanced")
        }
        curves = np.mean([points.curve(run.test, label) for run in runs.values()], axis=0)
        row["curve"] = curves.tolist()
        row |= _label_figures(case, data, runs, seen)
        rows.append(row)
    add_intervals(rows, cases, label, hits)
    return rows


def _answers(prob: np.ndarray, label: np.ndarray, model: NoiseModel) -> dict[str, np.ndarray]:
    natural = points.shares(label, prob.shape[1])
    priors = {
        "trained": None,
        "natural": natural,
        "estimated": model.prior.double().numpy(),
        "balanced": np.ones(prob.shape[1]),
    }
    return {point: points.answers(prob, priors[point]) for point in POINTS}


def _run_figures(case: Case, runs: Sequence[Outcome], budget: float) -> report.Row:
    epochs = runs[0].config["optim"]["epochs"]
    return {
        "num_seeds": len(runs),
        "epochs": f"{case.num_members} x {epochs}" if case.num_members > 1 else str(epochs),
        "seconds": report.mean_std([run.figures["seconds"] for run in runs]),
        "passes_per_image": report.mean_std([run.figures["passes"] for run in runs]),
        "ratio_to_budget": fmean(run.figures["passes"] for run in runs) / budget,
        "config": {key: runs[0].config[key] for key in ("model", "method", "optim", "augment")},
    }


def _named(pair: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("accuracy", "macro_recall"), pair, strict=True))


def _recalls(data: FaceData, answers: Sequence[np.ndarray]) -> dict[str, Any]:
    label = data.test.label
    return {
        name: report.mean_std(
            [float((answer[label == number] == number).mean()) for answer in answers]
        )
        for number, name in enumerate(data.class_names)
        if (label == number).any()
    }


def _label_figures(
    case: Case, data: FaceData, runs: Mapping[int, Outcome], seen: Mapping[int, np.ndarray]
) -> report.Row:
    """Return how well the given labels are fitted, and how well wrong ones are found.

    Images that are verified (`seen`, by seed) do not count, whether a method was told or not.
    """
    label, truth = data.train.label, data.train.true_label
    fits, areas = [], []
    for seed, run in runs.items():
        fits.append(float((run.train.argmax(axis=1) == label)[label >= 0].mean()))
        own = run.train[np.arange(len(label)), label]
        clean = run.clean_prob if case.has_noise_model and run.clean_prob is not None else own
        known = (label >= 0) & (truth >= 0) & ~seen[seed]
        is_right = torch.from_numpy(label[known] == truth[known])
        areas.append(auroc(is_right, torch.from_numpy(clean[known])))
    row: report.Row = {"fits_given": report.mean_std(fits)}
    return row | ({"auroc": report.mean_std(areas)} if np.isfinite(areas).all() else {})


def add_intervals(
    rows: Sequence[report.Row],
    cases: Sequence[Case],
    label: np.ndarray,
    hits: Mapping[str, Mapping[str, Mapping[int, np.ndarray]]],
) -> None:
    """Add intervals of accuracy at the natural and of macro recall at the balanced point.

    Gains over the case that shows what a case is worth are of the seeds that both were trained
    with.
    """
    for point, key, is_macro in (
        ("natural", "accuracy", False),
        ("balanced", "macro_recall", True),
    ):
        ours = {name: np.mean([*hit[point].values()], axis=0) for name, hit in hits.items()}
        gains, num_seeds = {}, {}
        for case in cases:
            own, other = (
                hits.get(name, {}).get(point, {}) for name in (case.name, compared_with(case))
            )
            seeds = own.keys() & other.keys()
            if seeds and case.name != compared_with(case):
                gains[case.name] = np.mean([own[x] * 1.0 - other[x] for x in seeds], axis=0)
                num_seeds[case.name] = len(seeds)
        drawn = points.bootstrap(label, ours, is_macro=is_macro)
        drawn_gains = points.bootstrap(label, gains, is_macro=is_macro)
        for row, case in zip(rows, cases, strict=True):
            row[f"{point}_{key}_interval"] = points.interval(drawn[case.name])
            if case.name in gains:
                row["compared_with"] = compared_with(case)
                row["seeds_compared"] = num_seeds[case.name]
                gain = points.mean_hit(label, gains[case.name], is_macro=is_macro)
                row[f"{point}_{key}_gain"] = gain
                row[f"{point}_{key}_gain_interval"] = points.interval(drawn_gains[case.name])


def merged(rows: Sequence[report.Row], path: Path, order: Sequence[str]) -> list[report.Row]:
    """Add the rows that a result file has of other cases; each says when and where it was measured.

    A case whose runs are not at hand keeps its row, and so does one of the same configuration with
    more seeds than are at hand. Its images are the same, but its intervals are not paired with
    those of new rows.

    Args:
        rows: New rows.
        path: The result file; it may be missing.
        order: Names of all cases, in the order of the table.
    """
    now = {"date": date.today().isoformat(), "hardware": report.hardware()}
    found = {row["case"]: row | now for row in rows}
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        then = {key: content[key] for key in now}
        for row in content["rows"]:
            new = found.get(row["case"])
            if new is None or is_more_of(row, new):
                found[row["case"]] = then | row
    places = {name: number for number, name in enumerate(order)}

    def place(row: report.Row) -> tuple[str, int]:
        faces, _, name = row["case"].rpartition(": ")
        return faces, places.get(name, -1)

    return sorted(found.values(), key=place)


def is_more_of(kept: report.Row, new: report.Row) -> bool:
    """Return whether a row is the mean of more seeds of the same configuration than a new one."""
    return kept["num_seeds"] > new["num_seeds"] and agrees(kept["config"], new["config"])


def make_goals(rows: Sequence[report.Row]) -> list[report.Goal]:
    """Compare every case with the one that shows what it is worth, on the same images."""
    goals = []
    for row in rows:
        for point, key in (("natural", "accuracy"), ("balanced", "macro_recall")):
            name = f"{point}_{key}_gain"
            if name not in row:
                continue
            low, high = (100 * x for x in row[f"{name}_interval"])
            goals.append(
                report.Goal(
                    name=f"{key.replace('_', ' ')} at the {point} point of {row['case']} "
                    f"over {row.get('compared_with', BASE)}, points",
                    goal=">= 0",
                    value=100 * row[name],
                    why=f"95 % interval over the test images {low:+.1f} to {high:+.1f}",
                )
            )
    return goals


def markdown(rows: Sequence[report.Row]) -> str:
    """Make the table of `docs/methods.md`; accuracy / macro recall in per cent."""
    head = ["method", "epochs", "passes per image", "seconds", "as trained", "natural"]
    head += ["natural, estimated", "balanced", "accuracy, natural", "macro recall, balanced"]
    head += ["fits given", "AUROC"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        cells = [row["case"], row["epochs"], f"{row['passes_per_image']['mean']:.0f}"]
        cells.append(f"{row['seconds']['mean']:.0f}")
        cells += [
            " / ".join(f"{100 * row[point][key]['mean']:.1f}" for key in row[point])
            for point in POINTS
        ]
        for key in ("natural_accuracy_interval", "balanced_macro_recall_interval"):
            low, high = row[key]
            cells.append(f"{100 * low:.1f} to {100 * high:.1f}")
        cells.append(f"{100 * row['fits_given']['mean']:.0f}")
        cells.append(f"{100 * row['auroc']['mean']:.1f}" if "auroc" in row else "")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
