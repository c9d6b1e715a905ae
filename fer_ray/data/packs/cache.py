"""Arrays that are slow to make are made once and mapped from disk ever after."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import platformdirs

CACHE_VARIABLE = "FER_RAY_CACHE"
"""Environment variable that names the cache directory."""

_MANIFEST = "manifest.json"
_PEER_WAS_FASTER = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT)


def cache_root() -> Path:
    """Where arrays are kept: `$FER_RAY_CACHE`, else the user's cache directory."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("fer_ray"))


def cached_arrays(
    key: str, make: Callable[[], Mapping[str, np.ndarray]], root: Path | None = None
) -> dict[str, np.ndarray]:
    """The arrays of `key`, read-only; `make` is called only when no whole copy is on disk.

    Safe when several processes start at once: each writes a directory of its own and renames it;
    whoever comes second discards its copy. An entry with a missing, cut or unreadable file is made
    anew.

    Args:
        key: Everything the arrays depend on; another key is another entry.
        make: Makes the arrays; names are file names, object arrays are not allowed.
        root: Cache directory; `cache_root()` by default.

    Returns:
        Name -> memory-mapped array, or plain arrays with a warning if the cache cannot be written.

    Raises:
        ValueError: If `make` returns an object array.
    """
    root = cache_root() if root is None else root
    entry = root / hashlib.sha256(key.encode()).hexdigest()[:32]
    found = _open(entry, key)
    if found is not None:
        return found
    arrays = {name: np.ascontiguousarray(value) for name, value in make().items()}
    for name, value in arrays.items():
        if value.dtype.hasobject:
            raise ValueError(f"array {name!r} of {key!r}: expected numbers or text, got objects")
    try:
        stored = _store(root, entry, key, arrays)
    except OSError as error:
        warnings.warn(
            f"{root}: the cache cannot be written ({error}), so {key!r} is kept in memory and "
            f"made again next time; point ${CACHE_VARIABLE} at a writable directory",
            stacklevel=2,
        )
        stored = None
    if stored is not None:
        return stored
    for value in arrays.values():
        value.setflags(write=False)
    return arrays


def _open(entry: Path, key: str) -> dict[str, np.ndarray] | None:
    """Map the entry, or `None` when it is missing, damaged or of another key."""
    try:
        manifest = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["key"] != key:
            return None
        arrays = {}
        for name, num_bytes in manifest["bytes"].items():
            path = entry / f"{name}.npy"
            if path.stat().st_size != num_bytes:
                return None
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None
    return arrays


def _store(
    root: Path, entry: Path, key: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray] | None:
    """Write beside the entry, then rename into place.

    Raises:
        OSError: If the directory cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    try:
        sizes = {name: _write(own / f"{name}.npy", value) for name, value in arrays.items()}
        (own / _MANIFEST).write_text(json.dumps({"key": key, "bytes": sizes}), encoding="utf-8")
        for _ in range(5):  # a peer may put its entry, whole or damaged, between two of our steps
            found = _open(entry, key)
            if found is not None:
                return found
            _move_aside(entry, root)
            try:
                own.rename(entry)
            except OSError as error:
                if error.errno not in _PEER_WAS_FASTER:
                    raise
        return _open(entry, key)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _write(path: Path, array: np.ndarray) -> int:
    """Write through to the disk, so that a renamed entry is whole even after a power cut."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _move_aside(entry: Path, root: Path) -> None:
    """Take a damaged entry out of the way; those who still map it keep their files."""
    if not entry.exists():
        return
    aside = Path(tempfile.mkdtemp(prefix=".old-", dir=root))
    with contextlib.suppress(FileNotFoundError):  # a peer was faster
        entry.rename(aside / entry.name)
    shutil.rmtree(aside, ignore_errors=True)
