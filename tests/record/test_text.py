"""Short text: names that stay apart, times at the pace so far."""

import pytest

from fer_ray.record.text import abbreviate, duration_text, short_names, time_left_text


def test_names_are_as_short_as_they_can_be() -> None:
    assert short_names(["a.fear", "b.fear", "lr"]) == ["a.fear", "b.fear", "lr"]
    assert short_names(["x.a.fear", "y.a.fear"]) == ["x.a.fear", "y.a.fear"]
    assert short_names(["fear", "a.fear"]) == ["fear", "a.fear"]


def test_abbreviations_stay_apart() -> None:
    assert abbreviate(["disgust", "disgrace"]) == ["disgu", "disgr"]
    assert abbreviate(["same", "same"]) == ["same", "same"]
    assert abbreviate([]) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (7322.2, "2:02:02")]
)
def test_durations_are_rounded_to_seconds(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_the_rest_takes_as_long_as_its_share_of_what_is_done() -> None:
    assert time_left_text(elapsed_s=90, done=3, left=10) == "5:00 left"
    assert time_left_text(elapsed_s=90, done=0.5, left=0) == "0:00 left"
