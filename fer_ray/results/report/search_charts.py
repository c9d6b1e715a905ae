"""The charts of a search: its trials in order, and their curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from fer_ray.results.report.chart import (
    BLUE,
    GREY,
    MISSING,
    ORANGE,
    Chart,
    figure_json,
    figure_text,
    finite,
    new_figure,
    readable_names,
)
from fer_ray.results.report.records import STATUS_TEXT, SearchFound, Status, Tried
from fer_ray.search.layout import REFERENCE

_SYMBOL: Mapping[Status, str] = {
    "done": "circle",
    "stopped": "x",
    "failed": "triangle-down",
    "infeasible": "triangle-down",
    "unfinished": "circle-open",
}


def order_chart(search: SearchFound) -> Chart | None:
    """The value of every trial in order, and the best so far; `None` for fewer than two."""
    trials = [trial for trial in search.trials if trial.has_result]
    if len(trials) < 2:
        return None
    figure = new_figure(
        xaxis={"title": "trial", "dtick": 1 if len(search.trials) <= 20 else None},
        yaxis={"title": f"{search.metric_words}, validation"},
    )
    numbers = {trial.name: number for number, trial in enumerate(search.trials, start=1)}
    for status in dict.fromkeys(trial.status for trial in trials):
        own = [trial for trial in trials if trial.status == status]
        figure.add_scatter(
            x=[numbers[trial.name] for trial in own],
            y=[trial.value for trial in own],
            text=[_hover(trial) for trial in own],
            hovertemplate="%{text}<extra></extra>",
            mode="markers",
            name=STATUS_TEXT[status],
            marker={"symbol": _SYMBOL[status], "size": 10, "color": GREY},
        )
    best = _best_so_far(trials, search.mode)
    figure.add_scatter(
        x=[numbers[trial.name] for trial in trials],
        y=best,
        mode="lines",
        name="best so far",
        line={"shape": "hv", "color": BLUE, "width": 2.5},
        hoverinfo="skip",
    )
    if search.reference is not None and search.reference.value is not None:
        figure.add_scatter(
            x=[1, len(search.trials)],
            y=[search.reference.value] * 2,
            mode="lines",
            name="reference",
            line={"dash": "dash", "color": ORANGE, "width": 2},
        )
    leader = search.best
    text = "Every trial in the order of the search"
    if leader is not None:
        text += f"; the best, {leader.name}, reached {figure_text(leader.value)}"
    return Chart(
        key="order",
        title="Trials in order",
        text=f"{text}. {_goal(search)}",
        figure=figure_json(figure),
        head=("trial", "state", search.metric_words, "best so far"),
        rows=[
            (t.name, STATUS_TEXT[t.status], figure_text(t.value), figure_text(b))
            for t, b in zip(trials, best, strict=True)
        ],
        height=340,
    )


def _best_so_far(trials: Sequence[Tried], mode: str) -> list[float]:
    best, found = None, []
    for trial in trials:
        value = float(trial.value or 0.0)
        better = max if mode == "max" else min
        best = value if best is None else better(best, value)
        found.append(best)
    return found


def curves_chart(search: SearchFound) -> Chart | None:
    """The metric of all trials over their epochs; `None` if no epoch has a value."""
    trials = [trial for trial in search.trials if trial.curve]
    reference = [search.reference] if search.reference and search.reference.curve else []
    if all(finite(value) is None for trial in [*trials, *reference] for _, value in trial.curve):
        return None
    figure = new_figure(
        xaxis={"title": "epoch"},
        yaxis={"title": f"{search.metric_words}, validation"},
        hovermode="closest",
    )
    best = search.best.name if search.best else ""
    for trial in sorted([*trials, *reference], key=lambda trial: trial.name == best):
        kind = "reference" if trial in reference else "best trial" if trial.name == best else ""
        _add_curve(figure, trial, kind)
    for status in dict.fromkeys(trial.status for trial in [*trials, *reference]):
        _add_ends(figure, [t for t in [*trials, *reference] if t.status == status], best)
    num_stopped = search.count("stopped")
    epochs = sorted({epoch for trial in [*trials, *reference] for epoch, _ in trial.curve})
    rows = []
    for trial in [*trials, *reference]:
        values = dict(trial.curve)
        cells = [figure_text(values[e]) if e in values else "" for e in epochs]
        rows.append((trial.name, STATUS_TEXT[trial.status], *cells))
    return Chart(
        key="curves",
        title="Curves of all trials",
        text=f"{search.metric_words.capitalize()} on validation, trial by trial. A cross ends the "
        f"curve of a trial that was stopped early (here {num_stopped}), a triangle that of one "
        "that failed; the best trial is drawn thicker.",
        figure=figure_json(figure),
        head=("trial", "state", *(f"epoch {epoch}" for epoch in epochs)),
        rows=rows,
        height=420,
    )


def _add_curve(figure: Any, trial: Tried, kind: str) -> None:
    """Add the line of a trial; `kind` is what the legend calls it, if it is in there."""
    look: dict[str, Any] = {"color": GREY, "width": 1.2}
    if kind == "reference":
        look = {"color": ORANGE, "width": 2.2, "dash": "dash"}
    elif kind:
        look = {"color": BLUE, "width": 3.2}
    figure.add_scatter(
        x=[epoch for epoch, _ in trial.curve],
        y=[finite(value) for _, value in trial.curve],
        mode="lines",
        name=kind,
        showlegend=bool(kind),
        line=look,
        text=[_hover(trial)] * len(trial.curve),
        hovertemplate="epoch %{x}: %{y:.4f}<br>%{text}<extra></extra>",
    )


def _add_ends(figure: Any, trials: Sequence[Tried], best: str) -> None:
    """Mark where trials of one status end, by its symbol."""
    colors = {best: BLUE, REFERENCE: ORANGE}
    figure.add_scatter(
        x=[trial.curve[-1][0] for trial in trials],
        y=[finite(trial.curve[-1][1]) for trial in trials],
        mode="markers",
        name=STATUS_TEXT[trials[0].status],
        marker={
            "symbol": _SYMBOL[trials[0].status],
            "size": 9,
            "color": [colors.get(trial.name, GREY) for trial in trials],
        },
        text=[_hover(trial) for trial in trials],
        hovertemplate="epoch %{x}: %{y:.4f}<br>%{text}<extra></extra>",
    )


def _goal(search: SearchFound) -> str:
    return f"{'More' if search.mode == 'max' else 'Less'} of {search.metric} is better."


def _hover(trial: Tried) -> str:
    """What a trial is, in lines for Plotly."""
    names = readable_names(list(trial.params))
    settings = [
        f"{name} = {figure_text(value)}"
        for name, value in zip(names, trial.params.values(), strict=True)
    ]
    value = MISSING if trial.value is None else f"{trial.value:.4f}"
    head = f"<b>{trial.name}</b>, {STATUS_TEXT[trial.status]}, best {value}"
    return "<br>".join([head, *settings[:14]])
