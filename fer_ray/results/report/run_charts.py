"""The charts of one run: recall by class, curves, clean probabilities, kept labels."""

from collections.abc import Sequence

import numpy as np

from fer_ray.core.intervals import wilson
from fer_ray.core.operating_points import POINTS
from fer_ray.results.report.chart import (
    BLUE,
    COLORS,
    DASHES,
    ORANGE,
    SYMBOLS,
    Chart,
    figure_json,
    finite,
    new_figure,
    percent,
)
from fer_ray.results.report.records import Answers, Trained

_NUM_BINS = 20
_KEPT = "split/labeled_fraction/"


def recall_chart(tested: Answers, class_names: Sequence[str]) -> Chart:
    """Recall of every class at the three operating points, with Wilson intervals."""
    figure = new_figure(
        xaxis={"title": "recall on the test set", "tickformat": ".0%", "range": [-0.02, 1.02]},
        yaxis={
            "autorange": "reversed",
            "tickvals": list(range(len(class_names))),
            "ticktext": list(class_names),
        },
    )
    rows: list[list[str]] = [[name] for name in class_names]
    for number, point in enumerate(POINTS):
        confusion = tested.confusion[point]
        found = [wilson(int(line[i]), int(line.sum())) for i, line in enumerate(confusion)]
        figure.add_scatter(
            x=[one.value for one in found],
            y=[i + 0.22 * (number - 1) for i in range(len(class_names))],
            mode="markers",
            name=point,
            marker={"symbol": SYMBOLS[number], "size": 9, "color": COLORS[number]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [one.high - one.value for one in found],
                "arrayminus": [one.value - one.low for one in found],
                "thickness": 1.5,
                "width": 3,
                "color": COLORS[number],
            },
            customdata=[
                [name, one.low, one.high] for name, one in zip(class_names, found, strict=True)
            ],
            hovertemplate="%{customdata[0]}: %{x:.1%} (%{customdata[1]:.1%} to "
            "%{customdata[2]:.1%})",
        )
        for row, one in zip(rows, found, strict=True):
            row += [percent(one.value), f"{percent(one.low)} to {percent(one.high)}"]
    head = [text for point in POINTS for text in (point, "95 % interval")]
    num = tested.confusion["trained"].sum(axis=1)
    rows = [[row[0], f"{n:,}", *row[1:]] for row, n in zip(rows, num, strict=True)]
    return Chart(
        key="recall",
        title="Recall by class",
        text="The share of each class that is found, at the three operating points, with 95 % "
        "Wilson intervals, which hold for few images and near 0 and 100 %.",
        figure=figure_json(figure),
        head=("class", "images", *head),
        rows=rows,
        height=110 + 46 * len(class_names),
    )


def progress_chart(run: Trained) -> Chart | None:
    """Macro recall, accuracy and recall by class over epochs; `None` for a single epoch."""
    if len(run.rows) < 2:
        return None
    keys = ["val/macro_recall", "val/accuracy", *(f"val/recall/{x}" for x in run.class_names)]
    names = ["macro recall", "accuracy", *run.class_names]
    figure = new_figure(xaxis={"title": "epoch"}, yaxis={"title": "share", "tickformat": ".0%"})
    for number, (key, name) in enumerate(zip(keys, names, strict=True)):
        is_main = number < 2
        color = {} if is_main else {"color": _color(number - 2)}  # the page's own, or the class's
        figure.add_scatter(
            x=[row["epoch"] for row in run.rows],
            y=[finite(row.get(key)) for row in run.rows],
            mode="lines+markers",
            name=name,
            line=color
            | {
                "width": 3 if is_main else 1.2,
                "dash": DASHES[number] if is_main else DASHES[(number - 2) % len(DASHES)],
            },
            marker={
                "symbol": SYMBOLS[number if is_main else (number - 2) % len(SYMBOLS)],
                "size": 7 if is_main else 5,
            },
            hovertemplate="%{fullData.name}, epoch %{x}: %{y:.1%}<extra></extra>",
        )
    epoch = run.shown_row["epoch"]
    figure.add_vline(x=epoch, line={"dash": "dot", "width": 1.5, "color": COLORS[7]})
    return Chart(
        key="progress",
        title="Validation over epochs",
        text="Against the given labels of the validation images, at the operating point of the "
        f"run. The dotted line is epoch {epoch}, whose networks are shown.",
        figure=figure_json(figure),
        head=("epoch", *names),
        rows=[[str(row["epoch"]), *(percent(row.get(key)) for key in keys)] for row in run.rows],
        height=440,
    )


