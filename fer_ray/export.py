"""Write a finished run as one file: `python -m fer_ray.export RUN --to onnx`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_ray.commands.arguments import add_prior, parse_prior
from fer_ray.commands.folders import check_new_file
from fer_ray.commands.process import command
from fer_ray.core.errors import ConfigError
from fer_ray.record.console import error_paragraph, open_console
from fer_ray.results.exporting import (
    SUFFIXES,
    TOLERANCE,
    ParityError,
    check_packages,
    export_run,
)
from fer_ray.results.model_card import model_card
from fer_ray.results.run_folder import FinishedRun, open_run

_CARD = "MODEL_CARD.md"


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of `python -m fer_ray.export`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_ray.export",
        description="Write the networks of a finished run as one file that takes uint8 images and "
        "gives probabilities, and a model card beside it.",
    )
    parser.add_argument("run", metavar="RUN", help="folder or URI of a run, or of a search")
    parser.add_argument(
        "--to",
        choices=("onnx", "torch"),
        required=True,
        help="onnx: for onnxruntime and others; torch: for torch.export.load",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"a new file; {_CARD} is written beside it (default: export/model.onnx or "
        "export/model.pt2 in the run's folder)",
    )
    add_prior(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(_export, argv)


def _export(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    check_packages(args.to)
    prior, run = parse_prior(args.prior), open_run(args.run)
    text = model_card(run, prior)
    out = _default_file(run, SUFFIXES[args.to]) if args.out is None else args.out
    check_new_file("--out", out)
    _check_card(out.with_name(_CARD), text)
    try:
        difference = export_run(run, args.to, out, prior)
    except ParityError as error:
        error_paragraph(str(error))
        return 1
    out.with_name(_CARD).write_text(text, encoding="utf-8")
    open_console().print(
        f"{out}: differs from fer_ray.predict by at most {difference:.1e} in 100 drawn faces "
        f"(allowed: {TOLERANCE:g})\ncard: {out.with_name(_CARD)}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _default_file(run: FinishedRun, suffix: str) -> Path:
    """A file in the run's own folder.

    Raises:
        ConfigError: If that is not on this machine.
    """
    if not run.folder.is_local:
        raise ConfigError(f"--out: expected a file, because {run.folder} is remote; got none")
    folder = run.folder.local_path / "export"
    folder.mkdir(exist_ok=True)
    return folder / f"model{suffix}"


def _check_card(card: Path, text: str) -> None:
    """Refuse to write over the card of another model; that of the same run may stay.

    Raises:
        ConfigError: With the remedy.
    """
    if card.exists() and card.read_text(encoding="utf-8", errors="replace") != text:
        raise ConfigError(
            f"{card}: expected no card, or that of this model, got another one. Give --out in a "
            "folder of its own"
        )


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
