"""Send a search to Weights & Biases as a sweep, or write a sweep file for W&B's own agents."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fer_ray.commands.folders import wandb_directory
from fer_ray.commands.output import Output, add_output_arguments, command_output
from fer_ray.commands.process import command
from fer_ray.commands.tables import print_line
from fer_ray.core.errors import ConfigError
from fer_ray.core.yaml_input import load_yaml
from fer_ray.record.storage import Folder
from fer_ray.record.wandb_sweep import SWEEP, end_sweep, read_sweep, send_search
from fer_ray.results.wandb_result import send_result
from fer_ray.search.reading import parse_space
from fer_ray.search.wandb_format import agent_sweep


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of `python -m fer_ray.sweep`."""
    parser = argparse.ArgumentParser(prog="python -m fer_ray.sweep", description=__doc__)
    parser.add_argument(
        "source",
        metavar="FOLDER|FILE",
        help="folder of a search: send its runs that are only on disk, and make it a sweep if it "
        "is none yet; what has been sent is not sent again. File of a search space: print what "
        "`wandb sweep` takes, with a command for `wandb agent`",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the sweep file here (default: print it)"
    )
    parser.add_argument(
        "--artifacts",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="send the best networks, what is known of the labels, and the report too "
        "(default: yes)",
    )
    add_output_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(_sweep, argv)


def _sweep(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    with command_output(args) as output:
        if Path(args.source).is_file():
            return _write_file(args, output)
        return _send(args, output)


def _write_file(args: argparse.Namespace, output: Output) -> int:
    sweep = agent_sweep(parse_space(load_yaml(Path(args.source)), args.source), args.source)
    text = yaml.safe_dump(sweep, sort_keys=False)
    if args.out is None:
        output.console.print(text, end="", highlight=False, markup=False, soft_wrap=True)
    elif args.out.exists():
        raise ConfigError(f"--out {args.out}: expected a new file, got one that exists")
    else:
        args.out.write_text(text, encoding="utf-8")
        print_line(output.console, f"next: wandb sweep {shlex.quote(str(args.out))}")
    output.result("done", sweep=sweep)
    return 0


def _send(args: argparse.Namespace, output: Output) -> int:
    folder = Folder(args.source)
    if not folder.exists():
        raise ConfigError(f"{folder}: expected the folder of a search, or a file, got neither")
    if read_sweep(folder) is None:
        raise ConfigError(
            f"{folder}: expected a search with {SWEEP}, got none. A run is sent with `wandb sync`; "
            "what was recorded with --wandb disabled cannot be sent"
        )
    directory = wandb_directory(folder)
    try:
        search = send_search(folder, directory)
    except OSError as error:
        return output.failed(f"{error}. Nothing is lost: the same command goes on")
    send_result(folder, directory, artifacts=args.artifacts)
    if folder.exists("summary.json"):
        search = end_sweep(folder) or search
    print_line(output.console, f"W&B sweep: {search.url or search.path}")
    result: dict[str, Any] = {"sweep": search.path, "url": search.url, "runs": search.runs}
    output.result("done", folder=str(folder), **result)
    return 0


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
