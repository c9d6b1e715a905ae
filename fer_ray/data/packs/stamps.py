"""Size and time of change of what a pack was made from: it is valid for exactly that."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

STAMPS = "stamps.txt"
_GRAIN_NS = 2 * 10**9
"""Some file systems know the time of a change to two seconds only."""


def stamps(paths: Iterable[str]) -> Iterator[str]:
    """A line per place: size, time of change in nanoseconds and path; what is missing has -1."""
    for path in paths:
        try:
            status = os.stat(path)
            yield f"{status.st_size} {status.st_mtime_ns} {path}\n"
        except OSError:
            yield f"-1 -1 {path}\n"


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
        for line in stamps(paths):
            is_old = int(line.split(" ", 2)[1]) < since_ns - _GRAIN_NS
            file.write(line if is_old else f"-2 {line.split(' ', 1)[1]}")
    part.replace(folder / STAMPS)


def are_unchanged(folder: Path) -> bool:
    """Whether every place that a pack was made from is as it was; no file is read."""
    try:
        text = (folder / STAMPS).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    lines = text.splitlines(keepends=True)
    now = stamps(line.rstrip("\n").split(" ", 2)[2] for line in lines)
    return all(line == other for line, other in zip(lines, now, strict=True))
