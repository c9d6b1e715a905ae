"""A chart of a report: a Plotly figure, what it shows in words, and its numbers as a table.

Colours have a contrast of at least 3 to a white and to a nearly black page; text and grids get
theirs from the page. Shapes and dashes say the same as colours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLORS = (
    *("#2f7fd0", "#c9541a", "#1a8f6c", "#c0569a"),
    *("#9a7200", "#8e6bc0", "#3b8ea5", "#808080"),
)
BLUE, ORANGE, GREEN, GREY = COLORS[0], COLORS[1], COLORS[2], COLORS[7]
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "hexagon")
MISSING = "not available"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart of a report.

    Attributes:
        key: Its id on the page.
        title: What it is.
        text: What it shows, for those who see it and those who do not.
        figure: Plotly's JSON, without a byte that could end a script.
        head: Names of the table's columns.
        rows: The numbers, as text.
        height: In pixels.
        min_width: In pixels; a narrower page scrolls sideways.
    """

    key: str
    title: str
    text: str
    figure: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    height: int
    min_width: int = 0


def new_figure(**layout: Any) -> "Figure":
    """An empty figure that takes its colours from the page."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    figure.update_layout(
        template=graph_objects.layout.Template(),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={
            "orientation": "h",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "x": 0,
        },
        hoverlabel={"namelength": -1},
        **layout,
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def figure_json(figure: "Figure") -> str:
    """Plotly's JSON: NaN becomes null, and `<` an escape, since text may hold `</script>`."""
    return str(figure.to_json()).replace("<", "\\u003c")


def readable_names(keys: Sequence[str]) -> list[str]:
    """Dotted keys without their first part, where all differ without it.

    >>> readable_names(["method.thresholds.fear", "optim.learning_rate"])
    ['thresholds.fear', 'learning_rate']
    """
    short = [key.partition(".")[2] or key for key in keys]
    return short if len(set(short)) == len(keys) else list(keys)


def finite(value: Any) -> float | None:
    """A number, or `None` where it is missing or not finite."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None


def percent(value: Any) -> str:
    """A share in per cent.

    >>> percent(0.12345), percent(None)
    ('12.3 %', 'not available')
    """
    number = finite(value)
    return MISSING if number is None else f"{100 * number:.1f} %"


def figure_text(value: Any) -> str:
    """A metric or a setting as text: numbers with four digits.

    >>> figure_text(0.123456), figure_text(float("nan")), figure_text(True)
    ('0.1235', 'not available', 'True')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(value)
