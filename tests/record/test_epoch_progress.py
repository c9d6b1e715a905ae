"""The epochs of a run, drawn on a terminal and written to a log."""

import pytest

from fer_ray.record.epoch_progress import EpochProgress
from tests.record.drawing import Clock, drawn, make_console, written

ROW = {"train/loss": 1.25, "val/macro_recall": float("nan"), "time/images_per_s": 12345.6}


def test_epochs_on_a_terminal_fit_one_line() -> None:
    clock = Clock()
    progress = EpochProgress(120, console=make_console(terminal=True), clock=clock)
    (line,) = drawn(progress.progress)
    assert line.split() == ["epoch", "0/120", "-", "left"]
    clock.now = 60.0
    progress.update({"epoch": 60} | ROW)
    (line,) = drawn(progress.progress)
    words = ["60/120", "loss", "1.2500", "macro", "recall", "-", "12,346", "img/s", "1:00", "left"]
    assert [word for word in line.split() if "━" not in word] == ["epoch", *words]
    assert len(line) <= 80


@pytest.mark.parametrize("done", [0, 30])
def test_the_bar_is_as_long_as_the_share_of_all_epochs(done: int) -> None:
    progress = EpochProgress(120, done, console=make_console(terminal=True))
    length = {}
    for epoch in (60, 120):
        progress.update({"epoch": epoch})
        length[epoch] = drawn(progress.progress)[0].count("━")
    assert abs(length[60] - length[120] / 2) <= 1
    assert length[120] > 20


def test_epochs_of_an_earlier_command_do_not_count_as_pace() -> None:
    clock = Clock()
    console = make_console(terminal=True)
    progress = EpochProgress(40, done=30, console=console, clock=clock)
    clock.now = 100.0
    progress.update({"epoch": 32})
    assert "6:40 left" in drawn(progress.progress)[0]


def test_terminal_is_live_and_keeps_the_last_state() -> None:
    console = make_console(terminal=True)
    with EpochProgress(3, console=console) as progress:
        for epoch in (1, 2, 3):
            progress.update({"epoch": epoch, "train/loss": 0.5})
    assert "3/3 loss 0.5000" in written(console)
    assert "epoch 3/3:" not in written(console)


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


def test_a_line_in_a_log_has_all_figures() -> None:
    clock, console = Clock(), make_console(terminal=False)
    with EpochProgress(4, console=console, clock=clock) as progress:
        clock.now = 30.0
        progress.update({"epoch": 1} | ROW)
    assert written(console) == (
        "epoch 1/4: loss 1.2500, macro recall -, 12,346 img/s, 1:30 left, 0:30 elapsed\n"
    )
