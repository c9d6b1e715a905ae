"""Figures of a run: confusion matrix, losses with their mixture, curves, scaling.

They are made without pyplot, so they need no display and share no state between calls.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # importing matplotlib takes a second, so only the functions that draw do it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Counts = Sequence[Sequence[int]]

_CLEAN, _NOISY, _SUM, _GREY = "#0072B2", "#D55E00", "#222222", "#666666"
_CYCLE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C564B",
    "#7F7F7F",
)


def confusion_figure(counts: Counts, class_names: Sequence[str], title: str = "") -> "Figure":
    """A confusion matrix shaded by the share of the true class; cells show count and share.

    Args:
        counts: Rows are true classes, columns predictions.
        class_names: Names of the classes, in label order.
        title: Line above the picture.
    """
    matrix = np.asarray(counts, dtype=np.int64)
    size = len(class_names)
    support = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, support, out=np.zeros(matrix.shape), where=support > 0)
    cells = 0.78 * size
    # Beside the cells: the title of an axis, names (of the rows lying, of the columns slanting; 0.1
    # inches a letter are more than enough), and on the right the scale.
    letters = 0.1 * max(len(name) for name in (*class_names, "(1,234)"))
    figure = _figure((cells + letters + 2.0, max(cells, 2.2) + 0.65 * letters + 1.3))
    axes = figure.add_subplot()
    picture = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    _write_cells(axes, matrix, share)
    axes.set_xticks(range(size), class_names, rotation=40, ha="right", rotation_mode="anchor")
    images = [f"{name}\n({n:,})" for name, n in zip(class_names, support[:, 0], strict=True)]
    axes.set_yticks(range(size), images)
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true (images)", title=title)
    bar = figure.colorbar(picture, ax=axes, fraction=0.045, format=lambda x, _: f"{x:.0%}")
    bar.set_label("share of the true class")
    return figure


def losses_figure(
    histogram: Mapping[str, Any], mixture: Mapping[str, Any] | None = None, title: str = ""
) -> "Figure":
    """Histogram of the normalised losses of every network, under the mixture fitted to them.

    Args:
        histogram: `edges`, and `counts` per network.
        mixture: `mean`, `std` and `weight` of both components per network; `None` draws none.
        title: Line above the picture.
    """
    edges = np.asarray(histogram["edges"], dtype=float)
    networks = histogram["counts"]
    figure = _figure((4.6 * len(networks) + 0.4, 3.6))
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for network, (axes, counts) in enumerate(zip(panels, networks, strict=True)):
        heights = np.asarray(counts, dtype=float)
        axes.stairs(heights, edges, fill=True, color="#C9CED6", label="images")
        if mixture is not None:
            components = [mixture[key][network] for key in ("mean", "std", "weight")]
            _draw_mixture(axes, edges, heights.sum(), components)
        axes.set(xlabel="normalised loss", xlim=(edges[0], edges[-1]))
        if len(networks) > 1:
            axes.set_title(f"network {network + 1}", fontsize=10, color=_GREY)
        _clean(axes)
    panels[0].set(ylabel="images per bin", ylim=(0, 1.12 * max(1, np.max(networks))))
    panels[-1].legend(frameon=False, fontsize=9)
    figure.suptitle(title)
    return figure


def curves_figure(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], title: str = ""
) -> "Figure":
    """Metrics over epochs, the first key with a thicker line; epochs without a value are gaps.

    Args:
        rows: A row per epoch.
        keys: Keys of the rows to draw, such as `val/macro_recall` and `val/recall/fear`.
        title: Line above the picture.
    """
    epochs = [row["epoch"] for row in rows]
    figure = _figure((7.2, 4.2))
    axes = figure.add_subplot()
    prefix = _common_prefix(keys)
    for number, key in enumerate(keys):
        values = [_number(row.get(key)) for row in rows]
        axes.plot(
            epochs,
            values,
            label=key.removeprefix(prefix),
            color="black" if number == 0 else _CYCLE[(number - 1) % len(_CYCLE)],
            linestyle="-" if number <= len(_CYCLE) else "--",
            linewidth=2.4 if number == 0 else 1.4,
            marker="o" if len(rows) <= 30 else None,
            markersize=3.5,
            zorder=3 if number == 0 else 2,
        )
    axes.set(xlabel="epoch", ylabel=prefix.rstrip("/"), title=title)
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y", color="#E3E3E3", linewidth=0.8)
    _clean(axes)
    if keys:
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def scaling_figure(points: Sequence[Mapping[str, Any]], title: str = "") -> "Figure":
    """Images per second over workers with the ideal, and the shares of an epoch.

    Args:
        points: Measurements with the keys of `fer_ray.scale.Point`.
        title: Line above the picture.
    """
    figure = _figure((9.6, 4.0))
    speed, share = figure.subplots(1, 2)
    _draw_speeds(speed, points)
    speed.set_title(title)
    _draw_shares(share, points)
    for axes in (speed, share):
        _clean(axes)
    return figure


def _figure(size: tuple[float, float]) -> "Figure":
    """An empty figure of a size in inches whose layout makes room for all that is written.

    "compressed" moves axes of a fixed shape, such as a matrix, to their labels; with "constrained"
    the outer labels of such axes can lie outside of the figure.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="compressed")


