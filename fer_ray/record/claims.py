"""A run's folder belongs to one command at a time, which says in a file of the folder who it is.

On a file system, a folder is made by one command only, and a lock that the kernel frees with its
process tells whether the command still runs. An object store has neither: there, a command writes
a claim of its own and gives way if it then sees another one. As stores list what has been written
before, two commands never both see their own claim alone.
"""

import json
import os
import random
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from filelock import FileLock, Timeout

from fer_ray.core.errors import ConfigError
from fer_ray.record.storage import Folder

CLAIM = "in_use.json"
"""File that says who uses a folder."""
_LOCK = "in_use.lock"
_CLAIMS = "in_use"
_TRIES, _WAIT_S = 5, 1.0


class InUseError(ConfigError):
    """Another command uses the folder; the message says which."""


@dataclass(frozen=True, slots=True)
class User:
    """The command that uses a folder.

    Attributes:
        host: Name of its machine.
        pid: Its process there.
        since: When it began, such as `2026-11-26 19:03:25`.
    """

    host: str
    pid: int
    since: str

    @classmethod
    def this(cls) -> "User":
        """The command of this process."""
        return cls(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"))

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended, because it ran on this machine."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


@contextmanager
def claimed(folder: Folder, *, is_new: bool) -> Iterator[Folder]:
    """Use a folder alone until the end of the block.

    A new folder in which nothing was written is deleted at the end.

    Args:
        folder: The folder of a run or a search.
        is_new: Whether it must not exist yet.

    Raises:
        FileExistsError: A new folder exists already.
        InUseError: Another command uses the folder.
    """
    with (_locked if folder.is_local else _claimed_in_store)(folder, is_new):
        try:
            yield folder
        finally:
            if is_new and is_unused(folder):
                folder.delete("")


def abandon(folder: Folder) -> None:
    """Give a folder back from any thread of the command that uses it, which is about to end.

    What `claimed` does at the end of its block. Nothing fails: a claim that stays is that of a
    process that is gone.
    """
    with suppress(OSError):
        if is_unused(folder):
            folder.delete("")
        elif folder.is_local:
            folder.delete(CLAIM)
            folder.delete(_LOCK)
        else:
            claims, this = folder / _CLAIMS, User.this()
            for name in claims.names():
                user = _read_user(claims, name)
                if user is not None and (user.host, user.pid) == (this.host, this.pid):
                    claims.delete(name)


def is_unused(folder: Folder) -> bool:
    """Whether nothing was written to a folder but claims."""
    return not set(folder.names()) - {CLAIM, _LOCK, _CLAIMS}


def was_only_claimed(folder: Folder) -> bool:
    """Whether a command that was killed had claimed a folder, and written nothing else."""
    return bool(folder.names()) and is_unused(folder)


@contextmanager
def _locked(folder: Folder, is_new: bool) -> Iterator[None]:
    path = folder.local_path
    path.mkdir(parents=True, exist_ok=not is_new)
    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _in_use(folder, _read_user(folder, CLAIM), CLAIM) from None
    try:
        before = _read_user(folder, CLAIM)
        if before is not None and before.host != User.this().host:
            # Not every shared file system passes locks on to other machines.
            raise _in_use(folder, before, CLAIM)
        folder.write_text(CLAIM, json.dumps(asdict(User.this())) + "\n")
        try:
            yield
        finally:
            with suppress(OSError):
                folder.delete(CLAIM)
    finally:
        with suppress(OSError):
            (path / _LOCK).unlink(missing_ok=True)
        lock.release()


@contextmanager
def _claimed_in_store(folder: Folder, is_new: bool) -> Iterator[None]:
    if is_new and folder.names():
        raise FileExistsError(f"{folder} exists")
    claims, own = folder / _CLAIMS, f"{secrets.token_hex(8)}.json"
    for number in range(_TRIES):
        claims.write_text(own, json.dumps(asdict(User.this())) + "\n")
        others = _others(claims, own)
        if not others:
            break
        claims.delete(own)
        if is_new:
            raise FileExistsError(f"{folder} exists")
        if number == _TRIES - 1:
            name, user = next(iter(others.items()))
            raise _in_use(folder, user, f"{_CLAIMS}/{name}")
        time.sleep(_WAIT_S * random.random())
    try:
        yield
    finally:
        claims.delete(own)


def _others(claims: Folder, own: str) -> dict[str, User | None]:
    """Return the other claims; those of commands that have ended on this machine are deleted."""
    others: dict[str, User | None] = {}
    for name in claims.names():
        user = _read_user(claims, name) if name != own else None
        if user is not None and user.is_gone:
            claims.delete(name)
        elif name != own and claims.exists(name):
            others[name] = user
    return others


def _read_user(folder: Folder, name: str) -> User | None:
    """Return who a claim names; `None` if there is none, or it is being written."""
    try:
        return User(**json.loads(folder.read_text(name)))
    except (OSError, ValueError, TypeError):
        return None


def _in_use(folder: Folder, user: User | None, claim: str) -> InUseError:
    who = "another command"
    if user is not None:
        who = f"process {user.pid} on {user.host} since {user.since}"
    return InUseError(
        f"{folder}: expected a folder that no command uses, got one that is used by {who}. Wait "
        f"for its end, or use another --name; if it is gone, delete {folder / claim}"
    )
