"""Figures of rankings, and rounds of review, of `benchmarks/audit.py`."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.audit_find import by_class, judged, make_goals, ranked
from benchmarks.audit_runs import Opened, next_review
from fer_ray.data import NOT_VERIFIED, Verified
from tests.results.audit.test_draw import made_up
from tests.samples import faces


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_ranking_is_judged_from_its_lowest_score() -> None:
    is_wrong = np.array([True, False, True, False])
    best = ranked(np.array([0.1, 0.8, 0.2, 0.9]), is_wrong)
    assert best["auroc"] == best["average_precision"] == 1
    assert best["precision_at_100"] == 0.5
    worst = ranked(np.array([0.9, 0.2, 0.8, 0.1]), is_wrong)
    assert worst["auroc"] == 0
    assert worst["average_precision"] == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_verified_images_and_those_of_unknown_truth_are_not_judged() -> None:
    data = faces(num_train=40)
    given, truth = data.train.label.copy(), data.train.true_label.copy()
    score = np.where(given == truth, 0.9, 0.1)
    seen = np.full(40, NOT_VERIFIED)
    wrong = np.flatnonzero(given != truth)
    seen[wrong[0]], score[wrong[0]] = truth[wrong[0]], 1.0
    truth[wrong[1]], score[wrong[1]] = -1, 1.0
    verified = Verified(label=seen, is_random=np.ones(40, bool), given=given)
    found = judged(score, replace(data, train=replace(data.train, true_label=truth)))
    assert found["auroc"] < 1
    told = replace(data, train=replace(data.train, true_label=truth), verified=verified)
    found = judged(score, told)
    assert found["auroc"] == 1
    assert by_class([found["classes"]])["happiness"]["auroc"]["mean"] == 1


def test_rounds_of_review_add_up(tmp_path: Path) -> None:
    """Every round keeps the answers before it; an image is in the file once."""
    beliefs, data = made_up(), faces(num_train=120, noise=0.3)
    opened = Opened(beliefs=beliefs, data=data, cost={}, test=np.zeros((1, 4)))
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    next_review(opened, "picked", 10, 0, None, first)
    seen = np.full(len(beliefs), NOT_VERIFIED)
    for row in rows_of(first):
        seen[int(row["index"])] = data.class_names.index(row["label"])
    told = replace(opened, beliefs=replace(beliefs, verified=seen))
    next_review(told, "both", 20, 1, first, second)
    rows = rows_of(second)
    assert len({row["index"] for row in rows}) == len(rows) == 30
    assert {row["index"] for row in rows_of(first)} <= {row["index"] for row in rows}
    truth = {str(i): data.class_names[k] for i, k in enumerate(data.train.true_label)}
    assert all(row["label"] == truth[row["index"]] for row in rows)
    assert {row["sample"] for row in rows} == {"random", "picked"}


def test_goals_compare_with_the_better_ranking() -> None:
    def row(case: str, value: float) -> dict[str, object]:
        keys = ("auroc", "average_precision", "precision_at_100", "precision_at_1000")
        return {"case": case, **{key: {"mean": value} for key in keys}}

    rows = [
        row("audit, verified", 0.95),
        row("cleanlab by margin, verified", 0.96),
        row("cleanlab by self-confidence, verified", 0.94),
    ]
    goals = make_goals(rows)
    assert [goal.met for goal in goals] == [True, False, False, False, False]
    assert goals[1].value == pytest.approx(-1)
