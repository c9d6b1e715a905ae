"""What commands print besides their progress."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from fer_ray.commands.tables import print_default, print_lead, print_reference, rescue_notes
from fer_ray.results.lead import Lead

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
    text = printed(print_reference, {**summary, "metric": f"val/{metric}"})
    assert line in [" ".join(row.split()) for row in text.splitlines()]


@pytest.mark.parametrize(
    ("gain", "margin", "end"),
    [
        (0.03, 0.0, "images)"),
        (0.03, 1.0, "images)"),
        (0.01, 0.0, "images): that may be chance"),
        (0.01, 1.0, "So trial_001 is taken (margin: 1)"),
        (0.03, 2.0, "So trial_001 is taken (margin: 2)"),
    ],
)
def test_a_lead_is_said_to_be_sure_or_not(gain: float, margin: float, end: str) -> None:
    lead = Lead(
        trial="trial_002",
        over="trial_001",
        gain=gain,
        standard_error=0.02,
        num_images=572,
        margin=margin,
    )
    text = printed(print_lead, lead)
    assert text.startswith(f"trial_002 is ahead of trial_001, the default configuration, by {gain}")
    assert text.rstrip().endswith(end)
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_best_trial_is_compared_with_the_default_on_test() -> None:
    ours, theirs = {"macro_recall": 0.5, "accuracy": 0.6}, {"macro_recall": 0.48, "accuracy": 0.61}
    default = {"trial": "trial_001", "test": theirs}
    summary = {"best": {"trial": "trial_002"}, "test": ours, "default": default}
    text = printed(print_default, summary)
    line = "trial_002 against trial_001, the default, on test: "
    assert " ".join(text.split()) == (f"{line}+2.0 points of macro recall, -1.0 points of accuracy")
    assert all(len(line) <= 80 for line in text.splitlines())
    failed = {"trial": "trial_001", "failure": "OSError: x"}
    assert printed(print_default, {**summary, "default": failed}) == ""
    assert printed(print_default, {"best": {"trial": "trial_001"}, "test": ours}) == ""


def printed(show: Callable[[Console, Any], None], what: Any) -> str:
    console = Console(file=io.StringIO(), width=80)
    show(console, what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
