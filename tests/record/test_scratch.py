"""What a killed process leaves in the temporary folder is deleted by the next command."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.paths import ROOT

KILLED = """
import os, signal, subprocess, sys
from pathlib import Path
from fer_ray.record.scratch import scratch_folder
from fer_ray.record.wandb_run import open_wandb
run = open_wandb(
    "run", search="run", mode="offline", directory=Path(sys.argv[1]), class_names=["a"], config={}
)
run.log({"epoch": 1, "val/loss": 1.0})
with scratch_folder() as folder:
    (folder / "file").touch()
    subprocess.run(["pkill", "-KILL", "-P", str(os.getpid())])  # W&B's process too
    os.kill(os.getpid(), signal.SIGKILL)
"""
NEXT = """
import sys
from fer_ray.commands.folders import claim_folder
with claim_folder(sys.argv[1], "next", "run", resume=False):
    pass
"""


@pytest.mark.parametrize("is_killed", [False, True])
def test_temporary_files_go_with_the_process_or_with_the_next_command(
    is_killed: bool, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory() as temporary:  # short, because W&B puts a socket there
        _check(is_killed, tmp_path, temporary)


def _check(is_killed: bool, tmp_path: Path, temporary: str) -> None:
    first = KILLED if is_killed else KILLED.partition("    subprocess")[0] + "run.finish()"
    env = {**os.environ, "TMPDIR": temporary, "PYTHONPATH": str(ROOT)}

    def end(code: str) -> int:
        words = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(words, env=env, timeout=120, check=False).returncode

    assert end(first) == (-signal.SIGKILL if is_killed else 0)
    inside = [path for path in Path(temporary).glob("fer_ray-*/*") if path.is_dir()]
    assert bool(inside) == is_killed
    assert end(NEXT) == 0
    assert [
        path for path in Path(temporary).rglob("*") if not path.name.startswith("fer_ray-")
    ] == []
