"""The sections of a report below its first screen, as tables of text."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from fer_ray.core.intervals import confusion_intervals, wilson
from fer_ray.core.operating_points import POINTS
from fer_ray.record.text import duration_text
from fer_ray.results.report.chart import figure_text, percent, readable_names
from fer_ray.results.report.first_screen import interval_text, points_text
from fer_ray.results.report.records import CHOSEN, STATUS_TEXT, Answers, SearchFound, Trained, Tried
from fer_ray.results.report.search import train_command
from fer_ray.results.report.verdict import MEASURES, Comparison, validation_confusion


def points_table(
    tested: Answers, compared: Sequence[Comparison]
) -> tuple[list[str], list[list[str]]]:
    """Accuracy and macro recall at every operating point, and how far they are ahead."""
    head = ["operating point", "figure", "test set", *(f"ahead of the {c.other}" for c in compared)]
    rows = []
    for point in POINTS:
        pair = confusion_intervals(tested.confusion[point])
        for measure in MEASURES:
            differences = [points_text(getattr(c.points[point], measure)) for c in compared]
            figure = interval_text(getattr(pair, measure))
            rows.append([point, measure.replace("_", " "), figure, *differences])
    return head, rows


def matrix_rows(confusion: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """A confusion matrix: counts, and shares of the true class that shade the cells."""
    rows = []
    for i, (name, line) in enumerate(zip(class_names, confusion, strict=True)):
        num = int(line.sum())
        cells = [
            {
                "count": f"{count:,}",
                "share": f"{100 * count / num:.0f} %" if num else "",
                "shade": f"{0.6 * count / max(1, num):.2f}",
                "is_hit": i == j,
            }
            for j, count in enumerate(line.tolist())
        ]
        one = wilson(int(line[i]), num)
        bounds = f"{100 * one.low:.1f} to {100 * one.high:.1f}" if num else "no image"
        rows.append(
            {"name": name, "cells": cells, "recall": percent(one.value), "interval": bounds}
        )
    return rows


def settings_rows(search: SearchFound) -> list[list[str]]:
    """What was sampled in the best trial, beside the default."""
    best, default = search.best, search.default
    if best is None:
        return []
    usual = default.params if default is not None else {}
    return [
        [key, figure_text(value), figure_text(usual[key]) if key in usual else "not used"]
        for key, value in best.params.items()
    ]


def trial_rows(search: SearchFound) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """The table of trials: its columns with their full names, and its rows."""
    keys = list(dict.fromkeys(key for trial in search.trials for key in trial.params))
    head = [("trial", "name of its folder"), ("state", "how it ended")]
    head += [(search.metric.removeprefix("val/"), f"best {search.metric}")]
    head += [("best epoch", "epoch with the best value"), ("epochs", "epochs done, of planned")]
    head += [("time", "of its training"), *zip(readable_names(keys), keys, strict=True)]
    reference = [search.reference] if search.reference is not None else []
    best = search.best.name if search.best is not None else ""
    return head, [_trial_row(trial, keys, best) for trial in [*search.trials, *reference]]


def _trial_row(trial: Tried, keys: Sequence[str], best: str) -> dict[str, Any]:
    state = STATUS_TEXT[trial.status]
    cells = [
        _cell(trial.name),
        _cell(state),
        _cell(figure_text(trial.value), trial.value),
        _cell(figure_text(trial.best_epoch), trial.best_epoch),
        _cell(f"{trial.epochs} of {trial.planned}", trial.epochs),
        _cell(duration_text(trial.seconds), trial.seconds),
        *(_cell(_setting(trial, key), trial.params.get(key)) for key in keys),
    ]
    return {
        "name": trial.name,
        "state": state,
        "is_best": trial.name == best,
        "cells": cells,
        "text": " ".join([*(cell["text"] for cell in cells), trial.failure]).lower(),
        "command": trial.command,
    }


def _setting(trial: Tried, key: str) -> str:
    return figure_text(trial.params[key]) if key in trial.params else ""


def _cell(text: str, value: Any = None) -> dict[str, Any]:
    """Text, and by what its column is sorted; what is missing is sorted last."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    sort = repr(value) if is_number else "" if text in ("", "not available") else text
    return {"text": text, "sort": sort, "is_number": is_number}


def failure_rows(search: SearchFound) -> list[list[str]]:
    """Failures, equal ones together."""
    found: dict[str, list[str]] = {}
    for trial in [*search.trials, *([search.reference] if search.reference else [])]:
        if trial.failure:
            found.setdefault(f"{STATUS_TEXT[trial.status]}: {trial.failure}", []).append(trial.name)
    return [[", ".join(names), str(len(names)), text] for text, names in found.items()]


