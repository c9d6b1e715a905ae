"""What reviewing labels is worth, from the committed results of `benchmarks/audit.py worth`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "audit-worth.json"

# Strategy -> label, colour and mark.
_STYLES: Mapping[str, tuple[str, str, str]] = {
    "random": ("drawn by lot", "#0072B2", "o"),
    "picked": ("the likeliest errors", "#C2410C", "s"),
    "both": ("half of each", "#6B7280", "D"),
}
_FIGURES = {
    "accuracy_natural": "accuracy at the natural point, %",
    "macro_recall_balanced": "macro recall at the balanced point, %",
    "errors_found": "wrong labels found",
}


def worth_figure() -> Figure:
    """Accuracy, macro recall and found errors over the number of reviewed images."""
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    figure = Figure(figsize=(12.5, 3.8), layout="constrained")
    panels = figure.subplots(1, len(_FIGURES))
    for axes, (key, text) in zip(panels, _FIGURES.items(), strict=True):
        factor = 1 if key == "errors_found" else 100
        for strategy, (label, color, mark) in _STYLES.items():
            ours = [row for row in rows if row["strategy"] == strategy]
            if len(ours) < 2:
                continue  # not measured
            axes.plot(
                [row["reviewed"] for row in ours],
                [factor * row[key]["mean"] for row in ours],
                f"-{mark}",
                color=color,
                label=label,
            )
        axes.set(xlabel="reviewed images, of 4,000", ylabel=text)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E5E7EB", linewidth=0.8)
        axes.set_axisbelow(True)
    panels[-1].legend(frameon=False)
    return figure
