"""Draw the pictures of README and `docs/` from a finished search and the committed benchmarks.

    uv run python docs/pictures.py [SEARCH_FOLDER]

Writes beside this file, of the search, if one is given,

  search.svg    the terminal at its end
  results.png   its trials over epochs, and the test set's confusion matrix

and of the figures in `benchmarks/results/`

  accuracy.png  accuracy over macro recall of every method
  worth.png     what reviewing labels is worth
"""

import argparse
import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from accuracy import accuracy_figure
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from worth import worth_figure

from fer_ray.record.tables import recall_table
from fer_ray.record.text import metric_name
from fer_ray.record.trial import TrialStatus
from fer_ray.record.trial_table import TrialTable
from fer_ray.search.layout import REFERENCE

DOCS = Path(__file__).resolve().parent
_COMMAND = "python -m fer_ray.tune --space search_spaces/thresholds.yaml"
_COLUMNS = 108
_BEST, _OTHERS, _STOPPED = "#0072B2", "#B8BEC7", "#6B7280"


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "search", type=Path, nargs="?", metavar="SEARCH_FOLDER", help="of a finished search"
    )
    search = parser.parse_args().search
    if search is not None:
        summary = json.loads((search / "summary.json").read_text(encoding="utf-8"))
        trials = read_trials(search)
        (DOCS / "search.svg").write_text(terminal_svg(summary, trials), encoding="utf-8")
        save(results_figure(summary, trials), "results.png")
    save(accuracy_figure(), "accuracy.png")
    save(worth_figure(), "worth.png")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial of a finished search, from its files.

    Attributes:
        name: Its name, which is its folder's.
        params: What was sampled, by dotted key.
        num_epochs: Epochs planned.
        rows: A row per epoch.
        best: Its best value of the metric.
        failure: Why it has no result, or nothing.
    """

    name: str
    params: Mapping[str, Any]
    num_epochs: int
    rows: Sequence[Mapping[str, Any]]
    best: float | None
    failure: str

    @property
    def status(self) -> TrialStatus:
        """How it ended."""
        if self.failure:
            return "infeasible" if self.failure.startswith("EmptySplitError") else "failed"
        return "done" if len(self.rows) >= self.num_epochs else "stopped"


def read_trials(search: Path) -> list[Trial]:
    """The trials of a search, in order."""
    trials = []
    with (search / "trials.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            folder = search / row["trial"]
            lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            trial = Trial(
                name=row["trial"],
                params=json.loads((folder / "params.json").read_text(encoding="utf-8")),
                num_epochs=config["optim"]["epochs"],
                rows=[json.loads(line) for line in lines],
                best=float(row["best"]) if row["best"] else None,
                failure=row["failure"],
            )
            trials.append(trial)
    return trials


def terminal_svg(summary: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """Trials and test of a search as the terminal shows them at its end."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(f"$ {_COMMAND}\n", highlight=False, style="bold")
    console.print(_trial_table(summary, trials, console).render())
    test = summary["test"]
    support = dict(zip(summary["classes"], map(sum, test["confusion_matrix"]), strict=True))
    console.print("\nTest set, networks of the best trial:", highlight=False)
    console.print(recall_table(test["recall"], test["macro_recall"], test["accuracy"], support))
    svg = console.export_svg(title="fer_ray")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from elsewhere


def _trial_table(
    summary: Mapping[str, Any], trials: Sequence[Trial], console: Console
) -> TrialTable:
    metric, seconds = summary["metric"], [0.0]
    table = TrialTable(
        summary["num_trials"],
        metric=metric,
        mode=summary["mode"],
        console=console,
        clock=lambda: seconds[-1],
    )
    for trial in trials:
        epoch, planned = len(trial.rows), trial.num_epochs
        last = trial.rows[-1][metric] if trial.rows else None
        table.update(trial.name, "running", 0, planned, None, None, trial.params)
        table.update(trial.name, trial.status, epoch, planned, last, trial.best, trial.params)
    seconds.append(summary["wall_s"])
    return table


def results_figure(summary: Mapping[str, Any], trials: Sequence[Trial]) -> Figure:
    """The metric of every trial over epochs, the best one's in colour, and how it was tested."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.0, 1.05])
    _draw_trials(left, summary, trials)
    _draw_confusion(right, summary["test"]["confusion_matrix"], summary["classes"])
    recall = summary["test"]["macro_recall"]
    right.set_title(
        f"Best trial: test images, right labels; macro recall {recall:.1%}", fontsize=10
    )
    return figure


def _draw_trials(axes: Axes, summary: Mapping[str, Any], trials: Sequence[Trial]) -> None:
    metric, best = summary["metric"], summary["best"]["trial"]
    is_loss = summary["mode"] == "min"
    for trial in trials:
        epochs = [row["epoch"] for row in trial.rows]
        values = [(1 if is_loss else 100) * row[metric] for row in trial.rows]
        if trial.name == REFERENCE:
            axes.plot(epochs, values, color=_OTHERS, linestyle="--", label="plain cross-entropy")
            continue
        axes.plot(epochs, values, color=_OTHERS, linewidth=1.2)
        if trial.name == best:
            axes.plot(epochs, values, color=_BEST, linewidth=2.4, zorder=3, label=f"{best}, best")
        if trial.status == "stopped":
            axes.plot(epochs[-1], values[-1], "x", color=_STOPPED, zorder=3)
    axes.plot([], [], color=_OTHERS, label="the other trials")
    axes.plot([], [], "x", color=_STOPPED, label="stopped early")
    axes.legend(frameon=False, loc="upper right" if is_loss else "lower right")
    axes.set_title("Search: validation images, labels as noisy as in training", fontsize=10)
    name = metric_name(metric).replace("_", " ")
    if is_loss:
        axes.set(xlabel="epoch", ylabel=f"{name} (less is better)")
    else:
        axes.set(xlabel="epoch", ylabel=f"{name}, %", ylim=(0, None))
    axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E5E7EB", linewidth=0.8)


def _draw_confusion(axes: Axes, counts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    matrix = np.asarray(counts)
    share = matrix / matrix.sum(axis=1, keepdims=True).clip(1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(matrix.shape):
        color = "white" if share[row, column] > 0.55 else "black"
        weight = "bold" if row == column else "normal"
        text = axes.text(column, row, str(matrix[row, column]), color=color, weight=weight)
        text.set(ha="center", va="center", fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="true")
    axes.spines[:].set_visible(False)


def save(figure: Figure, name: str) -> None:
    """Write a figure beside this file."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(115)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.save(DOCS / name, optimize=True)


if __name__ == "__main__":
    main()
