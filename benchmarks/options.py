"""What the command lines of benchmarks that go on where they stopped have in common."""

import argparse
from pathlib import Path


def resumable_parser(description: str | None, work: str) -> argparse.ArgumentParser:
    """Make a parser with the options that such benchmarks share.

    Args:
        description: Text of `--help`.
        work: Folder of finished runs, by default.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=Path(), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: 2)")
    parser.add_argument("--work", default=work, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="N")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    return parser


def parse_resumable(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; one run at a time with `--quick`, else two, if nothing is said."""
    args = parser.parse_args()
    args.jobs = args.jobs or (1 if args.quick else 2)
    return args
