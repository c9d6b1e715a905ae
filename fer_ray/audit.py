"""Rank the labels that a run doubts, review faces, correct labels: `python -m fer_ray.audit`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from fer_ray.commands.arguments import absolute_spec, at_least, with_absolute_paths
from fer_ray.commands.folders import check_new_file
from fer_ray.commands.process import command
from fer_ray.commands.tables import print_notes
from fer_ray.config import DataConfig
from fer_ray.core.errors import ConfigError
from fer_ray.data import prepared
from fer_ray.data.packs.pack import Pack
from fer_ray.record.console import open_console
from fer_ray.results.audit.apply import apply_labels
from fer_ray.results.audit.beliefs import SOURCES
from fer_ray.results.audit.compare import UNSETTLED, compare, write_comparison
from fer_ray.results.audit.draw import SAMPLES, draw
from fer_ray.results.audit.files import new_folder, write_audit
from fer_ray.results.audit.reading import read_beliefs
from fer_ray.results.audit.review import PAGE, write_review
from fer_ray.results.audit.tables import (
    agreement_table,
    answer_notes,
    change_table,
    comparison_notes,
    disagreement_table,
    estimate_notes,
    estimate_table,
    pair_table,
)
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
        "--seed", type=at_least(0), default=0, metavar="N", help="of what is drawn (default: 0)"
    )
    parser.add_argument(
        "--apply",
        metavar="FILE",
        help="labels from the page: write a corrected copy of the data set's labels in its own "
        "format",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar="FILE",
        help="labels of two people: print how far they agree, and write the images that a third "
        "look is worth (--out, default: compared.csv)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args, console = build_parser().parse_args(argv), open_console()
    if args.compare is not None:
        _compare(args, console)
        return 0
    if args.run is None and (args.apply is None or args.data is None):
        raise ConfigError(
            "RUN: expected the folder of a run, got none. Only --compare FILE FILE and "
            "--apply FILE --data SPEC do without it."
        )
    if args.apply is not None and args.review is not None:
        raise ConfigError("--apply, --review: expected one of the two, got both")
    if args.apply is not None:
        _apply(args, console)
    else:
        _audit(args, console)
    return 0


def _audit(args: argparse.Namespace, console: Console) -> None:
    run = _open(args.run, args.data)
    out = new_folder(args.out or run.folder.local_path / "audit")
    data, pack = open_run_data(run.config), _prepared(run.config.data)
    print_notes(console, data.notes)
    beliefs = read_beliefs(run, data)
    drawn = None
    if args.review is not None:
        drawn = draw(beliefs, args.review, args.sample, args.seed)
    found = write_audit(run, beliefs, pack, out)
    if drawn is not None:
        write_review(drawn, beliefs, pack, out)
    console.print(estimate_table(found))
    console.print()
    console.print(pair_table(beliefs))
    console.print()
    print_notes(console, estimate_notes(found))
    print_notes(console, (f"{key}: {SOURCES[key]}" for key in dict.fromkeys(beliefs.source)))
    console.print(f"files: {out}", highlight=False, soft_wrap=True)
    if drawn is not None:
        num = f"{len(drawn.images)} faces to review"
        console.print(f"{num}: {out / PAGE}", highlight=False, soft_wrap=True)


def _apply(args: argparse.Namespace, console: Console) -> None:
    if args.run is None:
        data = DataConfig(spec=absolute_spec(args.data))
    else:
        data = _open(args.run, args.data).config.data
    applied = apply_labels(data.spec, _prepared(data), args.apply, args.out)
    console.print(change_table(applied))
    console.print()
    print_notes(console, answer_notes(applied))
    console.print(f"Train on it: --data {applied.written.spec}", highlight=False, soft_wrap=True)


def _compare(args: argparse.Namespace, console: Console) -> None:
    if any(x is not None for x in (args.run, args.data, args.apply, args.review)):
        raise ConfigError(
            "--compare: expected two files and at most --out, got RUN, --data, --apply or --review "
            "too. Take them out."
        )
    out = args.out or Path("compared.csv")
    check_new_file("--out", out)
    found = compare(*args.compare)
    write_comparison(found, out)
    for table in (agreement_table(found), disagreement_table(found)):
        console.print(table)
        console.print()
    print_notes(console, comparison_notes(found))
    num = len(found.pairs) - sum(pair.agrees for pair in found.pairs)
    console.print(
        f"{num:,} images to settle (label {UNSETTLED}), then read it as data.verified: {out}",
        highlight=False,
        soft_wrap=True,
    )


def _open(place: str, spec: str | None) -> FinishedRun:
    """Open a run; with a spec, its data set is there."""
    run = open_run(place)
    config = run.config
    if spec is not None:
        config = replace(config, data=replace(config.data, spec=absolute_spec(spec)))
    return replace(run, config=with_absolute_paths(config))


def _prepared(data: DataConfig) -> Pack:
    return prepared(data.spec, size=data.size, max_missing_fraction=data.max_missing_fraction)


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
