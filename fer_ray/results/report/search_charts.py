"""The charts of a search: its trials in order, their curves, their configurations."""

import math
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
    percent,
    readable_names,
)
from fer_ray.results.report.importance import EVALUATOR, Importance
from fer_ray.results.report.records import STATUS_TEXT, SearchFound, Status, Tried
from fer_ray.search.layout import REFERENCE

_SYMBOL: Mapping[Status, str] = {
    "done": "circle",
    "stopped": "x",
    "failed": "triangle-down",
    "infeasible": "triangle-down",
    "unfinished": "circle-open",
}
_NOT_USED = "not used"


def order_chart(search: SearchFound) -> Chart | None:
    """The value of every trial in order, and the best so far; `None` for fewer than two."""
    trials = [trial for trial in search.trials if trial.has_result]
    if len(trials) < 2:
        return None
    figure = new_figure(
        xaxis={"title": "trial", "dtick": 1 if len(search.trials) <= 20 else None},
        yaxis={"title": _short(search)},
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
        head=("trial", "state", _short(search), "best so far"),
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
    """The metric of all trials over their epochs; `None` if no trial has an epoch."""
    trials = [trial for trial in search.trials if trial.curve]
    reference = [search.reference] if search.reference and search.reference.curve else []
    if not trials and not reference:
        return None
    figure = new_figure(
        xaxis={"title": "epoch"}, yaxis={"title": _short(search)}, hovermode="closest"
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
        text=f"{_short(search).capitalize()}, over the epochs of {len(trials)} trials. A cross "
        f"ends the curves of the {num_stopped} that were stopped early, a triangle those that "
        "failed; the best trial is drawn thicker.",
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


def parallel_chart(search: SearchFound) -> Chart | None:
    """A line per trial across its parameters; `None` for fewer than two trials with a value."""
    from plotly.graph_objects import Parcoords

    trials = [trial for trial in search.trials if trial.has_result]
    if len(trials) < 2:
        return None
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    names = readable_names(keys)
    dimensions = [
        {"label": _wrapped(name)} | _axis([t.params.get(key) for t in trials], key, search)
        for key, name in zip(keys, names, strict=True)
    ]
    values = [float(trial.value or 0.0) for trial in trials]
    words = search.metric.removeprefix("val/").replace("_", " ")
    dimensions.append({"label": f"<b>{words}</b>", "values": values})
    figure = new_figure()
    figure.update_layout(margin={"l": 56, "r": 56, "t": 56, "b": 28})
    figure.add_trace(
        Parcoords(
            dimensions=dimensions,
            line={
                "color": values,
                # From orange to blue, both legible on white and on black.
                "colorscale": [[0, "#c9541a"], [0.5, "#808080"], [1, "#2f7fd0"]],
                "reversescale": search.mode == "min",
            },
        )
    )
    return Chart(
        key="parallel",
        title="Configurations",
        text="A line per trial with a result, blue for the best and orange for the worst. Drag "
        "along an axis to keep the trials in a range, click it to let go; drag an axis by its name "
        "to move it.",
        figure=figure_json(figure),
        head=("trial", *names, _short(search)),
        rows=[(t.name, *(_setting(t, key) for key in keys), figure_text(t.value)) for t in trials],
        height=420,
        min_width=110 * (len(keys) + 1),
    )


def _axis(values: Sequence[Any], key: str, search: SearchFound) -> dict[str, Any]:
    """Positions on an axis; text and missing values are places with a name."""
    known = [value for value in values if value is not None]
    is_number = all(isinstance(x, int | float) and not isinstance(x, bool) for x in known)
    if not is_number or len(set(known)) <= 1:
        texts = [_NOT_USED if value is None else figure_text(value) for value in values]
        order = sorted(set(texts), key=lambda text: (text != _NOT_USED, text))
        return {
            "values": [order.index(text) for text in texts],
            "tickvals": list(range(len(order))),
            "ticktext": order,
        }
    is_log = key in search.log_keys and min(known) > 0
    places = [None if x is None else math.log10(x) if is_log else float(x) for x in values]
    low = min(place for place in places if place is not None)
    high = max(place for place in places if place is not None)
    gap = (high - low) / 8
    ticks = sorted(set(known)) if len(set(known)) <= 4 else _ticks(low, high, is_log=is_log)
    axis: dict[str, Any] = {
        "values": [low - gap if place is None else place for place in places],
        "tickvals": [math.log10(tick) if is_log else tick for tick in ticks],
        "ticktext": [f"{tick:.3g}" for tick in ticks],
    }
    if len(known) < len(values):
        axis["tickvals"].insert(0, low - gap)
        axis["ticktext"].insert(0, _NOT_USED)
    return axis


def _setting(trial: Tried, key: str) -> str:
    return figure_text(trial.params[key]) if key in trial.params else _NOT_USED


def _ticks(low: float, high: float, *, is_log: bool) -> list[float]:
    places = [low + (high - low) * step / 4 for step in range(5)]
    return [10**place if is_log else place for place in places]


def importance_chart(found: Importance, number: int) -> Chart | None:
    """The shares of the parameters; `None` if they cannot be said."""
    if not found.shares:
        return None
    keys = list(found.shares)
    figure = new_figure(
        xaxis={"title": "share of the importance", "tickformat": ".0%", "rangemode": "tozero"},
        yaxis={"autorange": "reversed"},
    )
    figure.add_bar(
        x=list(found.shares.values()),
        y=[_wrapped(name) for name in readable_names(keys)],
        orientation="h",
        marker={"color": BLUE},
        customdata=keys,
        hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
    )
    return Chart(
        key=f"importance-{number}",
        title=f"Importance, {found.title}",
        text=f"{found.num_done + found.num_stopped} trials: {found.num_done} finished, "
        f"{found.num_stopped} stopped early, which count with the best value they reached. "
        f"Evaluator: {EVALUATOR}; largest: {keys[0]}, {percent(found.shares[keys[0]])}.",
        figure=figure_json(figure),
        head=("parameter", "importance"),
        rows=[(key, percent(share)) for key, share in found.shares.items()],
        height=90 + 30 * len(keys),
    )


def _wrapped(name: str) -> str:
    """A dotted name on as many lines as it has parts; Plotly breaks lines at `<br>`."""
    return name.replace(".", ".<br>")


def _short(search: SearchFound) -> str:
    """The metric in words, such as `Macro recall on validation`."""
    words = search.metric.removeprefix("val/").replace("/", ", ").replace("_", " ")
    return f"{words} on validation"


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
