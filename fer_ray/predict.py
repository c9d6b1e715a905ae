"""Predict expressions with a finished run: `python -m fer_ray.predict RUN IMAGES...`."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fer_ray.commands.arguments import add_prior, parse_prior
from fer_ray.commands.folders import check_new_file
from fer_ray.commands.process import command
from fer_ray.record.console import open_console
from fer_ray.results.pictures import list_pictures
from fer_ray.results.predict_files import Outcome, predict_files
from fer_ray.results.prediction_files import FORMATS, choose_format, open_table
from fer_ray.results.predictor import load

_EXIT_ERRORS, _EXIT_CLOSED = 1, 141
_NUM_LISTED = 20


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of `python -m fer_ray.predict`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_ray.predict",
        description="Predict the expressions of faces with the networks of a finished run. Prints "
        "a table: path, likeliest class, its probability, the probability of every class, error.",
    )
    parser.add_argument("run", metavar="RUN", help="folder or URI of a run, or of a search")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="images, folders, patterns such as 'faces/**/*.png', csv files with a column path, or "
        "- for paths on standard input",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a new file (default: standard output)"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="default: by the ending of --out, else csv"
    )
    parser.add_argument(
        "--path-column",
        default="path",
        metavar="NAME",
        help="column of csv files that holds the paths (default: path)",
    )
    add_prior(parser)
    parser.add_argument(
        "--batch-size", type=int, default=128, metavar="N", help="images at once (default: 128)"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: a GPU if there is one, else the CPU"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(_predict, argv)


def _predict(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f"--batch-size: expected at least 1, got {args.batch_size}")
    kind = choose_format(args.out, args.format)
    if args.out is not None:
        check_new_file("--out", args.out)
    predictor = load(args.run, prior=parse_prior(args.prior), device=args.device)
    paths = list_pictures(args.images, sys.stdin, column=args.path_column)
    console = open_console(stderr=True)
    try:
        with open_table(args.out, kind, predictor.classes) as write, _progress(console) as bar:
            task = bar.add_task("predicting", total=len(paths))
            outcome = predict_files(
                predictor,
                paths,
                write,
                batch_size=args.batch_size,
                advance=lambda num: bar.advance(task, num),
            )
    except BrokenPipeError:  # as by `| head`; nothing more can be written, at the exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_CLOSED
    _print_outcome(console, outcome, predictor.run.image_size[0])
    return _EXIT_ERRORS if outcome.errors else 0


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _print_outcome(console: Console, outcome: Outcome, size: int) -> None:
    """Say what could not be used, and what may not be what it should."""
    lines = []
    if outcome.num_photographs:
        lines.append(
            "note: by their size and shape, these are photographs rather than cropped faces: "
            f"{outcome.num_photographs} of {outcome.num_images} images. Their middle square was "
            f"scaled to {size} pixels and predicted, wherever the face is. Crop the faces first, "
            "with a detector such as MTCNN of facenet-pytorch or RetinaFace of insightface"
        )
    if outcome.errors:
        lines.append(
            f"{len(outcome.errors)} of {outcome.num_images} images could not be predicted:"
        )
        lines += [f"  {path}: {reason}" for path, reason in outcome.errors[:_NUM_LISTED]]
        if len(outcome.errors) > _NUM_LISTED:
            lines.append(f"  and {len(outcome.errors) - _NUM_LISTED} more; see the column error")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
