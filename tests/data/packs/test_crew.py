"""Chunks made by several processes: the same as by one, and none of them is left behind."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from fer_ray.data import DataError
from fer_ray.data.packs import chunks, crew
from fer_ray.data.packs import prepare as prepare_module
from fer_ray.data.packs.building import Building
from fer_ray.data.packs.chunks import Target
from fer_ray.data.packs.prepare import prepare
from tests.data.files import files_of, write_folder
from tests.paths import ROOT


def test_a_helper_imports_what_decoding_needs_and_no_torch() -> None:
    code = "import sys, fer_ray.data.packs.worker; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_other_processes_make_the_same_bytes_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = write_folder(tmp_path / "faces", 1100, box=np.tile([0, 0, 30, 31], (1100, 1)))
    (tmp_path / "faces" / "00017.png").unlink()
    (tmp_path / "faces" / "00019.png").write_bytes(b"GIF")
    prepare(records, 20, tmp_path / "one", num_processes=1)
    started: list[Any] = []
    shared = crew._Helper

    def helper(*args: Any) -> Any:
        started.append(shared(*args))
        return started[-1]

    def slow(*args: Any) -> Any:
        time.sleep(0.5)  # so that the others have their share
        return made(*args)

    made = Building._own
    monkeypatch.setattr(Building, "_own", slow)
    monkeypatch.setattr(crew, "_Helper", helper)
    monkeypatch.setattr(prepare_module, "WORTH_S", 1e-9)
    prepare(records, 20, tmp_path / "three", num_processes=3)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "three")
    assert len(started) == 2
    assert all(one._process.returncode is not None for one in started)


def _target(tmp_path: Path) -> Target:
    return Target(images="", offset=0, marks=str(tmp_path), shape=(3, 20, 20))


def test_a_chunk_that_did_not_reach_the_disk_is_not_done(tmp_path: Path) -> None:
    images = tmp_path / "all"
    images.write_bytes(bytes(10 + 3 * 1200))
    target = Target(images=str(images), offset=10, marks=str(tmp_path), shape=(3, 20, 20))

    def one(place: int) -> Any:
        return np.full((3, 20, 20), 7 + place, dtype=np.uint8), (20, 20), ()

    made = chunks.make_chunk(target, 1, 2, one)
    assert target.read(1, 2) == made | {"sizes": [[20, 20]] * 2}
    assert target.read(2, 1) is None
    assert images.read_bytes() == bytes(1210) + bytes([7]) * 1200 + bytes([8]) * 1200
    with images.open("r+b") as file:
        file.truncate(3000)
    assert target.read(1, 2) is None
    chunks.make_chunk(target, 1, 2, one)
    target.mark(1).write_text(target.mark(1).read_text()[:20])
    assert target.read(1, 2) is None


def test_the_time_announced_counts_the_search_for_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def seconds(sample: np.ndarray, num_rows: int, num_among: int) -> float:
        asked.append((num_rows, num_among))
        return 1000.0 * num_rows

    monkeypatch.setattr(prepare_module, "seconds_to_compare", seconds)
    records = write_folder(tmp_path / "faces", 31)
    assert prepare_module.estimate(records, (20, 20), 2).seconds > 15_000
    known = replace(records, near_train=np.zeros(31, dtype=np.float32))
    assert prepare_module.estimate(known, (20, 20), 2).seconds < 1000
    assert asked == [(15, 16), (0, 0)]


def test_the_end_of_a_process_amid_a_chunk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "sys.stdin.readline(); print(1, flush=True); sys.stdin.readline(); sys.exit(3)"
    monkeypatch.setattr(crew, "PROGRAM", f"import sys; {lines}")

    def own(start: int) -> dict[str, Any]:
        time.sleep(0.02)
        return {}

    with pytest.raises(DataError, match=r"its end with exit code 3\. .* --processes 1"):
        list(crew.make_chunks(_target(tmp_path), range(2000), own, lambda start: ([], []), 1))


def test_a_process_that_cannot_start_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "PROGRAM", "raise SystemExit(1)")

    def own(start: int) -> dict[str, Any]:
        time.sleep(0.1)
        return {"start": start}

    made = crew.make_chunks(_target(tmp_path), range(9), own, lambda start: ([], []), 2)
    assert sorted(made) == [(start, {"start": start}) for start in range(9)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(number: signal.Signals, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    names = [tmp_path / "faces" / "neutral" / f"{i:04d}.png" for i in range(1200)]
    names[0].parent.mkdir(parents=True)
    Image.fromarray(pixels).save(names[0])
    for name in names[1:]:
        os.link(names[0], name)
    argv = ["prepare", f"folder:{tmp_path / 'faces'}", "--processes", "3"]
    command = subprocess.Popen(
        [sys.executable, "-m", "fer_ray.data", *argv, "--out", str(tmp_path / "pack")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    helpers: list[psutil.Process] = []
    deadline = time.monotonic() + 300
    while len(helpers) < 2:
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
        helpers = psutil.Process(command.pid).children()
    os.kill(command.pid, number)
    _, error = command.communicate(timeout=120)
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in helpers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert command.returncode == (130 if number != signal.SIGKILL else -9)
    assert "Traceback" not in error
