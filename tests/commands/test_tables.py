"""What commands print besides their progress."""

import pytest

from fer_ray.commands.tables import rescue_notes

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
