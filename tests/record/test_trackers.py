"""Several trackers as one."""

from collections.abc import Mapping
from typing import Any

import pytest

from fer_ray.record.trackers import FanOut, NullTracker, Tracker


class Recorder:
    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.rows, self.ends = error, list[int](), list[bool]()

    def log(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row["epoch"])

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        self.ends.append(failed)
        if self.error:
            raise self.error


def test_fan_out_finishes_all_even_if_one_raises() -> None:
    first, second = Recorder(OSError("disk full")), Recorder()
    both: Tracker = FanOut([NullTracker(), first, second])
    both.log({"epoch": 1})
    with pytest.raises(OSError, match="disk full"):
        both.finish(failed=True)
    assert first.rows == second.rows == [1]
    assert first.ends == second.ends == [True]
