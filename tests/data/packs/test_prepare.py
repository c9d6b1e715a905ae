"""Packs: whole or not at all, the same bytes for the same input, resumed, made once by two."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fer_ray.data import DataError
from fer_ray.data.packs import building as building_module
from fer_ray.data.packs.pack import open_pack
from fer_ray.data.packs.prepare import Estimate, estimate, pack_size, prepare
from fer_ray.data.packs.progress import Preparing
from fer_ray.data.subsets import pack_faces
from tests.data.files import CLASS_NAMES, drawn, files_of, write_folder


def test_a_pack_holds_what_was_listed_sorted_by_split(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces", row=np.arange(100, 130))
    pack = prepare(records, 40, tmp_path / "pack")
    order = [*range(0, 30, 2), *range(1, 30, 2)]
    assert np.array_equal(pack.images, np.stack([drawn(30)[order]] * 3, axis=1))
    assert isinstance(pack.images, np.memmap)
    assert pack.label.tolist() == [i % 3 for i in order]
    assert pack.true_label.tolist() == [1 if i % 3 == 2 else i % 3 for i in order]
    assert pack.subset.tolist() == [0] * 15 + [2] * 15
    assert pack.row.tolist() == [100 + i for i in order]
    assert pack.path.tolist() == [f"{i:05d}.png" for i in order]
    assert pack.original_size.tolist() == [[40, 40]] * 30
    assert (pack.name, pack.class_names, pack.problems) == ("folder:faces", CLASS_NAMES, ())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".pack.lock", "faces", "pack"]


def test_images_of_a_table_are_packed_too(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces", pixels=drawn(30))
    pack = prepare(records, 40, tmp_path / "pack")
    assert np.array_equal(pack.images[1], np.stack([drawn(30)[2]] * 3))
    assert pack_size(records, None) == (40, 40)


@pytest.mark.parametrize(("size", "expected"), [(20, 20), (112, 112), (150, 112), (10, 16)])
def test_small_images_keep_their_size(size: int, expected: int, tmp_path: Path) -> None:
    assert pack_size(write_folder(tmp_path, 3, size=size), None) == (expected, expected)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces", 600)
    (tmp_path / "faces" / "00017.png").unlink()
    for name, threads in (("one", 1), ("two", 3)):
        prepare(records, 20, tmp_path / name, num_processes=threads)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_faces_are_only_mapped_whichever_rows_they_are(tmp_path: Path) -> None:
    pack = prepare(write_folder(tmp_path / "faces"), 40, tmp_path / "pack")
    data = pack_faces(pack, val_fraction=0.3, seed=0, deduplicate=True)
    assert len(data.train) + len(data.val) == 15
    for faces in (data.train, data.val, data.test):
        assert type(faces.images) is not np.ndarray
        rows = np.flatnonzero(np.isin(pack.row, faces.row))
        assert np.array_equal(np.asarray(faces.images), pack.images[rows])
        assert np.array_equal(faces.label, pack.label[rows])


def test_copies_and_leaks_are_left_out_of_test_and_counted(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces")
    folder = tmp_path / "faces"
    shutil.copy(folder / "00000.png", folder / "00001.png")  # test copies train
    mirrored = Image.open(folder / "00002.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(folder / "00003.png")
    shutil.copy(folder / "00005.png", folder / "00007.png")  # test copies test
    pack = prepare(records, 40, tmp_path / "pack")
    data = pack_faces(pack, val_fraction=0.3, seed=0, deduplicate=True)
    assert sorted({*range(1, 30, 2)} - set(data.test.row.tolist())) == [1, 3, 7]
    assert data.notes[-2].startswith("2 of 15 test images are copies of training images")
    assert data.notes[-1] == "1 test images repeat another one and were left out"
    everything = pack_faces(pack, val_fraction=0.3, seed=0, deduplicate=False)
    assert len(everything.test) == 15
    assert everything.notes == pack.notes


def test_copies_stay_on_one_side_of_a_carved_validation(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces", 60, subset=np.repeat([0, 2], (50, 10)))
    for i in range(0, 50, 2):
        shutil.copy(tmp_path / "faces" / f"{i:05d}.png", tmp_path / "faces" / f"{i + 1:05d}.png")
    pack = prepare(records, 20, tmp_path / "pack")
    data = pack_faces(pack, val_fraction=0.3, seed=1, deduplicate=True)
    assert len(data.val)
    assert not set(data.train.row // 2) & set(data.val.row // 2)


def test_broken_images_are_left_out_listed_and_counted(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces", 300, size=20)
    (tmp_path / "faces" / "00004.png").unlink()
    (tmp_path / "faces" / "00009.png").write_bytes(b"")
    pack = prepare(records, 20, tmp_path / "pack")
    assert len(pack) == 298
    assert not set(pack.row) & {4, 9}
    assert np.array_equal(pack.images[2], np.stack([drawn(300, 20)[6]] * 3))
    assert [(problem.path, problem.listed, problem.kind) for problem in pack.problems] == [
        ("00004.png", "list.txt:5", "missing"),
        ("00009.png", "list.txt:10", "unreadable"),
    ]
    assert pack.notes[0] == (
        "1 images are missing and were left out, the first folder:faces: 00004.png (list.txt:5)"
    )
    assert pack.problems == open_pack(tmp_path / "pack").problems
    with pytest.raises(DataError, match=r"at most 0.1% of 300 .* got 2, such as 00004\.png \(list"):
        pack.check_problems(0.001)


def test_too_many_missing_images_are_an_error_that_a_completed_set_mends(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces")
    content = (tmp_path / "faces" / "00004.png").read_bytes()
    (tmp_path / "faces" / "00004.png").unlink()
    with pytest.raises(DataError) as caught:
        prepare(records, 40, tmp_path / "pack")
    assert "at most 1.0% of 30 images" in str(caught.value)
    assert "00004.png (list.txt:5: missing, no such file)" in str(caught.value)
    assert "max_missing_fraction" in str(caught.value)
    assert not (tmp_path / "pack").exists()
    (tmp_path / "faces" / "00004.png").write_bytes(content)
    assert len(prepare(records, 40, tmp_path / "pack")) == 30


def test_what_had_to_be_done_to_images_is_told(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces")
    Image.fromarray(drawn(1)[0]).save(tmp_path / "faces" / "00000.png")
    Image.fromarray(drawn(1)[0]).save(tmp_path / "faces" / "00002.png", format="JPEG")
    pack = prepare(records, 40, tmp_path / "pack")
    assert pack.notes == (
        "1 images are of another type than their ending says",
        "2 images are grey and became RGB",
    )


def test_another_data_set_is_not_written_over(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces")
    prepare(records, 40, tmp_path / "pack")
    before = files_of(tmp_path / "pack")
    for other, size in ((records, 20), (replace(records, label=records.label[::-1].copy()), 40)):
        with pytest.raises(DataError, match="made of something else"):
            prepare(other, size, tmp_path / "pack")
    assert files_of(tmp_path / "pack") == before
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="expected a folder written by"):
        prepare(records, 40, tmp_path / "other")


@pytest.mark.parametrize("size", [-1, 0, 15, 1025])
def test_a_size_out_of_range_is_refused(size: int, tmp_path: Path) -> None:
    message = rf"--size\): expected 16 to 1024 pixels, got {size}\. .* default: 112, or what the"
    with pytest.raises(DataError, match=message):
        prepare(write_folder(tmp_path / "faces", 3), size, tmp_path / "pack")


def test_a_full_disk_is_noticed_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="free disk"):
        prepare(write_folder(tmp_path / "faces"), 40, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_size_and_time_are_told_before_it_starts(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces")
    told: list[tuple[Estimate, Path]] = []
    advanced: list[int] = []

    def announce(found: Estimate, out: Path) -> None:
        assert not advanced
        told.append((found, out))

    prepare(records, 40, tmp_path / "pack", announce=announce, advance=advanced.append)
    assert [(found.num_images, found.num_bytes) for found, _ in told] == [(30, 30 * 3 * 40 * 40)]
    assert told[0][0].seconds > 0
    assert sum(advanced) == 30
    prepare(records, 40, tmp_path / "pack", announce=announce)
    assert len(told) == 1  # nothing to do, nothing to tell
    assert estimate(records, (40, 40), 2).seconds > 0


def slow(records: Any, out: Path, log: Path) -> None:
    """Prepare with a decoder that takes its time and writes down every image it is asked for."""
    fast = building_module.decode_one

    def one(records: Any, size: tuple[int, int], i: int) -> Any:
        with log.open("a") as file:
            file.write(f"{i}\n")
        time.sleep(0.002)
        return fast(records, size, i)

    building_module.decode_one = one
    prepare(records, 20, out, num_processes=1)


def numbers(log: Path) -> list[int]:
    return [int(word) for word in log.read_text().split()] if log.exists() else []


def test_a_killed_process_is_continued_and_nothing_done_twice(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces", 1600, size=20)
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    process = context.Process(target=slow, args=(records, tmp_path / "pack", log))
    process.start()
    deadline = time.monotonic() + 60
    while not len(marks := list(tmp_path.glob(".pack.*.part/done/*.json"))) >= 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = {int(mark.stem) for mark in marks}
    assert not (tmp_path / "pack").exists()
    with pytest.MonkeyPatch.context() as patch:
        seen: list[int] = []
        fast = building_module.decode_one

        def seeing(records: Any, size: tuple[int, int], i: int) -> Any:
            seen.append(i)
            return fast(records, size, i)

        patch.setattr(building_module, "decode_one", seeing)
        resumed = prepare(records, 20, tmp_path / "pack")
    order = np.argsort(records.subset, kind="stable")
    for start in done:
        assert not set(order[start : start + 256].tolist()) & set(seen)
    assert len(seen) < 1600
    prepare(records, 20, tmp_path / "calm")
    assert files_of(resumed.folder) == files_of(tmp_path / "calm")


def test_two_processes_that_start_at_once_make_one_pack(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces", 600, size=20)
    context = multiprocessing.get_context("spawn")
    logs = [tmp_path / "log0", tmp_path / "log1"]
    processes = [
        context.Process(target=slow, args=(records, tmp_path / "pack", log)) for log in logs
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(len(set(numbers(log))) for log in logs) == [0, 600]
    assert len(open_pack(tmp_path / "pack")) == 600


@pytest.mark.parametrize("name", ["pack.json", "images.npy", "label.npy"])
def test_a_pack_without_one_of_its_files_is_named(name: str, tmp_path: Path) -> None:
    pack = prepare(write_folder(tmp_path / "faces"), 40, tmp_path / "pack")
    (pack.folder / name).unlink()
    with pytest.raises(DataError, match=r"pack: expected a folder written by .*Prepare the data"):
        open_pack(pack.folder)


def test_a_pack_of_another_version_is_refused(tmp_path: Path) -> None:
    pack = prepare(write_folder(tmp_path / "faces"), 40, tmp_path / "pack")
    manifest = json.loads((pack.folder / "pack.json").read_text())
    (pack.folder / "pack.json").write_text(json.dumps(manifest | {"version": 0}))
    with pytest.raises(DataError, match="version 0"):
        open_pack(pack.folder)


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    pack = prepare(write_folder(tmp_path / "faces"), 40, tmp_path / "pack")
    np.save(pack.folder / "label.npy", np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="expected a folder written by"):
        open_pack(pack.folder)


def test_the_bars_end_full(tmp_path: Path) -> None:
    records = write_folder(tmp_path / "faces")
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with Preparing(records, console) as progress:
        prepare(
            records,
            40,
            tmp_path / "pack",
            announce=progress.announce,
            advance=progress.advance,
            advance_copies=progress.advance_copies,
        )
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert shown.startswith("preparing 30 images: 144.0 kB in")
    decoding, comparing = (shown.rpartition(word)[2] for word in ("decoding", "looking for copies"))
    assert "30/30" in decoding
    assert "15/15" in comparing
