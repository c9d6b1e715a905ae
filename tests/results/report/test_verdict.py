"""How far the best trial is ahead, and what the first screen says of it."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fer_ray.core.intervals import Interval
from fer_ray.record.storage import Folder
from fer_ray.results.lead import Lead
from fer_ray.results.report.first_screen import comparisons, how_sure, lead, search_cards
from fer_ray.results.report.page import report_html
from fer_ray.results.report.records import CHOSEN, Answers
from fer_ray.results.report.sections import matrix_rows, trial_rows
from fer_ray.results.report.verdict import compare, judged_by, standing
from tests.results.report.search_files import opened

POINTS = (CHOSEN, "trained", "natural", "balanced")


def _tested(confusion: np.ndarray, *, is_kept: bool) -> Answers:
    """A test with these counts at every point."""
    pairs = [(i, j) for i, j in np.ndindex(confusion.shape) for _ in range(confusion[i, j])]
    label, answer = np.array(pairs).T
    return Answers(
        confusion=dict.fromkeys(POINTS, confusion),
        label=label if is_kept else None,
        answer=dict.fromkeys(POINTS, answer) if is_kept else None,
    )


def test_predictions_are_compared_image_by_image_where_both_are_kept() -> None:
    ours, theirs = np.array([[45, 5], [10, 40]]), np.array([[40, 10], [10, 40]])
    paired = compare(_tested(ours, is_kept=True), _tested(theirs, is_kept=True), "reference")
    separate = compare(_tested(ours, is_kept=False), _tested(theirs, is_kept=True), "reference")
    assert paired.is_paired
    assert not separate.is_paired
    for found in (paired, separate):
        assert found.points["balanced"].macro_recall.value == pytest.approx(0.05)
    assert paired.points[CHOSEN].accuracy.low > 0 > separate.points[CHOSEN].accuracy.low


def test_other_test_images_are_not_paired() -> None:
    ours, theirs = np.array([[5, 0], [0, 5]]), np.array([[4, 0], [0, 6]])
    found = compare(_tested(ours, is_kept=True), _tested(theirs, is_kept=True), "reference")
    assert not found.is_paired


def test_who_is_ahead_is_left_open_by_an_interval_with_0() -> None:
    assert standing(Interval(0.1, 0.01, 0.2)) == "ahead"
    assert standing(Interval(-0.1, -0.2, -0.01)) == "behind"
    assert standing(Interval(0.1, -0.01, 0.2)) == "level"
    assert standing(Interval(np.nan, np.nan, np.nan)) == "unknown"


def test_a_metric_is_judged_at_its_own_point() -> None:
    assert judged_by("val/balanced/macro_recall") == ("balanced", "macro_recall")
    assert judged_by("val/accuracy") == (CHOSEN, "accuracy")


def test_the_first_screen_names_the_best_and_what_it_is_ahead_of(search: Path) -> None:
    found = opened(search)
    assert [one.other for one in comparisons(found)] == ["default", "reference"]
    best, test, default, reference, counts = search_cards(found, "cross_entropy")
    assert found.best is not None
    assert best.value == found.best.name
    assert found.best_run is not None
    assert found.best_run.tested is not None
    chosen = found.best_run.tested.confusion[CHOSEN]
    assert test.value == f"{100 * np.mean(np.diag(chosen) / chosen.sum(axis=1)):.1f} %"
    assert "image by image" in default.texts[0]
    assert default.title == "Against the default (trial_001)"
    assert reference.title == "Against the reference (cross_entropy)"
    assert counts.texts[0] == (
        "3 finished, 1 stopped early, 1 failed, 1 infeasible; and the reference"
    )
    assert "cross_entropy" in lead(found, "cross_entropy")
    assert "best of 4 trials" in how_sure(found)[0]


def test_a_default_that_is_the_best_is_not_compared_with_itself(search: Path) -> None:
    found = opened(search)
    found = replace(found, best=found.trials[0])
    assert [one.other for one in comparisons(found)] == ["reference"]
    cards = search_cards(found, "cross_entropy")
    assert "found nothing better" in " ".join(cards[0].texts)
    assert "the same" in cards[2].value


@pytest.mark.parametrize(("margin", "name"), [(1.0, "trial_002"), (3.0, "trial_001")])
def test_a_default_that_is_kept_says_how_little_it_is_behind(
    search: Path, tmp_path: Path, margin: float, name: str
) -> None:
    folder = shutil.copytree(search, tmp_path / "s")
    ahead = Lead(
        trial="trial_002",
        over="trial_001",
        gain=0.04,
        standard_error=0.02,
        num_images=572,
        margin=margin,
    )
    (folder / "summary.json").write_text(json.dumps({"wall_s": 7.0, "lead": asdict(ahead)}))
    found = opened(folder)
    assert found.lead == ahead
    assert found.best is not None
    assert found.best.name == name
    first, _, against, *_ = search_cards(found, "cross_entropy")
    assert first.value == name
    assert first.texts[-1] == f"{ahead.text}."
    is_kept = name == "trial_001"
    assert ("by more than chance" in first.texts[1]) == is_kept
    assert (against.texts[0] == "The default was kept.") == is_kept
    assert "On validation, trial_002 is the best of 4 trials" in how_sure(found)[0]
    assert ahead.text.split(",")[0] in report_html(Folder(folder))


def test_a_default_that_failed_is_said_to_have(search: Path) -> None:
    found = opened(search)
    broken = replace(found.trials[0], failure="OSError: disk full", status="failed")
    found = replace(found, trials=[broken, *found.trials[1:]], default_test=None)
    assert "OSError: disk full" in search_cards(found, "cross_entropy")[2].texts[0]


def test_a_matrix_has_counts_and_shares_of_the_true_class() -> None:
    first, empty = matrix_rows(np.array([[3, 1], [0, 0]]), ("fear", "anger"))
    assert [(cell["count"], cell["share"]) for cell in first["cells"]] == [
        ("3", "75 %"),
        ("1", "25 %"),
    ]
    assert first["recall"] == "75.0 %"
    assert (empty["recall"], empty["interval"]) == ("not available", "no image")


def test_the_table_has_all_trials_and_sorts_numbers_as_numbers(search: Path) -> None:
    head, rows = trial_rows(opened(search))
    assert [row["name"] for row in rows][-1] == "reference"
    assert len(rows) == 7
    assert all(len(row["cells"]) == len(head) for row in rows)
    assert [name for name, _ in head][-3:] == ["learning_rate", "thresholds.fear", "name"]
    failed = next(row for row in rows if row["name"] == "trial_005")
    assert failed["cells"][2] == {"text": "not available", "sort": "", "is_number": False}
    assert "disk & full" in failed["text"]
