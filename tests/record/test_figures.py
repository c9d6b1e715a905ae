"""Figures: what they decide to draw, read from the figure itself."""

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from fer_ray.record.figures import (
    confusion_figure,
    curves_figure,
    losses_figure,
    scaling_figure,
)

pytestmark = pytest.mark.lowest

NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
EDGES = np.linspace(0, 1, 51)
CLEAN, NOISY = "low loss: clean", "high loss: noisy"


def curves_of(figure: Figure, panel: int = 0) -> dict[str, Line2D]:
    """Curves of a panel by their label."""
    return {str(line.get_label()): line for line in figure.axes[panel].get_lines()}


def positions(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xdata(), dtype=float)


def heights(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def overhang(figure: Figure) -> float:
    """How far in inches what is drawn of a figure lies outside of it; 0 if nothing is cut off."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.get_tightbbox(canvas.get_renderer())
    width, height = figure.get_size_inches()
    return float(max(0.0, -box.x0, -box.y0, box.x1 - width, box.y1 - height))


def make_losses(num_images: int, mixture: dict[str, list[float]], seed: int = 0) -> dict[str, Any]:
    """A histogram of losses drawn from a mixture."""
    generator = np.random.default_rng(seed)
    component = generator.choice(2, num_images, p=mixture["weight"])
    mean, std = np.array(mixture["mean"]), np.array(mixture["std"])
    losses = generator.normal(mean[component], std[component])
    return {"edges": EDGES.tolist(), "counts": [np.histogram(losses, EDGES)[0].tolist()]}


def test_confusion_is_shaded_by_the_share_of_the_true_class() -> None:
    counts = [[30, 10, 0], [1, 1, 2], [0, 0, 0]]
    axes = confusion_figure(counts, ["happiness", "fear", "anger"]).axes[0]
    (image,) = axes.get_images()
    share = np.array([[0.75, 0.25, 0.0], [0.25, 0.25, 0.5], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(np.asarray(image.get_array()), share)
    assert image.get_clim() == (0.0, 1.0)


def test_confusion_has_true_classes_as_rows_with_their_images() -> None:
    axes = confusion_figure([[1000, 500], [0, 2]], ["fear", "anger"], "Test set").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fear\n(1,500)", "anger\n(2)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["fear", "anger"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true (images)")
    assert axes.get_title() == "Test set"


@pytest.mark.parametrize("size", [1, 3, 5, 8])
@pytest.mark.parametrize("prefix", ["", "expression_of_deep_"])
def test_no_word_of_a_confusion_matrix_is_cut_off(size: int, prefix: str) -> None:
    names = [f"{prefix}{name}" for name in NAMES[:size]]
    counts = np.eye(size, dtype=int) * 123_456
    assert overhang(confusion_figure(counts.tolist(), names, "Test set")) == 0


def test_no_word_of_the_other_figures_is_cut_off() -> None:
    mixture = {"mean": [[0.2, 0.7]] * 2, "std": [[0.1, 0.1]] * 2, "weight": [[0.5, 0.5]] * 2}
    histogram = {"edges": EDGES, "counts": [[100_000] * 50] * 2}
    keys = ["val/accuracy", *(f"val/recall/{name}" for name in NAMES)]
    assert overhang(losses_figure(histogram, mixture, "Losses, epoch 3")) == 0
    rows = [{"epoch": number, **dict.fromkeys(keys, 0.5)} for number in range(1, 41)]
    assert overhang(curves_figure(rows, keys, "Validation, peer_posterior")) == 0
    points = [make_point(kind, num, 1e5) for kind in ("strong", "weak") for num in (1, 2, 4)]
    assert overhang(scaling_figure(points, "two cores")) == 0


def test_cells_hold_counts_and_shares_but_no_share_of_nothing() -> None:
    axes = confusion_figure([[1000, 3000], [0, 0]], ["fear", "anger"]).axes[0]
    texts = {(round(text.get_position()[0]), text.get_text()) for text in axes.texts}
    assert texts == {(0, "1,000"), (1, "3,000"), (0, "25%"), (1, "75%"), (0, "0"), (1, "0")}


def test_counts_can_be_read_on_every_shade() -> None:
    axes = confusion_figure([[9, 1], [5, 5]], ["fear", "anger"]).axes[0]
    color = {text.get_text(): text.get_color() for text in axes.texts}
    assert (color["90%"], color["10%"], color["50%"]) == ("white", "black", "black")


def test_components_are_drawn_in_images_per_bin() -> None:
    """The area under each curve is its component's number of images times the width of a bin."""
    mixture = {"mean": [0.25, 0.7], "std": [0.05, 0.08], "weight": [0.8, 0.2]}
    histogram = make_losses(10_000, mixture)
    figure = losses_figure(histogram, {key: [pair] for key, pair in mixture.items()})
    curves = curves_of(figure)
    position = positions(curves[CLEAN])
    width = EDGES[1] - EDGES[0]
    total = sum(histogram["counts"][0])
    for name, share in ((CLEAN, 0.8), (NOISY, 0.2), ("mixture", 1.0)):
        area = np.trapezoid(heights(curves[name]), position)
        assert area == pytest.approx(share * total * width, rel=1e-3)
    centers = (EDGES[:-1] + EDGES[1:]) / 2
    expected = np.interp(centers, position, heights(curves["mixture"]))
    assert np.abs(expected - histogram["counts"][0]).max() < 5 * np.sqrt(expected.max())


def test_the_first_component_is_the_clean_one() -> None:
    mixture = {"mean": [[0.2, 0.7]], "std": [[0.1, 0.1]], "weight": [[0.5, 0.5]]}
    curves = curves_of(losses_figure({"edges": EDGES, "counts": [[1] * 50]}, mixture))
    for name, mean in ((CLEAN, 0.2), (NOISY, 0.7)):
        assert positions(curves[name])[heights(curves[name]).argmax()] == pytest.approx(mean)
    assert to_hex(str(curves[CLEAN].get_color())) != to_hex(str(curves[NOISY].get_color()))


def test_every_network_has_its_own_panel_on_one_scale() -> None:
    counts = [[5] * 50, [20] * 50]
    figure = losses_figure({"edges": EDGES, "counts": counts}, title="epoch 3")
    assert [axes.get_title() for axes in figure.axes] == ["network 1", "network 2"]
    for axes, own in zip(figure.axes, counts, strict=True):
        (steps,) = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
        assert steps.get_data()[0].tolist() == own
        assert axes.get_ylim() == pytest.approx((0, 22.4))
        assert not axes.get_lines()


def test_an_epoch_without_a_value_is_a_gap_in_its_curve() -> None:
    rows: list[dict[str, Any]] = [
        {"epoch": 1, "val/macro_recall": 0.2, "val/recall/fear": 0.1},
        {"epoch": 2, "val/macro_recall": 0.5, "val/recall/fear": None},
        {"epoch": 3, "val/macro_recall": 0.6},
        {"epoch": 5, "val/macro_recall": 0.7, "val/recall/fear": float("nan")},
    ]
    curves = curves_of(curves_figure(rows, ["val/macro_recall", "val/recall/fear"]))
    assert list(curves) == ["macro_recall", "recall/fear"]
    assert np.isnan(heights(curves["recall/fear"])).tolist() == [False, True, True, True]
    assert positions(curves["macro_recall"]).tolist() == [1, 2, 3, 5]
    assert heights(curves["macro_recall"]).tolist() == [0.2, 0.5, 0.6, 0.7]
    assert curves["macro_recall"].get_linewidth() > curves["recall/fear"].get_linewidth()


def test_curves_are_told_apart_by_color_or_dashes() -> None:
    keys = [f"val/recall/{number}" for number in range(15)]
    lines = curves_of(curves_figure([{"epoch": 1}], keys)).values()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(keys)


def make_point(scaling: str, num_workers: int, speed: float) -> dict[str, Any]:
    share = {"compute": 0.5, "communication": 0.2, "split": 0.2, "input": 0.1}
    point = {"scaling": scaling, "num_workers": num_workers, "images_per_s": speed}
    return point | {"share": share}


def test_ideal_speed_grows_from_the_fewest_workers() -> None:
    points = [make_point("strong", num, speed) for num, speed in ((2, 100.0), (4, 150.0))]
    curves = curves_of(scaling_figure(points, "title"))
    assert heights(curves["strong scaling"]).tolist() == [100, 150]
    assert heights(curves["ideal"]).tolist() == [100, 200]


def test_shares_of_an_epoch_are_stacked() -> None:
    axes = scaling_figure([make_point("strong", 1, 1.0), make_point("weak", 2, 1.0)]).axes[1]
    tops = {
        bars.get_label(): [bar.get_y() + bar.get_height() for bar in bars]
        for bars in axes.containers
    }
    assert list(tops) == ["compute", "communication", "split", "input"]
    assert tops["communication"] == pytest.approx([0.7, 0.7])
    assert tops["input"] == pytest.approx([1.0, 1.0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["strong\n1", "weak\n2"]
