"""An inspection in a terminal of 80 columns."""

import math
from collections.abc import Sequence
from typing import Literal

from rich.table import Table
from rich.text import Text

from fer_ray.core.noise_model import NoiseModel
from fer_ray.data.inspection.inspection import Inspection, Pair, copy_facts, share_text
from fer_ray.data.records import SUBSETS, TRAIN
from fer_ray.record.text import abbreviate, printable

_BAR, _PATH, _NUM_SHOWN = 16, 26, 5


def tables(inspection: Inspection) -> list[Table]:
    """Tables for a terminal of 80 columns; what is empty is left out."""
    found = [
        _list_table("Look at this first", inspection.warnings, style="bold yellow"),
        _class_table(inspection),
        _confusion_table(inspection),
        _size_table(inspection),
        _copy_table(inspection),
        _pair_table("Copies across splits, the worst first", inspection.leaks),
        _pair_table("Nearest training images", inspection.near),
        _problem_table(inspection),
        _list_table("Notes", inspection.notes),
    ]
    return [table for table in found if table.row_count]


def noise_table(model: NoiseModel, class_names: Sequence[str]) -> Table:
    """The share of every true class, and how often its images are given which label, in percent."""
    short = abbreviate(class_names)
    table = _table("Noise by verified labels, %", "true", ">share", *(f">{name}" for name in short))
    rows = zip(class_names, model.prior.tolist(), model.transition.tolist(), strict=True)
    for name, share, given in rows:
        table.add_row(name, *(f"{100 * value:.1f}" for value in (share, *given)))
    return table


def _table(title: str, *columns: str) -> Table:
    """Columns by name; `>` before a name aligns it to the right."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="dim",
    )
    for name in columns:
        justify: Literal["left", "right"] = "right" if name.startswith(">") else "left"
        table.add_column(
            Text(name.removeprefix(">")), justify=justify, no_wrap=True, overflow="ellipsis"
        )
    return table


def _list_table(title: str, lines: Sequence[str], style: str = "") -> Table:
    table = _table(title, "")
    table.show_header = False
    table.columns[0].no_wrap = False
    for line in lines:
        table.add_row(Text(printable(line), style=style))
    return table


def _class_table(inspection: Inspection) -> Table:
    """Images by class and split; how much of a label is wrong, if that is known."""
    is_known = bool(inspection.learnt.any())
    wrong = [">wrong"] if is_known else []
    table = _table(
        f"{inspection.num_images:,} images", "class", *(f">{s}" for s in SUBSETS), *wrong, ""
    )
    largest = max(1, int(inspection.counts[:, TRAIN].max()))
    for name, counts, share in zip(
        inspection.class_names, inspection.counts, inspection.wrong_share, strict=True
    ):
        bar = Text("━" * math.ceil(_BAR * counts[TRAIN] / largest), style="cyan")
        cells = [f"{num:,}" for num in counts] + ([share_text(share)] if is_known else [])
        table.add_row(Text(name), *cells, bar)
    if inspection.unlabelled.any():
        table.add_row(Text("no label", style="dim"), *(f"{num:,}" for num in inspection.unlabelled))
    total = [f"{num:,}" for num in inspection.counts.sum(axis=0) + inspection.unlabelled]
    share = [share_text(inspection.total_wrong_share)] if is_known else []
    ratio = f"imbalance {inspection.imbalance:.1f}"
    table.add_row("all", *total, *share, Text(ratio, style="dim"), style="bold")
    return table


def _confusion_table(inspection: Inspection) -> Table:
    """Rows are true classes, columns given labels; empty if no truth is known."""
    table = _table(
        "Given labels by true class, training and validation images",
        "true",
        *(f">{name}" for name in abbreviate(inspection.class_names)),
        ">right",
    )
    if not inspection.learnt.any():
        return table
    for i, (name, line) in enumerate(zip(inspection.class_names, inspection.learnt, strict=True)):
        cells = [
            Text(f"{num}", style="bold green" if i == j else "" if num else "dim")
            for j, num in enumerate(line)
        ]
        table.add_row(
            Text(name), *cells, share_text(line[i] / line.sum() if line.sum() else math.nan)
        )
    return table


def _size_table(inspection: Inspection) -> Table:
    table = _table("Height x width", "", ">size", ">images")
    for name, (height, width) in zip(
        ("smallest", "median", "largest"), inspection.size_range, strict=True
    ):
        table.add_row(name, f"{height} x {width}", "")
    for height, width, num in inspection.sizes:
        table.add_row("", f"{height} x {width}", f"{num:,}")
    return table


def _copy_table(inspection: Inspection) -> Table:
    table = _table("Copies", "what", "images")
    for row in copy_facts(inspection):
        table.add_row(*row)
    return table


def _pair_table(title: str, pairs: Sequence[Pair]) -> Table:
    table = _table(title, "subset", "image", "training image", ">correlation")
    for pair in pairs:
        paths = [Text(_tail(printable(path))) for path in pair.paths]
        table.add_row(pair.subset, *paths, pair.correlation_text)
    return table


def _problem_table(inspection: Inspection) -> Table:
    table = _table("Images that cannot be used", "kind", "image", "reason")
    for kind, num in inspection.num_problems.items():
        of_kind = [problem for problem in inspection.problems if problem.kind == kind]
        for problem in of_kind[:_NUM_SHOWN]:
            texts = (kind, _tail(printable(problem.path)), printable(problem.reason))
            table.add_row(*map(Text, texts))
        if num > _NUM_SHOWN:
            table.add_row(Text(kind), f"and {num - _NUM_SHOWN:,} more", "")
    return table


def _tail(path: str) -> str:
    return path if len(path) <= _PATH else f"…{path[1 - _PATH :]}"
