"""Write the report of a run or of a search: `python -m fer_ray.report RUN_OR_SEARCH`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_ray.commands.process import command
from fer_ray.record.console import open_console
from fer_ray.record.storage import Folder
from fer_ray.results.report.writing import check_new, write_new, write_own


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of `python -m fer_ray.report`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_ray.report",
        description="Write one HTML page about a run or a search, which opens without a network.",
    )
    parser.add_argument(
        "place",
        metavar="RUN_OR_SEARCH",
        help="folder or URI of a run or a search, finished or not, such as runs/thresholds-001",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="a new file for the page (default: report.html in the folder, written anew)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(_report, argv)


def _report(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    folder = Folder(args.place)
    if args.out is None:
        place = write_own(folder)
    else:
        check_new(args.out)
        place = write_new(folder, args.out)
    open_console().print(f"report: {place}", highlight=False, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
