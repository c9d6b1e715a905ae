"""Ends a search with its report."""

from rich.console import Console

from fer_ray.record.console import error_paragraph
from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text
from fer_ray.results.report.writing import write_own


def report_search(console: Console, folder: Folder) -> None:
    """Write a search's report and print where it lies; the search is not lost where that fails."""
    try:
        place = write_own(folder)
    except Exception as error:  # whatever it is, the search has its results
        error_paragraph(
            f"no report: {error_text(error)}. All other files are there; to try again, use "
            f"python -m fer_ray.report {folder}"
        )
        return
    console.print(f"report: {place}", highlight=False, markup=False, soft_wrap=True)
