"""What commands print besides their progress."""

import itertools
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Column, Table

from fer_ray.config import RunConfig
from fer_ray.data import FaceData
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.starving import first_starving
from fer_ray.record.storage import Folder
from fer_ray.record.tables import confusion_table, plain_table, points_table, recall_table
from fer_ray.record.text import metric_text
from fer_ray.results.lead import Lead
from fer_ray.training.scaling import PARTS, Point


def print_config(console: Console, run: RunConfig) -> None:
    """Print a run as YAML that `--config` can read."""
    text = yaml.safe_dump(run.to_dict(), sort_keys=False)
    console.print(text, end="", highlight=False, markup=False, soft_wrap=True)


def print_line(console: Console, line: str) -> None:
    """Print one line that can be copied, also where it is longer than a terminal is wide."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def sweep_hint(folder: Folder) -> str:
    """One line for the user: how runs that are only on disk become a sweep of W&B.

    >>> sweep_hint(Folder("/data/my runs/x")).partition(": ")[2]
    "python -m fer_ray.sweep '/data/my runs/x'"
    """
    command = f"python -m fer_ray.sweep {shlex.quote(str(folder))}"
    return f"W&B runs are offline; send them, as a sweep, with: {command}"


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """Print what the user should know about the data."""
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def rescue_notes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What to say of a run's rows if classes would have starved.

    >>> rescue_notes([{"epoch": 7, "split/rescued/fear": 3.0}])[0].partition(";")[0]
    'the split would have kept hardly a label of fear (from epoch 7)'
    """
    first = first_starving(rows)
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


def _print_text(console: Console, text: str) -> None:
    """Print a sentence, wrapped between words."""
    console.print(text, highlight=False, markup=False)


def print_lead(console: Console, lead: Lead) -> None:
    """Print how far the trial with the best value is ahead of the default one, and how surely."""
    _print_text(console, f"{lead.text}{'' if lead.is_sure else ': that may be chance'}")
    if not lead.is_enough:
        _print_text(console, f"So {lead.over} is taken (margin: {lead.margin:g})")


def print_default(console: Console, summary: Mapping[str, Any]) -> None:
    """Print how far the best trial of a search is ahead of the default one on the test set."""
    default = summary.get("default", {})
    if "test" not in default:  # it is the best one, or has no result
        return
    gaps = [
        f"{100 * (summary['test'][key] - default['test'][key]):+.1f} points of {name}"
        for key, name in (("macro_recall", "macro recall"), ("accuracy", "accuracy"))
    ]
    ours, theirs = summary["best"]["trial"], default["trial"]
    _print_text(console, f"\n{ours} against {theirs}, the default, on test: {', '.join(gaps)}")


def print_reference(console: Console, summary: Mapping[str, Any]) -> None:
    """Print how far the best trial of a search is ahead of the reference, if there is one."""
    best, reference = summary["best"], summary.get("reference")
    if reference is None:
        return
    if "failure" in reference:
        text = f"\nThe reference has no result: {reference['failure']}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        return
    ours = {**best, "test": summary["test"]}
    names = (best["trial"], reference["config"]["method"]["name"], "ahead, points")
    table = plain_table([Column(""), *(Column(name, justify="right") for name in names)])
    keys = ("macro_recall", "accuracy")
    shown = [*itertools.product(("test", "val"), keys)]
    metric = summary["metric"].removeprefix("val/")
    if metric not in keys:
        shown.append(("val", metric))
    for part, key in shown:
        pair = ours[part][key], reference[part][key]
        gap = pair[0] - pair[1]
        name = key.replace("_", " ").replace("/", " ")
        label = f"{'validation' if part == 'val' else part} {name}"
        less = f"{metric_text(abs(gap))} {'less' if gap < 0 else 'more'}"
        ahead = less if key.endswith("loss") else f"{100 * gap:+.1f}"
        table.add_row(label, *map(metric_text, pair), ahead)
    table.add_row("epochs", *(str(row["epochs"]) for row in (ours, reference)), "")
    table.add_row("seconds", *(f"{row['wall_s']:.0f}" for row in (ours, reference)), "")
    console.print("\nThe best trial and the reference:", highlight=False)
    console.print(table)


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
