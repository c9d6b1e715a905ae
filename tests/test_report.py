"""`python -m fer_ray.report`: where the page goes, and bad input."""

from pathlib import Path

import pytest

from fer_ray.report import main
from tests.results.report.search_files import leave_search, leave_trial


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = leave_search(tmp_path / "search", {})
    leave_trial(found, 1, None, epochs=0, failure={"kind": "OSError", "message": "disk full"})
    return found


def test_the_page_goes_into_the_folder_or_to_a_new_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    assert main([str(folder)]) == 0  # it is the folder's own
    assert main([str(folder), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text() == (folder / "report.html").read_text()


def test_bad_input_is_a_paragraph_and_nothing_is_overwritten(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "page.html"
    taken.write_text("mine")
    empty = leave_search(tmp_path / "empty", {}, has_ended=False)
    for argv, message in (
        ([str(folder), "--out", str(taken)], "expected a new file"),
        ([str(empty)], "none with an epoch"),
        ([str(tmp_path / "none")], "expected the folder of a finished run or search"),
        (["s3://user:hunter2@bucket/x"], "password"),
    ):
        assert main(argv) == 2
        error = capsys.readouterr().err
        assert message in " ".join(error.split())
        assert "Traceback" not in error
        assert "hunter2" not in error
    assert taken.read_text() == "mine"
    assert not (empty / "report.html").exists()
