"""Rank the labels that a run doubts, review faces, correct labels: `python -m fer_ray.audit`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from fer_ray.commands.arguments import absolute_spec, with_absolute_data
from fer_ray.commands.process import command
from fer_ray.commands.tables import print_notes
from fer_ray.core.errors import ConfigError
from fer_ray.data import prepared
from fer_ray.data.packs.pack import Pack
from fer_ray.results.audit.beliefs import SOURCES, read_beliefs
from fer_ray.results.audit.draw import SAMPLES, draw
from fer_ray.results.audit.files import new_folder, write_audit
from fer_ray.results.audit.review import PAGE, write_review
from fer_ray.results.audit.tables import estimate_table, pair_table
from fer_ray.results.run_folder import FinishedRun, open_run
from fer_ray.training.runtime import open_run_data


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of `python -m fer_ray.audit`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_ray.audit",
        description="Rank the labels that a run doubts; make a page to review faces on; write the "
        "data set anew with corrected labels.",
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="folder of a run, or of a search (its best trial)"
    )
    parser.add_argument(
        "--data",
        metavar="SPEC",
        help="where the run's data set is now (default: where it was); without RUN, the data set "
        "whose labels --apply corrects",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="what to write, which must not exist (default: RUN/audit; with --apply, beside the "
        "data set)",
    )
    parser.add_argument(
        "--review", type=int, metavar="N", help="write a page to review N images on, too"
    )
    parser.add_argument(
        "--sample",
        choices=SAMPLES,
        default="both",
        help="images to review: drawn at random, which tells how labels are wrong; picked, the "
        "likeliest errors; or half of both (default)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)"
    )
    parser.add_argument(
        "--apply",
        metavar="FILE",
        help="labels from the page: write a corrected copy of the data set's labels in its own "
        "format",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(_audit, argv)


def _audit(argv: Sequence[str] | None) -> int:
    args, console = build_parser().parse_args(argv), Console()
    if args.apply is not None:
        return 0
    if args.run is None:
        raise ConfigError("RUN: expected the folder of a run; only --apply does without it")
    run = _open(args.run, args.data)
    out = new_folder(args.out or run.folder.local_path / "audit")
    data, pack = open_run_data(run.config), _pack(run)
    print_notes(console, data.notes)
    beliefs = read_beliefs(run, data)
    drawn = None
    if args.review is not None:
        drawn = draw(beliefs, args.review, args.sample, args.seed)
    found = write_audit(run, beliefs, pack, out)
    console.print(estimate_table(found))
    console.print(pair_table(beliefs))
    print_notes(console, (f"{key}: {SOURCES[key]}" for key in dict.fromkeys(beliefs.source)))
    console.print(f"files: {out}", highlight=False, soft_wrap=True)
    if drawn is not None:
        write_review(drawn, beliefs, pack, out)
        num = f"{len(drawn.images)} faces"
        console.print(f"{num} to review: {out / PAGE}", highlight=False, soft_wrap=True)
    return 0


def _open(place: str, spec: str | None) -> FinishedRun:
    """Open a run; with a spec, its data set is there."""
    run = open_run(place)
    config = run.config
    if spec is not None:
        config = replace(config, data=replace(config.data, spec=absolute_spec(spec)))
    return replace(run, config=with_absolute_data(config))


def _pack(run: FinishedRun) -> Pack:
    data = run.config.data
    return prepared(data.spec, size=data.size, max_missing_fraction=data.max_missing_fraction)


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
