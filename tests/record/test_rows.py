"""Rows in a file of JSON lines, and values as strict JSON."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_ray.record.rows import JsonLinesTracker, plain
from fer_ray.record.storage import Folder
from tests.record.wandb_cases import make_row

NAN = float("nan")


def read_lines(folder: Folder) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = folder.read_text("metrics.jsonl").splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def test_plain_values_are_strict_json() -> None:
    value = {
        "nan": NAN,
        "inf": np.float64("inf"),
        "scalar": torch.tensor(2),
        "array": np.array([1.0, NAN]),
        "tuple": (True, None, "x"),
        "path": Path("a"),
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "nan": None,
        "inf": None,
        "scalar": 2,
        "array": [1.0, None],
        "tuple": [True, None, "x"],
        "path": "a",
    }


def test_file_has_a_strict_line_per_epoch(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    tracker = JsonLinesTracker(folder)
    for epoch in (1, 2, 3):
        tracker.log(make_row(epoch))
        assert [row["epoch"] for row in read_lines(folder)] == list(range(1, epoch + 1))
    tracker.finish()
    row = read_lines(folder)[2]
    assert row["val/recall/fear"] is None
    assert row["val/confusion"] == [[5, 3], [1, 7]]
    assert row["split/precision"] == 0.5
    assert JsonLinesTracker(folder).rows == tracker.rows == read_lines(folder)


def test_resumed_run_overwrites_what_it_repeats(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    first = JsonLinesTracker(folder)
    for epoch in range(1, 6):
        first.log({"epoch": epoch, "run": 1})
    resumed = JsonLinesTracker(folder)
    resumed.log({"epoch": 4, "run": 2})
    assert [(row["epoch"], row["run"]) for row in read_lines(folder)] == [
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 2),
    ]


def test_history_fills_and_replaces(tmp_path: Path) -> None:
    tracker = JsonLinesTracker(Folder("mock:///bucket") / "run")
    tracker.log({"epoch": 2, "from": "file"})
    tracker.log({"epoch": 3, "from": "file"})
    tracker.log_history({"epoch": epoch, "from": "checkpoint"} for epoch in (1, 2))
    assert [(row["epoch"], row["from"]) for row in tracker.rows] == [
        (1, "checkpoint"),
        (2, "checkpoint"),
        (3, "file"),
    ]


def test_torn_line_is_reported_and_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2, "tr')
    tracker = JsonLinesTracker(Folder(tmp_path))
    assert tracker.rows == [{"epoch": 1}]
    assert "line 2 is broken" in caplog.text


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS | st.floats(width=32).map(np.float32) | st.floats().map(torch.tensor),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(VALUES)
def test_any_value_is_strict_json_and_keeps_its_finite_numbers(value: Any) -> None:
    result = plain(value)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert plain(result) == result
    if isinstance(value, float):
        assert result == (value if math.isfinite(value) else None)


def test_a_reader_never_sees_half_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the rows on file as they were."""
    folder = Folder(tmp_path)
    tracker = JsonLinesTracker(folder)
    tracker.log({"epoch": 1})

    def full(self: Path, data: bytes) -> None:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        tracker.log({"epoch": 2})
    monkeypatch.undo()
    assert read_lines(folder) == [{"epoch": 1}]