def failure_texts(search: SearchFound) -> list[str]:
    """What the kinds of failure mean."""
    texts = []
    if search.count("infeasible"):
        texts.append(
            "Infeasible: with this configuration the method kept no label to learn from, so the "
            "trial was ended. The search learnt from it that the configuration is bad."
        )
    if search.count("failed"):
        texts.append("Failed: an error ended the trial. The search went on without it.")
    return texts


def data_rows(run: Trained) -> tuple[list[str], list[list[str]]]:
    """Images by class and subset, and how many training labels are wrong, if that is known."""
    head, names = ["class"], run.class_names
    columns: list[list[str]] = [list(names)]
    label = run.split.get("label")
    if label is not None:
        counts = np.array([(label == i).sum() for i in range(len(names))])
        head += ["training", "share"]
        columns += [[f"{n:,}" for n in counts], [percent(n / counts.sum()) for n in counts]]
        truth = run.split.get("true_label", np.full(len(label), -1))
        if (truth >= 0).any():
            known = (truth >= 0) & (label >= 0)
            wrong = [known & (label == i) & (truth != label) for i in range(len(names))]
            base = [max(1, int((known & (label == i)).sum())) for i in range(len(names))]
            head.append("wrong labels")
            columns.append([percent(w.sum() / b) for w, b in zip(wrong, base, strict=True)])
    head.append("validation")
    columns.append([f"{n:,}" for n in validation_confusion(run).sum(axis=1)])
    if run.tested is not None:
        head.append("test")
        columns.append([f"{n:,}" for n in run.tested.confusion[CHOSEN].sum(axis=1)])
    return head, [list(row) for row in zip(*columns, strict=True)]


def noise_rows(run: Trained) -> list[list[str]]:
    """How often a method takes each class for labelled as which, if it has a matrix of that."""
    transition = run.split.get("transition")
    if transition is None or transition.shape != (len(run.class_names),) * 2:
        return []
    return [
        [name, *(f"{100 * share:.0f} %" for share in line)]
        for name, line in zip(run.class_names, transition, strict=True)
    ]


def data_text(run: Trained) -> str:
    """The data set in a line or two."""
    parts = [f"Data set {run.config['data']['spec']}"]
    images = (run.summary or {}).get("images")
    if isinstance(images, dict):
        height, width = images["size"]
        kind = "grey" if images["num_channels"] == 1 else "RGB"
        parts.append(f"{height} x {width} pixels, {kind}")
    label, truth = run.split.get("label"), run.split.get("true_label")
    if label is not None and (label >= 0).any():
        counts = np.bincount(label[label >= 0], minlength=len(run.class_names))
        if counts.min():
            parts.append(f"the largest class has {counts.max() / counts.min():.1f} x the smallest")
        if (label < 0).any():
            parts.append(f"{(label < 0).sum():,} training images without a label")
        if truth is not None and (truth >= 0).any():
            known = (truth >= 0) & (label >= 0)
            share = percent(float((label != truth)[known].mean()))
            parts.append(f"{share} of the training labels are wrong, as the truth tells")
        else:
            parts.append("how many labels are wrong is not known")
    return "; ".join(parts) + "."


def commands(run: Trained | None, search: SearchFound | None) -> list[tuple[str, str]]:
    """The commands that repeat a run and a search."""
    found = []
    if run is not None:
        what = "Train the best trial again" if search is not None else "Train it again"
        found.append((what, train_command(run.folder, run.config)))
    if search is not None:
        words = ["python", "-m", "fer_ray.tune", "--space", "space.yaml"]
        words += ["--trials", str(len(search.trials))]
        for key, value in search.overrides.items():
            words += [
                "--set",
                f"{key}={yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}",
            ]
        found.append(("Search again, with the space below as space.yaml", shlex.join(words)))
    return found


def files(run: Trained | None, search: SearchFound | None) -> list[tuple[str, str]]:
    """What the commands need."""
    found = []
    if search is not None:
        found.append(("space.yaml", _yaml(search.source)))
    if run is not None:
        found.append((f"config.yaml of {run.name}", _yaml(run.config)))
    return found


def _yaml(content: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))


def environment_rows(run: Trained | None) -> list[list[str]]:
    """The environment that a run has recorded."""
    summary = (run.summary or {}) if run is not None else {}
    found = summary.get("environment")
    if not isinstance(found, Mapping):
        return [["environment", "not recorded: the run was not tested, or by an earlier version"]]
    rows = {"fer_ray": summary.get("version"), **found}
    return [[str(key), str(value)] for key, value in rows.items()]