def clean_chart(run: Trained) -> Chart | None:
    """Clean probabilities of the last split by class, with thresholds; `None` without a split."""
    from plotly.subplots import make_subplots

    clean, label = run.split.get("clean_prob"), run.split.get("label")
    if clean is None or label is None or not np.isfinite(clean).any():
        return None
    prob = np.nanmean(clean, axis=0)
    truth = run.split.get("true_label", np.full(len(label), -1))
    shown = [i for i in range(len(run.class_names)) if (label == i).any()]
    figure = make_subplots(rows=len(shown), cols=1, shared_xaxes=True, vertical_spacing=0.03)
    figure.update_layout(new_figure().layout)
    figure.update_layout(barmode="stack", bargap=0.05)
    edges, rows = np.linspace(0, 1, _NUM_BINS + 1), []
    is_known = bool(((truth >= 0) & (label >= 0)).any())
    for place, number in enumerate(shown, start=1):
        own = (label == number) & np.isfinite(prob)
        wrong = own & (truth >= 0) & (truth != label)
        parts = [("right", own & ~wrong, BLUE, ""), ("wrong", wrong, ORANGE, "/")]
        if not is_known:
            parts = [("all labels", own, BLUE, "")]
        for name, rows_in, color, pattern in parts:
            figure.add_bar(
                x=(edges[:-1] + edges[1:]) / 2,
                y=np.histogram(prob[rows_in], edges)[0],
                name=name if name == "all labels" else f"labels that are {name}",
                legendgroup=name,
                showlegend=place == 1 and is_known,
                marker={"color": color, "pattern": {"shape": pattern}},
                hovertemplate=f"{run.class_names[number]}, {name}: %{{y}} labels at %{{x:.2f}}"
                "<extra></extra>",
                row=place,
                col=1,
            )
        threshold = _threshold(run, number)
        if threshold is not None:
            line = {"dash": "dash", "width": 2, "color": COLORS[3]}
            figure.add_vline(x=threshold, line=line, row=place, col=1)
        title = {"text": run.class_names[number], "font": {"size": 12}}
        figure.update_yaxes(title=title, row=place, col=1)
        rows.append(_clean_row(run, number, own, wrong if is_known else None, prob))
    figure.update_xaxes(range=[0, 1.005], automargin=True)
    figure.update_yaxes(automargin=True, nticks=3)
    figure.update_xaxes(title="probability that the given label is right", row=len(shown), col=1)
    networks = "the mean of both networks" if len(clean) > 1 else "the network"
    return Chart(
        key="clean",
        title="Which labels the run believes",
        text="Training images of each given class by the probability that this label is right, "
        f"after {networks} at the last split. A dashed line is the threshold of the class: labels "
        "to its right are kept."
        + (" Hatched labels are wrong, as the truth tells, which no method sees." * is_known),
        figure=figure_json(figure),
        head=("class", "labels", "threshold", "kept", "median probability", "wrong, of the kept"),
        rows=rows,
        height=90 + 92 * len(shown),
    )


def _threshold(run: Trained, number: int) -> float | None:
    threshold = run.split.get("threshold")
    return None if threshold is None else finite(float(threshold[number]))


def _clean_row(
    run: Trained, number: int, own: np.ndarray, wrong: np.ndarray | None, prob: np.ndarray
) -> list[str]:
    kept = run.split["is_labeled"][:, own].mean(axis=0)
    threshold = _threshold(run, number)
    bad = "" if wrong is None else "none kept"
    if wrong is not None and kept.sum() > 0:
        bad = percent(float((kept * wrong[own]).sum() / kept.sum()))
    return [
        run.class_names[number],
        f"{own.sum():,}",
        "" if threshold is None else f"{threshold:.2f}",
        percent(float(kept.mean())) if own.any() else "",
        f"{np.median(prob[own]):.2f}" if own.any() else "",
        bad,
    ]


def kept_chart(run: Trained) -> Chart | None:
    """The share of each class's labels that is kept, over epochs; `None` if none ever is."""
    rows = [row for row in run.rows if f"{_KEPT}{run.class_names[0]}" in row]
    keys = [f"{_KEPT}{name}" for name in run.class_names]
    if not rows or not any(row.get(key) for row in rows for key in keys):
        return None
    figure = new_figure(
        xaxis={"title": "epoch"},
        yaxis={"title": "share of the labels kept", "tickformat": ".0%", "range": [-0.02, 1.04]},
    )
    for number, (key, name) in enumerate(zip(keys, run.class_names, strict=True)):
        figure.add_scatter(
            x=[row["epoch"] for row in rows],
            y=[finite(row.get(key)) for row in rows],
            mode="lines+markers",
            name=name,
            line={"color": _color(number), "dash": DASHES[number % len(DASHES)], "width": 2},
            marker={"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8},
            hovertemplate="%{fullData.name}, epoch %{x}: %{y:.1%}<extra></extra>",
        )
    return Chart(
        key="kept",
        title="Labels kept, by class",
        text="Of the training images with each given label, the share that kept it at the split "
        "before each epoch, mean of the networks. A class that falls to 0 is no longer learnt from "
        "labels.",
        figure=figure_json(figure),
        head=("epoch", *run.class_names),
        rows=[[str(row["epoch"]), *(percent(row.get(key)) for key in keys)] for row in rows],
        height=420,
    )


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]
