"""Views of a search and of a run, drawn into strings: on a terminal of 80 columns and in a log."""

import time
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from fer_ray.record.terminal import (
    EpochProgress,
    TrialStatus,
    TrialTable,
    abbreviate,
    confusion_table,
    error_paragraph,
    recall_table,
    short_names,
)

NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
CONFIG = {
    "method.warmup_epochs": 3,
    "method.thresholds.fear": 0.123456,
    "method.penalty_weight": 2.5,
    "optim.learning_rate": 0.01,
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_console(*, terminal: bool, width: int = 80) -> Console:
    return Console(file=StringIO(), force_terminal=terminal, width=width, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def drawn(view: RenderableType, width: int = 80) -> list[str]:
    console = make_console(terminal=True, width=width)
    console.print(view)
    return written(console).splitlines()


def add(
    table: TrialTable,
    trial: str,
    status: TrialStatus,
    epoch: int = 3,
    best: float | None = None,
    config: dict[str, Any] = CONFIG,
) -> None:
    table.update(trial, status, epoch, 12, best, best, config)


def test_table_fits_the_terminal() -> None:
    table = TrialTable(30, console=make_console(terminal=True))
    statuses: list[TrialStatus] = ["done", "infeasible", "running", "pending"]
    for number in range(24):
        add(table, f"a_long_name_{number:05}", statuses[number % 4], best=0.1 * (number % 7))
    lines = drawn(table.render())
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 20
    text = "\n".join(lines)
    for word in ("epochs", "0.123", "recall", "…ng_name_00022", "━━────── 3/12"):
        assert word in text


@pytest.mark.parametrize("width", [40, 60, 200])
def test_any_width_will_do(width: int) -> None:
    table = TrialTable(1, console=make_console(terminal=True, width=width))
    assert max(map(len, drawn(table.render(), width))) <= width
    add(table, "trial_0", "running", best=0.5)
    lines = drawn(table.render(), width)
    assert max(map(len, lines)) <= width
    assert ("rate" in "\n".join(lines)) == (width == 200)


def test_newest_running_come_first_and_waiting_last() -> None:
    table = TrialTable(6, console=make_console(terminal=True))
    for name, status in {"p": "pending", "a": "running", "b": "running", "c": "running"}.items():
        add(table, name, status)  # type: ignore[arg-type]
    add(table, "b", "done")
    add(table, "a", "running", epoch=4)
    order = [line.split()[0] for line in drawn(table.render())[2:6]]
    assert order == ["c", "a", "b", "p"]


@pytest.mark.parametrize(("mode", "best"), [("max", "0.7000 (b)"), ("min", "0.2000 (a)")])
def test_totals(mode: Any, best: str) -> None:
    clock = Clock()
    table = TrialTable(4, "val/loss", mode, console=make_console(terminal=True), clock=clock)
    assert table.totals() == "4 trials: none started; 0:00 elapsed, - left"
    for name in ("a", "b", "c"):
        add(table, name, "running", epoch=0, best=float("nan"))
    clock.now = 100.0
    add(table, "a", "done", epoch=12, best=0.2)
    add(table, "b", "stopped", epoch=3, best=0.7)
    add(table, "c", "failed", epoch=1)
    assert table.totals() == (
        f"4 trials: 1 done, 1 stopped, 1 failed; best loss {best}; 1:40 elapsed, 0:33 left"
    )


@pytest.mark.parametrize("status", ["failed", "infeasible"])
def test_a_failed_trial_is_not_the_best(status: Any) -> None:
    table = TrialTable(2, console=make_console(terminal=True), clock=Clock())
    add(table, "a", status, best=0.9)
    assert "best" not in table.totals()
    add(table, "b", "done", epoch=12, best=0.7)
    assert "best macro_recall 0.7000 (b)" in table.totals()


def test_trials_of_an_earlier_session_do_not_count_as_pace() -> None:
    clock = Clock()
    table = TrialTable(4, console=make_console(terminal=True), clock=clock)
    add(table, "old 1", "done")
    add(table, "old 2", "done")
    add(table, "new 1", "running", epoch=0)
    clock.now = 3600.0
    add(table, "new 1", "done")
    assert table.totals().endswith("1:00:00 elapsed, 1:00:00 left")


def test_log_gets_a_line_per_ended_trial_and_now_and_then_a_total() -> None:
    clock, console = Clock(), make_console(terminal=False)
    with TrialTable(2, console=console, clock=clock) as table:
        for epoch in range(1, 12):
            clock.now += 1.0
            add(table, "trial_0", "running", epoch=epoch, best=0.5)
        add(table, "trial_0", "done", epoch=12, best=0.6)
        add(table, "trial_0", "done", epoch=12, best=0.6)
    running, ended, last = written(console).splitlines()
    assert running.startswith("2 trials: 1 running; best macro_recall 0.5000 (trial_0); 0:10")
    assert ended == (
        "trial_0 done at epoch 12/12: macro_recall 0.6000, best 0.6000; "
        "warmup_epochs=3 fear=0.123 penalty_weight=2.5 learning_rate=0.01"
    )
    assert last.startswith("2 trials: 1 done;")


def test_terminal_is_live_and_keeps_the_last_state() -> None:
    console = make_console(terminal=True)
    with TrialTable(1, console=console) as table:
        add(table, "trial_0", "running")
        time.sleep(0.3)
        assert "running" in written(console)
        add(table, "trial_0", "done", epoch=12, best=0.75)
    assert "12/12" in written(console)
    assert "best macro_recall 0.7500" in written(console)
    assert written(console).count("trial_0 done at") == 0


def test_epochs_on_a_terminal_fit_one_line() -> None:
    clock = Clock()
    progress = EpochProgress(120, console=make_console(terminal=True), clock=clock)
    assert "epoch 0/120" in drawn(progress.render())[0]
    clock.now = 60.0
    row = {"train/loss": 1.25, "val/macro_recall": float("nan"), "time/images_per_s": 12345.6}
    progress.update({"epoch": 60} | row)
    (line,) = drawn(progress.render())
    assert line == ("epoch 60/120 ━━━━──── loss 1.2500, macro recall -, 12,346 img/s, 1:00 left")


def test_epochs_in_a_log_are_few_lines() -> None:
    clock, console = Clock(), make_console(terminal=False)
    with EpochProgress(40, done=10, console=console, clock=clock) as progress:
        for epoch in range(11, 41):
            clock.now += 1.0
            progress.update({"epoch": epoch, "train/loss": 0.5})
    lines = written(console).splitlines()
    assert lines[0] == "epoch 11/40: loss 0.5000, 0:29 left, 0:01 elapsed"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "epoch 21/40",
        "epoch 31/40",
        "epoch 40/40",
    ]


def test_recall_table_shows_every_class() -> None:
    recall = {name: 0.1 * number for number, name in enumerate(NAMES)} | {"contempt": float("nan")}
    lines = drawn(recall_table(recall, 0.55, 0.66, dict.fromkeys(NAMES, 1000)))
    assert [line.split()[0] for line in lines[1:9]] == list(NAMES)
    assert lines[8].split()[:3] == ["contempt", "1,000", "-"]
    assert lines[9].startswith("macro recall")
    assert lines[10].split()[:3] == ["accuracy", "8,000", "0.6600"]


def test_confusion_table_fits_eight_classes() -> None:
    counts = [[12345 + 10 * row + column for column in range(8)] for row in range(8)]
    lines = drawn(confusion_table(counts, NAMES))
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["true", *abbreviate(NAMES), "recall"]
    assert lines[2].split()[:3] == ["happiness", "12355", "12356"]
    assert "…" not in "".join(lines)


def test_class_without_images_has_no_recall() -> None:
    assert drawn(confusion_table([[0, 0], [1, 3]], ["fear", "anger"]))[1].split() == [
        "fear",
        "0",
        "0",
        "-",
    ]


def test_names_are_as_short_as_they_can_be() -> None:
    assert short_names(["a.fear", "b.fear", "lr"]) == ["a.fear", "b.fear", "lr"]
    assert short_names(["x.a.fear", "y.a.fear"]) == ["x.a.fear", "y.a.fear"]
    assert short_names(["fear", "a.fear"]) == ["fear", "a.fear"]
    assert abbreviate(["disgust", "disgrace"]) == ["disgu", "disgr"]
    assert abbreviate(["same", "same"]) == ["same", "same"]
    assert abbreviate([]) == []


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
