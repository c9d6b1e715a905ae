"""The page itself: complete, strict, small; written once and never over what a user has."""

import json
import re
from pathlib import Path

import pytest

from fer_ray.record.places import StorageError
from fer_ray.record.storage import Folder
from fer_ray.results.report.page import report_html
from fer_ray.results.report.writing import check_new, write_new, write_own
from tests.results.report.search_files import BROKEN, leave_search, leave_trial

_DATA = re.compile(r'<script type="application/json" id="([\w-]+)-data">(.*?)</script>', re.DOTALL)


def charts(page: str) -> dict[str, dict[str, object]]:
    """The figures of a page by key; what is not strict JSON fails."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return {key: json.loads(text, parse_constant=refuse) for key, text in _DATA.findall(page)}


def test_a_search_has_all_its_parts(search: Path) -> None:
    page = report_html(Folder(search))
    assert list(charts(page)) == [
        *("recall", "order", "curves", "parallel", "progress", "clean", "kept")
    ]
    for part in ("verdict", "test", "trials", "failures", "table", "training", "data", "repeat"):
        assert f'id="{part}"' in page
    assert page.count("plotly.js v") == 1
    assert "Not shown for all trials: 3 parameters need at least 10 trials" in page
    assert "python -m fer_ray.tune --space space.yaml --trials 6 --set optim.epochs=4" in page


def test_a_run_has_the_parts_that_make_sense(trained: dict[str, Path]) -> None:
    page = report_html(Folder(trained["good"]))
    assert list(charts(page)) == ["recall", "progress", "clean", "kept"]
    assert 'id="trials"' not in page
    page = report_html(Folder(trained["reference"]))
    assert list(charts(page)) == ["recall", "progress"]
    assert "cross_entropy believes every label" in page


def test_a_trial_that_was_not_tested_has_validation_only(search: Path, tmp_path: Path) -> None:
    leave_trial(tmp_path, 1, 0.5, epochs=2)
    page = report_html(Folder(tmp_path / "trial_001"))
    assert "This run was not tested" in page
    assert 'id="test"' not in page


def test_text_of_a_run_cannot_become_markup(search: Path) -> None:
    page = report_html(Folder(search))
    assert BROKEN["message"] not in page
    assert "&lt;/script&gt;&lt;b&gt;disk &amp; full&lt;/b&gt;" in page
    assert not any("<" in text for _, text in _DATA.findall(page))


def test_only_failed_trials_make_a_page_that_says_why(tmp_path: Path) -> None:
    folder = leave_search(tmp_path / "s", {})
    leave_trial(folder, 1, None, epochs=0, failure=BROKEN)
    leave_trial(folder, 2, None, epochs=1, failure=BROKEN)
    page = report_html(Folder(folder))
    assert "No trial has a result" in page
    assert "trial_001, trial_002" in page
    assert list(charts(page)) == []


def test_one_trial_makes_a_page(trained: dict[str, Path], tmp_path: Path) -> None:
    folder = leave_search(tmp_path / "s", {"trial_001": trained["good"]})
    page = report_html(Folder(folder))
    assert "It is the default configuration" in page
    assert "order" not in charts(page)


def test_a_hundred_trials_stay_below_7_mb(trained: dict[str, Path], tmp_path: Path) -> None:
    folder = leave_search(tmp_path / "s", {"trial_001": trained["good"]})
    for number in range(2, 101):
        leave_trial(folder, number, 0.2 + number / 1000, epochs=60)
    page = report_html(Folder(folder))
    assert len(page.encode()) < 7e6
    assert "importance-1" in charts(page)
    assert "0 stopped early, which count with the best value" in page


def test_a_remote_folder_is_read_and_written(trained: dict[str, Path]) -> None:
    folder = Folder("mock:///runs/good")
    for name in ("config.yaml", "metrics.jsonl", "summary.json", "split.npz", "test.npz"):
        folder.write_bytes(name, (trained["good"] / name).read_bytes())
    assert write_own(folder) == "mock:///runs/good/report.html"
    page = folder.read_text("report.html")
    assert "python -m fer_ray.train --set" in page


def test_a_search_in_an_object_store_is_read(search: Path) -> None:
    remote = Folder("mock:///runs/search")
    remote.copy_tree_from(search)
    assert write_own(remote) == "mock:///runs/search/report.html"
    assert "Against the default (trial_001)" in remote.read_text("report.html")


def test_a_folders_own_report_is_replaced_and_a_users_file_is_not(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    folder = Folder(trained["reference"])
    folder.write_text("report.html", "old")
    write_own(folder)
    assert folder.read_text("report.html").startswith("<!doctype html>")
    taken = tmp_path / "mine.html"
    taken.write_text("mine")
    with pytest.raises(StorageError, match="expected a new file, got one that exists"):
        write_new(folder, taken)
    assert taken.read_text() == "mine"
    with pytest.raises(StorageError, match="in a folder that exists"):
        check_new(tmp_path / "none" / "page.html")
    assert write_new(folder, tmp_path / "new.html") == str(tmp_path / "new.html")
