"""Ctrl-C and SIGTERM in a process of its own."""

import subprocess
import sys

import pytest

HEAD = """
import os, signal, sys
from fer_ray.commands.process import command, resumable
from fer_ray.on_ray.interrupts import held
from fer_ray.record.storage import Folder
def send(name): os.kill(os.getpid(), getattr(signal, name))
"""


def run(body: str) -> "subprocess.CompletedProcess[str]":
    code = f"{HEAD}\ndef work(argv):\n{body}\nsys.exit(command(work, []))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_is_an_interruption_that_says_how_to_resume(name: str) -> None:
    ended = run(f"    with resumable(Folder('/x/run-1')):\n        send('{name}')")
    assert ended.returncode == 130
    words = " ".join(ended.stderr.split())
    assert "interrupted; all epochs so far are in /x/run-1" in words
    assert "--name run-1 --resume" in words
    assert "Traceback" not in ended.stderr


def test_a_signal_waits_while_processes_are_started_although_their_library_takes_it() -> None:
    ended = run(
        "    with held():\n"
        "        send('SIGTERM'); print('started')\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "    print('not here')"
    )
    assert (ended.returncode, ended.stdout) == (130, "started\n")
    after = run(
        "    with held(): signal.signal(signal.SIGTERM, signal.SIG_DFL)\n    send('SIGTERM')"
    )
    assert after.returncode == 130


def test_twice_ends_at_once() -> None:
    ended = run(
        "    try: send('SIGINT')\n"
        "    except KeyboardInterrupt: send('SIGINT'); print('not here', flush=True)"
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert "interrupted twice" in ended.stderr


def test_an_error_of_what_ends_is_no_error_after_sigterm() -> None:
    body = (
        "    with resumable(Folder('/x/run-1')):\n"
        "        try: send('SIGTERM')\n"
        "        except KeyboardInterrupt: raise RuntimeError('Ray is gone')"
    )
    assert run(body).returncode == 130
