"""What a command prints: words for people, and with `--json` one line of JSON for programs."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from fer_ray.commands.process import BAD_INPUT, InterruptedRunError
from fer_ray.record.console import error_paragraph, open_console
from fer_ray.record.rows import plain


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--quiet` and `--json`."""
    parser.add_argument(
        "--quiet", action="store_true", help="print no progress and no tables, only errors"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the result as one line of JSON on standard output, and everything else on "
        "standard error; docs/files.md says what is in it",
    )


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command prints.

    Attributes:
        console: For people.
        json: The stream for programs; `None` without `--json`.
    """

    console: Console
    json: Any

    def result(self, status: str, **content: Any) -> None:
        """Print how the command ended, if a program asked for it."""
        if self.json is not None:
            line = json.dumps({"status": status, **plain(content)}, allow_nan=False)
            print(line, file=self.json, flush=True)

    def failed(self, message: str, **content: Any) -> int:
        """Say why there is no result, and return the exit code."""
        error_paragraph(message)
        self.result("failed", error=message, **content)
        return 1


@contextmanager
def command_output(args: argparse.Namespace) -> Iterator[Output]:
    """Send what a command prints to where `--quiet` and `--json` ask for it.

    Everything that is printed in the block counts, also by libraries. An error in the input and an
    interruption go on, and are the result that `--json` prints.

    Args:
        args: Arguments with those of `add_output_arguments`.
    """
    for_programs = sys.stdout if args.json else None
    with ExitStack() as stack:
        if args.quiet:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
        elif args.json:
            stack.enter_context(redirect_stdout(sys.stderr))
        output = Output(open_console(), for_programs)
        try:
            yield output
        except BAD_INPUT as error:
            output.result("bad_input", error=str(error))
            raise
        except (InterruptedRunError, KeyboardInterrupt) as error:
            output.result("interrupted", error=str(error) or "interrupted")
            raise
