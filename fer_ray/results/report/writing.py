"""Writes a report: into the folder it is about, or to a new file."""

from pathlib import Path

from fer_ray.record.places import StorageError
from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text
from fer_ray.results.report.page import report_html

REPORT = "report.html"


def write_own(folder: Folder) -> str:
    """Write `report.html` into the folder of a run or a search; an earlier one is replaced.

    Returns:
        Where it lies.

    Raises:
        RunFolderError: If the folder has nothing to show.
        StorageError: If it cannot be read or written.
    """
    page = report_html(folder)
    try:
        folder.write_text(REPORT, page)
    except OSError as error:
        raise _unwritable(folder / REPORT, error) from None
    return str(folder / REPORT)


def check_new(path: Path) -> None:
    """Refuse a place that a new file cannot have, before anything is read.

    Raises:
        StorageError: If there is a file or a folder already, or no folder to put it into.
    """
    if path.exists():
        raise StorageError(
            f"--out {path}: expected a new file, got one that exists. Choose another name, or "
            "delete it."
        )
    if not path.absolute().parent.is_dir():
        raise StorageError(
            f"--out {path}: expected a file in a folder that exists, got the folder "
            f"{path.absolute().parent}. Make it first."
        )


def write_new(folder: Folder, path: Path) -> str:
    """Write the report of a run or a search to a new file.

    Returns:
        Where it lies.

    Raises:
        RunFolderError: If the folder has nothing to show.
        StorageError: If it cannot be read, or the file exists or cannot be written.
    """
    page = report_html(folder)
    check_new(path)
    try:
        with path.open("xb") as file:
            file.write(page.encode())
    except OSError as error:
        raise _unwritable(path, error) from None
    return str(path)


def _unwritable(place: object, error: OSError) -> StorageError:
    return StorageError(
        f"{place}: expected a file that can be written, got {error_text(error)}. Choose another "
        "place with --out."
    )
