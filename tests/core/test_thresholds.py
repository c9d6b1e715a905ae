"""Thresholds by class name."""

import pytest
import torch

from fer_ray.core.thresholds import check_class_names, check_thresholds, threshold_by_class

CLASSES = ("neutral", "happiness", "fear")


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ({}, [0.5, 0.5, 0.5]),
        ({"default": 0.3}, [0.3, 0.3, 0.3]),
        ({"fear": 0.9}, [0.5, 0.5, 0.9]),
        ({"default": 0.2, "fear": 0.0, "neutral": 1.0}, [1.0, 0.2, 0.0]),
    ],
)
def test_named_classes_get_theirs_and_default_covers_the_rest(
    thresholds: dict[str, float], expected: list[float]
) -> None:
    torch.testing.assert_close(threshold_by_class(thresholds, CLASSES), torch.tensor(expected))


def test_thresholds_follow_the_name_not_the_position() -> None:
    thresholds = {"fear": 0.9, "neutral": 0.1}
    forth, back = (threshold_by_class(thresholds, names) for names in (CLASSES, CLASSES[::-1]))
    assert torch.equal(forth, back.flip(0))


def test_an_unknown_class_is_named_with_the_nearest_and_all_known_ones() -> None:
    expected = r"thresholds\.feer: no such class; did you mean fear\? .*neutral, happiness, fear\."
    with pytest.raises(ValueError, match=expected):
        threshold_by_class({"feer": 0.5}, CLASSES)
    with pytest.raises(ValueError, match=r"prior\.zzz: no such class\. The classes are"):
        check_class_names(["zzz"], CLASSES, "prior")


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_a_threshold_is_a_probability(value: float) -> None:
    with pytest.raises(ValueError, match=r"thresholds\.fear: a clean probability in \[0, 1\], got"):
        check_thresholds({"default": 0.5, "fear": value})


def test_both_ends_are_allowed() -> None:
    check_thresholds({"default": 0.0, "fear": 1.0})
