import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from fer_ray.data.packs.cache import CACHE_VARIABLE, cache_root, cached_arrays

ARRAYS = {
    "images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "label": np.array([1, 0]),
    "notes": np.array(["one", "three"]),
    "none": np.zeros((0, 3)),
}


class Maker:
    """Counts how often the arrays are made."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return {name: value.copy() for name, value in ARRAYS.items()}


def check(arrays: dict[str, np.ndarray]) -> None:
    assert set(arrays) == set(ARRAYS)
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], value)
        assert arrays[name].dtype == value.dtype


def test_made_once_then_mapped(tmp_path: Path) -> None:
    make = Maker()
    check(cached_arrays("key", make, tmp_path))
    again = cached_arrays("key", make, tmp_path)
    check(again)
    assert make.calls == 1
    assert isinstance(again["images"], np.memmap)
    assert not again["images"].flags.writeable
    cached_arrays("other key", make, tmp_path)
    assert make.calls == 2
    assert len(list(tmp_path.iterdir())) == 2


def truncate(entry: Path) -> None:
    path = entry / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])


def remove(entry: Path) -> None:
    (entry / "label.npy").unlink()


def spoil_header(entry: Path) -> None:
    path = entry / "label.npy"
    path.write_bytes(b"x" * path.stat().st_size)


def spoil_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text("[]")


def empty(entry: Path) -> None:
    for path in entry.iterdir():
        path.unlink()


@pytest.mark.parametrize("damage", [truncate, remove, spoil_header, spoil_manifest, empty])
def test_damage_is_mended(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make = Maker()
    cached_arrays("key", make, tmp_path)
    (entry,) = tmp_path.iterdir()
    damage(entry)
    check(cached_arrays("key", make, tmp_path))
    assert make.calls == 2
    assert list(tmp_path.iterdir()) == [entry]
    check(cached_arrays("key", make, tmp_path))
    assert make.calls == 2


def test_unwritable_cache_falls_back_to_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    make = Maker()
    with pytest.warns(UserWarning, match=f"cannot be written.*{CACHE_VARIABLE}"):
        arrays = cached_arrays("key", make, blocked / "cache")
    check(arrays)
    assert not arrays["images"].flags.writeable


def test_errors_of_the_maker_pass_and_leave_nothing(tmp_path: Path) -> None:
    def fail() -> dict[str, np.ndarray]:
        raise OSError("no such picture")

    with pytest.raises(OSError, match="no such picture"):
        cached_arrays("key", fail, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"array 'bad'.*got objects"):
        cached_arrays("key", lambda: {"bad": np.array([{}], dtype=object)}, tmp_path)


def test_root_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    assert cache_root().name == "fer_ray"


def _race(root: Path, barrier: Barrier, sums: "Queue[int]") -> None:
    def make() -> dict[str, np.ndarray]:
        barrier.wait(60)  # neither finds the other's entry
        return {"numbers": np.arange(1_000_000)}

    arrays = cached_arrays("raced", make, root)
    sums.put(int(arrays["numbers"].sum()))


@pytest.fixture
def spawn() -> multiprocessing.context.SpawnContext:
    return multiprocessing.get_context("spawn")


def test_two_processes_at_once(tmp_path: Path, spawn: multiprocessing.context.SpawnContext) -> None:
    barrier, sums = spawn.Barrier(2), spawn.Queue()
    peers = [spawn.Process(target=_race, args=(tmp_path, barrier, sums)) for _ in range(2)]
    for peer in peers:
        peer.start()
    assert [sums.get(timeout=120) for _ in peers] == [499_999_500_000] * 2
    for peer in peers:
        peer.join(60)
        assert peer.exitcode == 0
    assert len(list(tmp_path.iterdir())) == 1  # the loser left nothing behind


def test_opening_is_quick(tmp_path: Path) -> None:
    def make() -> dict[str, np.ndarray]:
        return {"images": np.zeros(50_000_000, dtype=np.uint8)}

    cached_arrays("large", make, tmp_path)
    start = time.perf_counter()
    cached_arrays("large", make, tmp_path)
    assert time.perf_counter() - start < 0.5