def _write_cells(axes: "Axes", matrix: np.ndarray, share: np.ndarray) -> None:
    """Count and share in every cell; no share in the row of a class without images."""
    for row, column in np.ndindex(matrix.shape):
        color = "white" if share[row, column] > 0.55 else "black"
        count = axes.text(column, row - 0.12, f"{matrix[row, column]:,}", color=color)
        count.set(ha="center", va="center", weight="bold" if row == column else "normal")
        if matrix[row].any():
            part = axes.text(column, row + 0.2, f"{share[row, column]:.0%}", color=color)
            part.set(ha="center", va="center", fontsize=8)


def _draw_mixture(
    axes: "Axes", edges: np.ndarray, total: float, components: Sequence[Sequence[float]]
) -> None:
    """Both components and their sum, scaled from density to images per bin."""
    position = np.linspace(edges[0], edges[-1], 501)
    scale = total * (edges[1] - edges[0])
    curves = []
    for mean, std, weight in zip(*components, strict=True):
        spread = max(float(std), 1e-6)
        density = np.exp(-0.5 * ((position - mean) / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
        curves.append(scale * weight * density)
    axes.plot(position, np.sum(curves, axis=0), color=_SUM, linewidth=1.0, label="mixture")
    names = (("low loss: clean", _CLEAN), ("high loss: noisy", _NOISY))
    for curve, (name, color) in zip(curves, names, strict=True):
        axes.plot(position, curve, color=color, linewidth=2.0, linestyle="--", label=name)


def _draw_speeds(axes: "Axes", points: Sequence[Mapping[str, Any]]) -> None:
    """Measured speeds by scaling, and that of the fewest workers times the number of workers."""
    by_scaling: dict[str, list[Mapping[str, Any]]] = {}
    for point in points:
        by_scaling.setdefault(point["scaling"], []).append(point)
    for number, (scaling, own) in enumerate(by_scaling.items()):
        workers = [point["num_workers"] for point in own]
        speeds = [point["images_per_s"] for point in own]
        color = _CYCLE[number % len(_CYCLE)]
        axes.plot(workers, speeds, marker="o", color=color, label=f"{scaling} scaling")
        ideal = [speeds[0] / workers[0] * num for num in workers]
        axes.plot(workers, ideal, color=color, linestyle=":", linewidth=1.0, label="ideal")
    axes.set(xlabel="workers", ylabel="images/s", ylim=(0, None))
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=9)


def _draw_shares(axes: "Axes", points: Sequence[Mapping[str, Any]]) -> None:
    """A bar per measurement: the parts of an epoch, stacked."""
    names = [f"{point['scaling']}\n{point['num_workers']}" for point in points]
    bottom = np.zeros(len(points))
    for number, part in enumerate(points[0]["share"]):
        height = np.array([point["share"][part] for point in points])
        axes.bar(names, height, bottom=bottom, color=_CYCLE[number], label=part, width=0.7)
        bottom += height
    axes.set(ylabel="share of an epoch", ylim=(0, 1), xlabel="workers")
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _common_prefix(keys: Sequence[str]) -> str:
    """The leading parts, up to a slash, that all keys share."""
    prefix = ""
    for parts in zip(*(key.split("/")[:-1] for key in keys), strict=False):
        if len(set(parts)) > 1:
            break
        prefix += f"{parts[0]}/"
    return prefix


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _clean(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
