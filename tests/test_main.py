"""`fer-ray` and `python -m fer_ray`."""

import subprocess
import sys

import pytest

from fer_ray.__main__ import COMMANDS, main


def test_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tone"]) == 2
    assert "expected a command, got 'tone'" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"python -m fer_ray.{name}" in capsys.readouterr().out


def test_the_module_is_the_same() -> None:
    words = [sys.executable, "-m", "fer_ray", "train", "--set", "optim.epoch=3"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: optim.epoch: unknown key; did you mean epochs?")
