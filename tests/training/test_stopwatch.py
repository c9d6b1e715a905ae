"""The seconds of parts: a nested part counts as the outer one, and errors do no harm."""

import time

import pytest
import torch

from fer_ray.training.stopwatch import Stopwatch
from tests.samples import faces, make_run, train


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replaces the clock: every call returns one second more than the last."""
    seconds: list[float] = []

    def tick() -> float:
        seconds.append(float(len(seconds)))
        return seconds[-1]

    monkeypatch.setattr(time, "perf_counter", tick)
    return seconds


def test_parts_add_up_and_nested_parts_count_as_the_outer(ticks: list[float]) -> None:
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        with watch.part("outer"), watch.part("inner"):
            pass
    with watch.part("other"):
        pass
    watch.add("other", 10.0)
    assert watch.read() == {"outer": 2.0, "other": 11.0}
    assert watch.read() == {}
    assert len(ticks) == 6


def test_an_error_in_a_part_does_not_stop_the_watch(ticks: list[float]) -> None:
    watch = Stopwatch(torch.device("cpu"))
    with pytest.raises(ValueError, match="broken"), watch.part("first"):
        raise ValueError("broken")
    with watch.part("second"):
        pass
    assert watch.read() == {"second": 1.0}


def test_rows_have_the_seconds_of_the_parts() -> None:
    _, rows = train(make_run("co_divide"), faces())
    for row in rows:
        parts = [row[f"time/{key}"] for key in ("input_s", "communication_s", "division_s")]
        assert row["time/input_s"] > 0
        assert (row["time/division_s"] > 0) == ("time/split_s" in row)
        assert sum(parts) < row["time/epoch_s"]
