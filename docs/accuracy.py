"""Accuracy over macro recall of every method, from the committed results of `real_noise.py`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
Row = Mapping[str, Any]

_BASE = "cross_entropy x 2"
# Case -> label, colour and dashes of the lines that matter; the others are thin.
_STYLES: Mapping[str, tuple[str, str, str]] = {
    _BASE: ("cross-entropy, two networks", "#111827", "-"),
    f"{_BASE}, verified": ("the same, told 200 verified labels", "#111827", "--"),
    "peer_posterior, verified": ("peer_posterior, 200 verified", "#0072B2", "-"),
    "peer_posterior, verified, two networks": ("the same with two networks", "#56B4E9", "-"),
    "peer_posterior": ("peer_posterior, nothing verified", "#0072B2", "--"),
}
_OTHERS: Mapping[str, tuple[str, str]] = {
    "cross_entropy, verified": ("cross-entropy, one network, 200 verified", "#0F766E"),
    "co_divide": ("co_divide", "#C2410C"),
    "co_divide, posterior, verified": ("co_divide, posterior, 200 verified", "#EA9A6B"),
    "dividemix": ("dividemix", "#8A6100"),
    "elr": ("elr", "#B0278A"),
    "elr+": ("elr+", "#D98BC4"),
    "co_teaching": ("co_teaching", "#047857"),
    "robust_loss, GCE": ("robust_loss, GCE", "#5B45C4"),
    "robust_loss, SCE": ("robust_loss, SCE", "#A79BE8"),
    "eac": ("eac", "#8B4A2B"),
    "ada_cm": ("ada_cm", "#5F6B7A"),
    "crest": ("crest", "#A3ADB8"),
}
_TITLES = {
    "small": "FER2013: 4,000 training images, 21,917 test images",
    "full": "FER2013: 28,709 training images, 2,853 test images",
}
# Marks of the operating points.
_POINTS = {
    "trained": ("o", "as trained"),
    "natural": ("s", "natural"),
    "balanced": ("D", "balanced"),
}


def accuracy_figure() -> Figure:
    """The curve of every method between its operating points, a panel for each set of faces."""
    names = [name for name in _TITLES if (RESULTS / f"real_noise-{name}.json").exists()]
    figure = Figure(figsize=(5.6 * len(names) + 3.2, 5.2), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    shown: dict[str, Line2D] = {}
    for axes, name in zip(panels, names, strict=True):
        content = json.loads((RESULTS / f"real_noise-{name}.json").read_text(encoding="utf-8"))
        shown |= _draw(axes, content["rows"])
        axes.set(title=_TITLES[name], xlabel="macro recall, %", ylabel="accuracy, %")
        axes.set_ylim(bottom=50)  # below it nobody wants to answer so many rare classes
    marks = [
        Line2D([], [], marker=mark, color="#6B7280", linestyle="", markersize=6, label=text)
        for mark, text in _POINTS.values()
    ]
    figure.legend(
        handles=[*shown.values(), *marks], loc="outside right upper", frameon=False, fontsize=9
    )
    return figure


def _draw(axes: Axes, rows: Sequence[Row]) -> dict[str, Line2D]:
    """Draw the curves; return a line of every case for the legend, those that matter first."""
    found = {row["case"]: row for row in rows}
    lines = {}
    for case, (label, color) in _OTHERS.items():
        if case in found:
            lines[case] = _line(axes, found[case], label, color, "-", is_thin=True)
    first = {}
    for case, (label, color, dashes) in _STYLES.items():
        if case in found:
            first[case] = _line(axes, found[case], label, color, dashes, is_thin=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E7EB", linewidth=0.8)
    axes.set_axisbelow(True)
    return first | lines


def _line(axes: Axes, row: Row, label: str, color: str, dashes: str, *, is_thin: bool) -> Line2D:
    accuracy, recall = (
        [100 * value for value in values] for values in zip(*row["curve"], strict=True)
    )
    (line,) = axes.plot(
        recall, accuracy, dashes, color=color, linewidth=1 if is_thin else 2, label=label
    )
    for point, (mark, _) in _POINTS.items():
        at = row[point]
        axes.plot(
            100 * at["macro_recall"]["mean"],
            100 * at["accuracy"]["mean"],
            mark,
            color=color,
            markersize=4 if is_thin else 6.5,
        )
    return line
