"""Size, time of change and inode of what a pack was made from: it is valid for exactly that."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

STAMPS = "stamps.txt"
_GRAIN_NS = 2 * 10**9
"""Some file systems know the time of a change to two seconds only."""


def stamps(paths: Iterable[str]) -> Iterator[str]:
    """An entry per place, ended by NUL: size, time of change in nanoseconds, inode and path.

    The inode tells a file that was moved here with its old time from the one that was here before.
    What is missing has -1 throughout.
    """
    for path in paths:
        try:
            status = os.stat(path)
            yield f"{status.st_size} {status.st_mtime_ns} {status.st_ino} {path}\0"
        except (OSError, ValueError):
            yield f"-1 -1 -1 {path}\0"


def write_stamps(folder: Path, paths: Iterable[str], since_ns: int) -> None:
    """Write down beside a pack what it was made from.

    Args:
        folder: The pack.
        paths: All files and folders that were read.
        since_ns: When reading them began. What has changed since, or shortly before, may have been
            read in its old state: it counts as changed the next time.
    """
    part = folder / f".{STAMPS}.part"
    with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
        for entry in stamps(paths):
            is_old = int(entry.split(" ", 2)[1]) < since_ns - _GRAIN_NS
            file.write(entry if is_old else f"-2 {entry.split(' ', 1)[1]}")
    part.replace(folder / STAMPS)


def are_unchanged(folder: Path) -> bool:
    """Whether every place that a pack was made from is as it was; no file is read."""
    try:
        text = (folder / STAMPS).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    *entries, rest = text.split("\0")  # NUL is the one character that no path has
    fields = [entry.split(" ", 3) for entry in entries]
    if rest or any(len(words) < 4 for words in fields):  # cut short, or of another version
        return False
    now = stamps(words[3] for words in fields)
    return all(f"{entry}\0" == other for entry, other in zip(entries, now, strict=True))
