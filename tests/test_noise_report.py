"""Rows of the benchmark of real noise that were measured at different times."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.cases import BASE, OURS, PAIR, TOLD, compared_with, noise_cases
from benchmarks.noise_report import add_intervals, merged


def row(case: str, value: float, **more: Any) -> dict[str, Any]:
    return {"case": case, "value": value, "num_seeds": 1, "config": {"lr": 1}, **more}


def test_new_rows_take_the_place_of_old_ones_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    old = [row("b", 1.0), row("a", 2.0, date="2026-01-01", hardware="then")]
    path.write_text(json.dumps({"date": "2026-02-02", "hardware": "there", "rows": old}))
    found = merged([row("c", 3.0), row("b", 4.0)], path, ["a", "b", "c"])
    assert [(x["case"], x["value"]) for x in found] == [("a", 2.0), ("b", 4.0), ("c", 3.0)]
    assert (found[0]["date"], found[0]["hardware"]) == ("2026-01-01", "then")
    assert {x["hardware"] for x in found[1:]} == {report.hardware()}
    path.write_text(json.dumps({"date": "2026-02-02", "hardware": "there", "rows": found}))
    (again,) = [x for x in merged([], path, ["a", "b", "c"]) if x["case"] == "c"]
    assert again == found[2]


def test_a_row_of_more_seeds_of_the_same_configuration_stays(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    old = [row(name, 1.0, num_seeds=3) for name in ("same", "changed", "as many")]
    path.write_text(json.dumps({"date": "2026-02-02", "hardware": "there", "rows": old}))
    new = [
        row("same", 2.0),
        row("changed", 2.0, config={"lr": 2}),
        row("as many", 2.0, num_seeds=3),
    ]
    found = {x["case"]: (x["value"], x["num_seeds"]) for x in merged(new, path, [])}
    assert found == {"same": (1.0, 3), "changed": (2.0, 1), "as many": (2.0, 3)}


def test_rows_of_several_sets_stay_together_in_the_order_of_the_cases(tmp_path: Path) -> None:
    names = ["two: a", "one: b", "two: b", "one: a"]
    found = merged([row(name, 1.0) for name in names], tmp_path / "none.json", ["b", "a"])
    assert [x["case"] for x in found] == ["one: b", "one: a", "two: b", "two: a"]


def test_a_gain_is_of_the_seeds_that_both_cases_have() -> None:
    cases = [case for case in noise_cases() if case.name in (TOLD, OURS)]
    label = np.array([0, 0, 0, 1])
    right, wrong = np.ones(4, dtype=bool), np.zeros(4, dtype=bool)
    own, other = {0: right, 1: right}, {1: right & (label == 0), 2: wrong}
    hits = {TOLD: other, OURS: own}
    rows: list[dict[str, Any]] = [row(case.name, 0.0) for case in cases]
    by_point = {name: {"natural": hit, "balanced": hit} for name, hit in hits.items()}
    add_intervals(rows, cases, label, by_point)
    found = {x["case"]: x for x in rows}
    assert (found[OURS]["compared_with"], found[OURS]["seeds_compared"]) == (TOLD, 1)
    assert found[OURS]["natural_accuracy_gain"] == 0.25
    assert found[OURS]["balanced_macro_recall_gain"] == 0.5
    low, high = found[OURS]["balanced_macro_recall_gain_interval"]
    assert 0 <= low <= 0.5 <= high
    assert "compared_with" not in found[TOLD]


def test_a_case_is_compared_with_one_that_knows_the_same() -> None:
    found = {case.name: compared_with(case) for case in noise_cases()}
    assert found["peer_posterior"] == found["dividemix"] == found[TOLD] == BASE
    assert found[OURS] == found["co_divide, posterior, verified"] == TOLD
    assert found[f"{OURS}, no penalty"] == found[PAIR] == OURS
    assert found[f"{PAIR}, no penalty"] == PAIR
    assert set(found.values()) <= found.keys()
