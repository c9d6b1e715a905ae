"""Errors as one paragraph, and lines that only a log gets."""

import pytest
from rich.table import Column

from fer_ray.record.console import LogLines, error_paragraph, open_console
from fer_ray.record.tables import plain_table
from tests.record.drawing import Clock, make_console, written


def test_error_in_a_log_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    message = "parameters.method[0]: expected " + "something " * 20
    error_paragraph(message.strip())
    captured = capsys.readouterr()
    assert captured.err == f"error: {message.strip()}\n"
    assert captured.out == ""


def test_error_on_a_terminal_is_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    path = "/a/very/long/path/that/does/not/fit/into/forty/columns"
    error_paragraph(f"{path}: expected a folder that can be written, got a file")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("error:\x1b[0m") or path in lines[0]
    assert any(path in line for line in lines)
    assert len(lines) > 2


def test_a_log_gets_lines_as_they_are_and_a_terminal_none() -> None:
    line = "[bold]not markup[/] " + "long " * 40
    for terminal, expected in ((False, f"{line}\n"), (True, "")):
        lines = LogLines(make_console(terminal=terminal))
        lines.print(line)
        assert written(lines.console) == expected


def test_a_line_is_due_ten_seconds_after_the_last() -> None:
    clock = Clock()
    lines = LogLines(make_console(terminal=False), clock)
    clock.now = 9.9
    assert not lines.is_due
    clock.now = 10.0
    assert lines.is_due
    lines.print("")
    assert not lines.is_due
    assert lines.elapsed_text == "0:10 elapsed"
    lines.start()
    assert lines.elapsed_s == 0


@pytest.mark.parametrize("forced", ["", "1"])
def test_what_is_piped_is_not_cut_at_a_width(
    forced: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", forced)
    path = "files: " + "a long folder/" * 20
    open_console(stderr=True).print(path)
    assert path in capsys.readouterr().err
    columns = [Column(f"a long name of column {number}") for number in range(20)]
    open_console().print(plain_table(columns))
    shown = capsys.readouterr().out
    assert all(f"a long name of column {number}" in shown for number in range(20))
    assert shown.count("\n") < 5
