"""The trials of a search, drawn on a terminal and written to a log."""

import re
import time
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from fer_ray.record.trial import TrialStatus
from fer_ray.record.trial_table import TrialTable
from tests.record.drawing import Clock, drawn, make_console, written

CONFIG = {
    "method.warmup_epochs": 3,
    "method.thresholds.fear": 0.123456,
    "method.penalty_weight": 2.5,
    "optim.learning_rate": 0.01,
}


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
    for word in ("epochs", "0.123", "recall", "…ng_name_00022", "3/12  ━━"):
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
    lines = written(console).splitlines()
    assert lines == [
        "2 trials: 1 running; best macro_recall 0.5000 (trial_0); 0:10 elapsed, 0:16 left",
        "trial_0 done at epoch 12/12: macro_recall 0.6000, best 0.6000",
        "    warmup_epochs=3 fear=0.123 penalty_weight=2.5 learning_rate=0.01",
        "2 trials: 1 done; best macro_recall 0.6000 (trial_0); 0:11 elapsed, 0:12 left",
    ]


def test_lines_of_a_log_fit_80_columns() -> None:
    console = make_console(terminal=False)
    reason = "FloatingPointError: epoch 4, network 0: the loss is not finite. " + "Lower it. " * 9
    many = {f"method.thresholds.class_{number}": 0.123456 for number in range(12)}
    with TrialTable(2, console=console, clock=Clock()) as table:
        add(table, "short", "done", best=0.5, config={"seed": 1})
        add(table, "long", "done", best=0.5, config=many)
        table.update("bad", "failed", 3, 12, None, None, CONFIG, reason=reason)
    lines = written(console).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "short done at epoch 3/12: macro_recall 0.5000, best 0.5000; seed=1"
    text = " ".join(" ".join(lines).split())
    assert text.count("=0.123") == len(many) + 1
    assert reason.strip() in text


def test_what_failed_is_said_once_also_above_the_live_table() -> None:
    console = make_console(terminal=True)
    with TrialTable(1, console=console) as table:
        for _ in range(3):
            table.update("bad", "failed", 3, 12, None, None, CONFIG, reason="no labels left")
    assert written(console).count("bad failed at epoch 3/12: no labels left") == 1


@pytest.mark.parametrize(
    ("mode", "status", "lead"),
    [
        ("max", "running", "0.2000 ahead of the reference so far"),
        ("max", "done", "0.2000 ahead of the reference"),
        ("min", "done", "0.2000 behind the reference"),
        ("max", "failed", None),
    ],
)
def test_the_best_is_compared_with_the_reference(mode: Any, status: Any, lead: str | None) -> None:
    table = TrialTable(2, mode=mode, console=make_console(terminal=True), clock=Clock())
    table.update("reference", status, 12, 12, 0.5, 0.5, {}, is_reference=True)
    assert "best" not in table.totals()
    add(table, "a", "running", best=0.7)
    said = ("best macro_recall 0.7000 (a)", *([lead] if lead else []))
    assert drawn(table.render())[-2] == ", ".join(said)


def test_colours_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, is_plain in (("NO_COLOR", True), ("OTHER", False)):
        monkeypatch.setenv(name, "1")
        console = Console(file=StringIO(), force_terminal=True, width=80, color_system="standard")
        table = TrialTable(1, console=console)
        add(table, "a", "done", best=0.5)
        console.print(table.render())
        colours = re.findall(r"\x1b\[(?:\d+;)*3\d", written(console))
        assert (not colours) == is_plain
        monkeypatch.delenv(name)


def test_terminal_is_live_and_keeps_the_last_state() -> None:
    console = make_console(terminal=True)
    with TrialTable(1, console=console) as table:
        add(table, "trial_0", "running")
        for _ in range(1000):  # drawn by a thread of its own, four times a second
            if "running" in written(console):
                break
            time.sleep(0.01)
        assert "running" in written(console)
        add(table, "trial_0", "done", epoch=12, best=0.75)
    assert "12/12" in written(console)
    assert "best macro_recall 0.7500" in written(console)
    assert written(console).count("trial_0 done at") == 0


@pytest.mark.parametrize(
    ("epoch", "status", "length"), [(0, "pending", 0), (3, "running", 2), (12, "done", 8)]
)
def test_bars_are_as_long_as_the_share_of_the_epochs(
    epoch: int, status: TrialStatus, length: int
) -> None:
    table = TrialTable(1, console=make_console(terminal=True))
    add(table, "trial_0", status, epoch=epoch)
    assert drawn(table.render())[2].count("━") == length


def test_a_value_that_is_not_finite_is_not_the_best() -> None:
    table = TrialTable(2, mode="min", console=make_console(terminal=True), clock=Clock())
    add(table, "a", "done", best=float("-inf"))
    add(table, "b", "done", best=0.7)
    assert "best macro_recall 0.7000 (b)" in table.totals()


@pytest.mark.parametrize(("mode", "best"), [("max", "0.7000"), ("min", "0.2000")])
def test_the_best_of_the_trials_that_can_win_is_bold(mode: Any, best: str) -> None:
    console = Console(file=StringIO(), force_terminal=True, width=80, color_system="standard")
    table = TrialTable(3, mode=mode, console=console)
    add(table, "a", "done", best=0.2)
    add(table, "b", "running", best=0.7)
    add(table, "c", "failed", best=0.9 if mode == "max" else 0.1)
    console.print(table.render())
    bold = re.findall(r"\x1b\[1m([0-9.]+)\x1b", written(console))
    assert bold == [best]
