"""The charts of what was sampled: parallel coordinates, and the importance of the parameters."""

import math
from collections.abc import Sequence
from typing import Any

from fer_ray.results.report.chart import (
    BLUE,
    Chart,
    figure_json,
    figure_text,
    new_figure,
    percent,
    readable_names,
)
from fer_ray.results.report.importance import EVALUATOR, Importance
from fer_ray.results.report.records import SearchFound, Tried

_NOT_USED = "not used"


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
    words = search.metric_words.replace(", ", ",<br>")
    ticks = _ticks(min(values), max(values), is_log=False)
    dimensions.append(
        # With ticks of their own, Plotly does not write the ends of the axis over its name.
        {
            "label": f"<b>{words}</b>",
            "values": values,
            "tickvals": ticks,
            "ticktext": [f"{tick:.3g}" for tick in ticks],
        }
    )
    figure = new_figure()
    figure.update_layout(margin={"l": 56, "r": 56, "t": 68, "b": 28})
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
        head=("trial", *names, search.metric_words),
        rows=[(t.name, *(_setting(t, key) for key in keys), figure_text(t.value)) for t in trials],
        height=420,
        min_width=100 * (len(keys) + 1),
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
