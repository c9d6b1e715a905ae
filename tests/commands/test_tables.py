"""What commands print besides their progress."""

import io

import pytest
from rich.console import Console

from fer_ray.commands.tables import print_reference, rescue_notes

pytestmark = pytest.mark.lowest


def test_classes_that_the_floor_kept_are_named_once_with_their_first_epoch() -> None:
    rows = [
        {"epoch": 1, "train/loss": 1.0},
        {"epoch": 2, "split/rescued/fear": 3.0, "split/min_class_fraction": 0.1},
        {"epoch": 3, "split/rescued/fear": 2.0, "split/rescued/anger": 1.5},
    ]
    (note,) = rescue_notes(rows)
    assert "hardly a label of fear (from epoch 2), anger (from epoch 3); " in note
    assert rescue_notes(rows[:1]) == []


@pytest.mark.parametrize(
    ("metric", "ours", "theirs", "line"),
    [
        ("natural/accuracy", 0.7, 0.65, "validation natural accuracy 0.7000 0.6500 +5.0"),
        ("forward_loss", 1.02, 1.13, "validation forward loss 1.0200 1.1300 0.1100 less"),
        ("loss", 1.5, 1.25, "validation loss 1.5000 1.2500 0.2500 more"),
    ],
)
def test_the_reference_is_compared_by_what_the_search_compares_trials_by(
    metric: str, ours: float, theirs: float, line: str
) -> None:
    figures = {"macro_recall": 0.5, "accuracy": 0.6}
    rows = [
        {"val": {**figures, metric: value}, "epochs": 30, "wall_s": 9.5} for value in (ours, theirs)
    ]
    best = {**rows[0], "trial": "trial_001"}
    reference = {**rows[1], "test": figures, "config": {"method": {"name": "cross_entropy"}}}
    summary = {"best": best, "reference": reference, "test": figures, "wall_s": 9.5}
    console = Console(file=io.StringIO(), width=80)
    print_reference(console, {**summary, "metric": f"val/{metric}"})
    assert isinstance(console.file, io.StringIO)
    assert line in [" ".join(row.split()) for row in console.file.getvalue().splitlines()]
