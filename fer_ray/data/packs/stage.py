"""Data sets in an object store are copied to this machine once, before they are read."""

import hashlib
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from fer_ray.core.secrets import secret_of
from fer_ray.data.faces import DataError
from fer_ray.data.packs.cache import cache_root
from fer_ray.record.places import StorageError
from fer_ray.record.storage import Folder


def local_copy(place: str, *, refresh: bool = False) -> Path:
    """The path itself, or for a URI (`s3://`, `gs://`, `file://`, ...) a copy in the cache.

    The copy is made once per machine: a second process waits for the first and then finds it. What
    lies under a URI is taken not to change; `refresh` copies it again.

    Raises:
        DataError: If the URI is not understood, nothing is there or it cannot be read.
    """
    if "://" not in place:
        return _own_path(place)
    try:
        folder = Folder(place)
        if folder.is_local:
            return folder.local_path
        return _staged(folder, place, refresh=refresh)
    except (StorageError, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError.at(
            place if secret_of(place) is None else "a URI",
            expected="a place that can be read",
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            remedy="Check the URI, and that credentials are in the environment.",
        ) from None


def _own_path(place: str) -> Path:
    """A path of this machine, of which the system can say whether something is there.

    Raises:
        DataError: If it cannot, such as of a name of 300 characters, or a link to itself.
    """
    try:
        path = Path(place).expanduser().absolute()
        with suppress(FileNotFoundError):
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise DataError.at(
            place[:200],
            expected="a path",
            got=str(reason or error),
            remedy="Check the path.",
        ) from None
    return path


def _staged(folder: Folder, place: str, *, refresh: bool) -> Path:
    root = cache_root() / "staged"
    root.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(place.encode()).hexdigest()[:32]
    target = root / key / folder.name
    with FileLock(root / f"{key}.lock"):
        if target.exists() and not refresh:
            return target
        shutil.rmtree(target, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
        try:
            folder.download("", part / folder.name)
            target.parent.mkdir(exist_ok=True)
            (part / folder.name).rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target
