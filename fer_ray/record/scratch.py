"""Folders for temporary files that also a killed process does not leave for ever.

A process has one folder, which it locks as long as it lives. `sweep` deletes the folders whose
processes are gone; so does the first use in a process.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = "lock"
_VARIABLE = "TMPDIR"
_MAX_FOR_SOCKETS = 60  # letters of a folder in which W&B's process puts a socket
_locks: list[FileLock] = []  # an object that is forgotten would give its lock back


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make an empty folder that is deleted at the end of the block."""
    folder = Path(tempfile.mkdtemp(dir=process_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def process_folder() -> Path:
    """The folder of this process; it is deleted when the process ends."""
    return _process_folder(os.getpid())


@contextmanager
def libraries_in_scratch() -> Iterator[None]:
    """Let libraries, and processes that they start, use the folder of this process in the block."""
    own = str(process_folder())
    before, variable = tempfile.tempdir, os.environ.get(_VARIABLE)
    tempfile.tempdir = own
    if len(own) <= _MAX_FOR_SOCKETS:
        os.environ[_VARIABLE] = own
    try:
        yield
    finally:
        tempfile.tempdir = before
        os.environ.pop(_VARIABLE, None)
        if variable is not None:
            os.environ[_VARIABLE] = variable


def remove_own() -> None:
    """Delete the folder of this process, which is about to end without cleaning up."""
    if _locks:
        shutil.rmtree(Path(_locks[0].lock_file).parent, ignore_errors=True)


def sweep() -> None:
    """Delete the folders of this user whose processes are gone."""
    with suppress(FileNotFoundError):
        _sweep(_root())


@lru_cache(maxsize=1)
def _process_folder(pid: int) -> Path:
    """A fork has a folder of its own."""
    root = _root()
    root.mkdir(mode=0o700, exist_ok=True)
    _sweep(root)
    own = Path(tempfile.mkdtemp(dir=root, prefix=f"{pid}-"))
    lock = FileLock(own / _LOCK)
    lock.acquire(timeout=0)
    _locks[:] = [lock]
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


@lru_cache(maxsize=1)
def _root() -> Path:
    return Path(tempfile.gettempdir()) / f"fer_ray-{os.getuid()}"


def _sweep(root: Path) -> None:
    """Delete the folders whose locks are free: their processes are gone."""
    for folder in root.iterdir():
        lock = FileLock(folder / _LOCK)
        with suppress(Timeout, OSError):
            if (folder / _LOCK).exists():  # else it is being made
                lock.acquire(timeout=0)
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
