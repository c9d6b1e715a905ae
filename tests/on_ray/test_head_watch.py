"""A command whose cluster has ended ends too, although its main thread hears of nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAD = """
import ctypes, os, signal, socket, sys, threading, time
from pathlib import Path
from fer_ray.commands.process import command, resumable
from fer_ray.on_ray import head_watch
from fer_ray.record import scratch
from fer_ray.record.claims import claimed
from fer_ray.record.storage import Folder
head_watch.INTERRUPTED_S, head_watch.LOST_S, head_watch._EVERY_S = {interrupted}, {lost}, 0.1
head = socket.create_server(("127.0.0.1", 0))
def work(argv):
    folder = Folder(argv[0])
    with claimed(folder, is_new=True), resumable(folder):
        if argv[1] == "written":
            folder.write_text("config.yaml", "")
        watch = head_watch.HeadWatch("127.0.0.1:%d" % head.getsockname()[1])
        print(scratch.process_folder(), flush=True)
        {then}
    return 0
sys.exit(command(work, sys.argv[1:]))
"""
# The main thread waits without hearing of signals, as it does inside of Ray's library.
DEAF = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); head.close(); time.sleep(60)"


def start(folder: Path, then: str, *, interrupted: float = 60, lost: float = 60,
          state: str = "written") -> "subprocess.Popen[str]":  # fmt: skip
    code = HEAD.format(then=then, interrupted=interrupted, lost=lost)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), state],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_lost_head_ends_the_command_and_says_how_to_resume(tmp_path: Path) -> None:
    folder = tmp_path / "run-1"
    process = start(folder, "head.close(); time.sleep(60)", lost=0.5)
    output, errors = process.communicate(timeout=50)
    assert process.returncode == 1
    words = " ".join(errors.split())
    assert words.startswith("error: the Ray cluster has ended: its head has not answered for ")
    assert f"all epochs so far are in {folder}. To resume, add --name run-1 --resume" in words
    assert "Traceback" not in errors
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    assert not Path(output.strip()).exists()


@pytest.mark.parametrize("state", ["written", "unused"])
def test_a_signal_that_the_main_thread_does_not_hear_is_an_interruption(
    tmp_path: Path, state: str
) -> None:
    folder = tmp_path / "run-1"
    process = start(folder, DEAF, interrupted=0.5, state=state)
    assert process.stdout is not None
    own = process.stdout.readline().strip()
    time.sleep(1)
    assert process.poll() is None  # a head may be away for longer
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 130
    words = " ".join(errors.split())
    if state == "written":
        assert words.startswith("error: interrupted; all epochs so far are in ")
        assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    else:
        assert words.startswith("error: interrupted before anything was written; start the same")
        assert not folder.exists()
    assert not Path(own).exists()


def test_a_head_that_answers_is_left_alone_and_so_is_one_that_is_not_watched(
    tmp_path: Path,
) -> None:
    answers = start(tmp_path / "a", "time.sleep(1.5)", lost=0.3)
    stopped = start(tmp_path / "b", "watch.stop(); head.close(); time.sleep(1.5)", lost=0.3)
    for process in (answers, stopped):
        _, errors = process.communicate(timeout=50)
        assert (process.returncode, errors) == (0, "")


def test_a_head_that_comes_back_is_no_loss(tmp_path: Path) -> None:
    then = (
        "place = head.getsockname(); head.close(); time.sleep(0.6); "
        "again = socket.create_server(place); time.sleep(1.5)"
    )
    process = start(tmp_path / "a", then, lost=1.5)
    _, errors = process.communicate(timeout=50)
    assert (process.returncode, errors) == (0, "")
