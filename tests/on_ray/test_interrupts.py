"""Ctrl-C and SIGTERM in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

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
def test_a_signal_is_an_interruption_that_says_how_to_resume(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run-1"
    folder.mkdir()
    (folder / "config.yaml").touch()
    ended = run(f"    with resumable(Folder('{folder}')):\n        send('{name}')")
    assert ended.returncode == 130
    words = " ".join(ended.stderr.split())
    assert "interrupted; all epochs so far are in" in words
    assert "--name run-1 --resume" in words
    assert "Traceback" not in ended.stderr


def test_before_anything_is_written_there_is_nothing_to_resume(tmp_path: Path) -> None:
    ended = run(f"    with resumable(Folder('{tmp_path}')):\n        send('SIGTERM')")
    assert ended.returncode == 130
    assert "interrupted before anything was written; start" in " ".join(ended.stderr.split())


@pytest.mark.parametrize("words", [["fer_ray.tune"], ["fer_ray.train"], ["fer_ray.scale"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_imports_ends_a_command_at_once(
    words: list[str], number: signal.Signals, tmp_path: Path
) -> None:
    """A module that the command imports stands for the seconds that the imports take."""
    (tmp_path / "argparse.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(60)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", *words],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 130
    assert ended.stderr == "error: interrupted; nothing was started\n"


def test_a_signal_after_the_end_changes_nothing() -> None:
    code = f"{HEAD}\nended = command(lambda argv: 0, [])\nsend('SIGTERM')\nsys.exit(ended)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


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


def test_sigterm_twice_is_one_interruption() -> None:
    ended = run(
        "    try: send('SIGTERM')\n"
        "    except KeyboardInterrupt: send('SIGTERM'); print('tidied up', flush=True); raise"
    )
    assert (ended.returncode, ended.stdout) == (130, "tidied up\n")
    assert "interrupted twice" not in ended.stderr


def test_an_error_of_what_ends_is_no_error_after_sigterm() -> None:
    body = (
        "    with resumable(Folder('/x/run-1')):\n"
        "        try: send('SIGTERM')\n"
        "        except KeyboardInterrupt: raise RuntimeError('Ray is gone')"
    )
    assert run(body).returncode == 130
