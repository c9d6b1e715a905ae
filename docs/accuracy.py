"""Accuracy over seconds of every method, from the committed benchmarks.

Three benchmarks, on three scales of seconds: two give every method the same seconds on an EPYC, one
gives every method the same epochs on a slower Xeon.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"

# The first word of a case -> its colour.
_COLORS = {
    "cross_entropy": "#000000",
    "co_divide": "#0072B2",
    "dividemix": "#C2410C",
    "robust_loss": "#8A6100",
    "co_teaching": "#047857",
    "elr": "#B0278A",
    "elr+": "#B0278A",
    "eac": "#8B4A2B",
    "ada_cm": "#5B45C4",
    "crest": "#5F6B7A",
}
# Case -> label, and where it stands from the point, in points to the right and up.
Labels = dict[str, tuple[str, float, float]]
_SYNTHETIC: Labels = {
    "cross_entropy": ("cross_entropy", 8, 0),
    "cross_entropy x 2": ("cross_entropy, two networks", 8, -8),
    "dividemix": ("dividemix", 8, 0),
    "co_divide": ("co_divide", -8, 0),
    "co_divide, searched": ("co_divide, searched", 8, 0),
}
_SECONDS: Labels = _SYNTHETIC | {
    "co_divide": ("co_divide", 8, 0),
    "co_divide, searched": ("co_divide, searched", -8, 0),
}
_RECALL: Labels = {
    "cross_entropy": ("cross_entropy", -8, 3),
    "cross_entropy, balanced softmax": ("balanced softmax", 8, 3),
    "co_divide": ("co_divide", -8, -2),
    "co_divide, mixture per class, estimated prior": ("co_divide, mixture per class", 8, 0),
    "co_divide, no penalty": ("co_divide, no penalty", -8, 2),
    "dividemix, Clothing1M form": ("dividemix", 8, 0),
    "dividemix, CIFAR form": ("dividemix, CIFAR form", -8, 4),
    "robust_loss, GCE": ("robust_loss, GCE", 8, 0),
    "robust_loss, GCE, q 0.3": ("GCE, q 0.3", -8, -3),
    "robust_loss, SCE": ("robust_loss, SCE", 8, 0),
    "robust_loss, SCE, ce_weight 1": ("SCE, ce_weight 1", -8, 0),
    "co_teaching": ("co_teaching", 8, 0),
    "elr": ("elr", -8, 0),
    "elr+": ("elr+", 8, -8),
    "elr+, weight 1": ("elr+, weight 1", 8, 4),
    "eac, weight 0.2": ("eac, weight 0.2", -8, 0),
    "ada_cm": ("ada_cm", 8, 0),
    "crest": ("crest", 8, 4),
}
_ACCURACY: Labels = _RECALL | {
    "cross_entropy, balanced softmax": ("balanced softmax", -8, 0),
    "co_divide": ("co_divide", -8, 0),
    "co_divide, mixture per class, estimated prior": ("co_divide, mixture per class", -8, 0),
    "co_divide, no penalty": ("co_divide, no penalty", 8, 4),
    "robust_loss, SCE": ("robust_loss, SCE", -8, 0),
    "elr": ("elr", 8, 0),
    "elr+, weight 1": ("elr+, weight 1", 8, 0),
}
# Far below the others.
_BELOW = "eac"


def accuracy_figure() -> Figure:
    """Macro recall and accuracy over seconds, with the deviation over three seeds."""
    padded = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(11.0, 8.0), layout=padded)
    grid = figure.subplots(2, 2, width_ratios=[1.0, 1.9])
    (synthetic, recall), (seconds, accuracy) = grid
    _draw(synthetic, "compare-synthetic", "macro_recall", _SYNTHETIC)
    synthetic.set(xlim=(15, 75), ylim=(20, 92))
    synthetic.set(title="Drawn faces, equal seconds", ylabel="macro recall = accuracy, %")
    _draw(seconds, "compare-fer2013plus-small", "macro_recall", _SECONDS)
    _draw(seconds, "compare-fer2013plus-small", "accuracy", {})
    seconds.set(xlim=(20, 185), ylim=(31, 66))
    seconds.set(title="FER2013, equal seconds", ylabel="%")
    marks = [
        Line2D([], [], marker=mark, mfc=fill, mec="black", linestyle="", markersize=5.5)
        for mark, fill in (("D", "none"), ("o", "black"))
    ]
    seconds.legend(marks, ["accuracy", "macro recall"], frameon=False, loc="lower left")
    for axes, key, labels in (
        (recall, "macro_recall", _RECALL),
        (accuracy, "accuracy", _ACCURACY),
    ):
        _draw(axes, "methods-fer2013plus-small", key, labels)
        word = key.replace("_", " ")
        axes.set(title=f"FER2013, 20 epochs each: {word}", ylabel=f"{word}, %")
        axes.set_xscale("log")
        axes.set_xlim(31, 430)
        axes.set_xticks([50, 100, 200, 400], ["50", "100", "200", "400"])
        axes.minorticks_off()
    recall.set_ylim(33, 51)
    accuracy.set_ylim(45.5, 63)
    return figure


def _draw(axes: Axes, result: str, key: str, labels: Labels) -> None:
    """Draw a point for every case; those that know true labels are left out."""
    content = json.loads((RESULTS / f"{result}.json").read_text(encoding="utf-8"))
    for row in content["rows"]:
        color = _COLORS.get(row["case"].split(",")[0].split()[0])
        if color is None:
            continue
        if row["case"] == _BELOW:
            _note(axes, row, key, color)
            continue
        if row["case"] == "cross_entropy":
            axes.axhline(
                100 * row[key]["mean"], color="black", linewidth=0.8, linestyle=(0, (4, 4))
            )
        _point(axes, row, key, color)
        if labels:
            _label(axes, row, key, color, labels[row["case"]])
    axes.set_xlabel("seconds of one CPU thread")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E5E7EB", linewidth=0.8)
    axes.set_axisbelow(True)


def _point(axes: Axes, row: Mapping[str, Any], key: str, color: str) -> None:
    is_hollow = key == "accuracy"
    axes.errorbar(
        row["seconds"]["mean"],
        100 * row[key]["mean"],
        xerr=row["seconds"]["std"],
        yerr=100 * row[key]["std"],
        fmt="D" if is_hollow else "o",
        color=color,
        ecolor=f"{color}40",
        markerfacecolor="white" if is_hollow else color,
        markersize=5.5 if is_hollow else 6.5,
    )


def _label(
    axes: Axes, row: Mapping[str, Any], key: str, color: str, label: tuple[str, float, float]
) -> None:
    text, right, up = label
    axes.annotate(
        text,
        (row["seconds"]["mean"], 100 * row[key]["mean"]),
        (right, up),
        textcoords="offset points",
        ha="left" if right > 0 else "right",
        va="center",
        color=color,
        fontsize=9,
        weight="bold" if text == "cross_entropy" else "normal",
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )


def _note(axes: Axes, row: Mapping[str, Any], key: str, color: str) -> None:
    """Say at the lower edge where a point is that lies far below."""
    place = (row["seconds"]["mean"], 0.0)
    axes.annotate(
        f"{row['case']}: {100 * row[key]['mean']:.1f} ↓",
        place,
        (0, 5),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="center",
        color=color,
        fontsize=9,
    )
