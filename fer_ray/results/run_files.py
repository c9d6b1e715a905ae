"""Reads the files of a finished run or search; what they lack is an error that says what to do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fer_ray import __version__
from fer_ray.core.errors import ConfigError
from fer_ray.record.places import StorageError
from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text
from fer_ray.search.layout import PARAMS

CONFIG, SUMMARY, WEIGHTS = "config.yaml", "summary.json", "checkpoints/best.pt"
TRIALS = "trials.csv"
_NUM_LISTED = 6


class RunFolderError(ConfigError):
    """A folder is not that of a finished run, or its files cannot be used."""

    @classmethod
    def at(cls, place: object, *, expected: str, got: str, remedy: str) -> "RunFolderError":
        """The error in the one paragraph a user reads."""
        return cls(f"{place}: expected {expected}, got {got}. {remedy}")


def entry(folder: Folder, summary: Any, path: tuple[str, ...], kind: type) -> Any:
    """A value of a summary by its path of keys.

    Raises:
        RunFolderError: If there is none, or it is not of this kind.
    """
    value, key = summary, ".".join(path)
    for part in path:
        if not isinstance(value, dict) or part not in value:
            raise RunFolderError.at(
                folder / SUMMARY,
                expected=f"the key {key}",
                got="none",
                remedy=f"{other_version(summary.get('version'))} Or add --resume to the command "
                "that trained it: it tests the networks anew and writes all files.",
            )
        value = value[part]
    if not isinstance(value, kind):
        raise damaged(folder, key, f"a {kind.__name__}", value)
    return value


def read_summary(folder: Folder) -> dict[str, Any]:
    """Content of `summary.json`.

    Raises:
        RunFolderError: If it is damaged.
        StorageError: If it cannot be read.
    """
    try:
        content = json.loads(read_text(folder, SUMMARY))
    except (ValueError, RecursionError) as error:
        content = error
    if not isinstance(content, dict):
        raise RunFolderError.at(
            folder / SUMMARY,
            expected="a JSON object",
            got=f"a damaged file ({content})"[:200],
            remedy="Copy the folder anew, or train again.",
        )
    return content


def read_text(folder: Folder, name: str) -> str:
    """Content of a file; bytes that are no UTF-8 become marks, over which its reader stumbles.

    Raises:
        StorageError: If it cannot be read.
    """
    with reading(folder):
        return folder.read_bytes(name).decode(errors="replace")


def names_in(folder: Folder) -> list[str]:
    """Names of what a folder holds; none if it does not exist.

    Raises:
        StorageError: If it cannot be read.
    """
    with reading(folder):
        return folder.names()


@contextmanager
def reading(folder: Folder) -> Iterator[None]:
    """Raise the errors of files and stores as a `StorageError` that names the folder."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{folder}: expected a folder that can be read, got {error_text(error)}. Give the "
            "folder of a run or of a search, as the last line of a command names it."
        ) from None


def no_run(folder: Folder, names: list[str]) -> RunFolderError:
    """What to say of a folder that lacks the files of a finished run."""
    inside = ", ".join(names[:_NUM_LISTED]) + (", ..." if len(names) > _NUM_LISTED else "")
    if PARAMS in names:
        got = "a trial that was not tested"
        remedy = "Only the best trial of a search and its reference are; give the search's folder."
    elif CONFIG in names:
        got = f"a run without {SUMMARY}, which is still training or was interrupted"
        remedy = f"Add --name {folder.name} --resume to its command."
    else:
        got = f"a folder with {inside}" if names else "an empty folder or none at all"
        runs = [name for name in names if (folder / name).exists(SUMMARY)]
        remedy = "Check the path."
        if runs:
            remedy = f"Give one of its folders, such as {folder / runs[-1]}."
    return RunFolderError.at(
        folder, expected="the folder of a finished run or search", got=got, remedy=remedy
    )


def unfinished_search(folder: Folder, names: list[str]) -> RunFolderError:
    """What to say of a search that tested no trial."""
    num = sum(name.startswith("trial_") for name in names)
    if TRIALS in names:
        got = f"one in which none of {num} trials has a result"
        remedy = f"Their failures are in {folder / TRIALS}."
    else:
        got = f"one that has not ended, with {num} trials begun"
        remedy = f"Add --name {folder.name} --resume to its command."
    return RunFolderError.at(
        folder, expected="a search whose best trial was tested", got=got, remedy=remedy
    )


def damaged(folder: Folder, key: str, expected: str, value: Any) -> RunFolderError:
    """What to say of a value of a summary that makes no sense."""
    return RunFolderError.at(
        f"{folder / SUMMARY}: {key}",
        expected=expected,
        got=repr(value)[:200],
        remedy="Copy the folder anew, or train again.",
    )


def other_version(version: object) -> str:
    """The remedy where files are not as this version writes them."""
    made = f"version {version}" if isinstance(version, str) else "an earlier version"
    return (
        f"The run was made by {made} of fer_ray, and this is {__version__}: train it again, or use "
        "the version that made it."
    )
