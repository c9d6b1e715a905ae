"""Lists the commands, or runs one of them: `python -m fer_ray`, or `fer-ray` in a shell."""

import importlib
import logging
import sys
from collections.abc import Sequence

from fer_ray.on_ray import interrupts

COMMANDS = {
    "tune": "search hyperparameters",
    "train": "train one run",
    "predict": "predict new faces with a finished run",
    "export": "write a finished run as one file for ONNX or torch",
    "sweep": "send a search to Weights & Biases as a sweep, or write a sweep file",
    "scale": "measure training speed with different numbers of workers",
    "report": "write a page about a run or a search",
    "data": "prepare, inspect or corrupt a data set",
    "audit": "rank doubtful labels, review faces, correct labels",
}
_MODULES = {"data": "fer_ray.data.__main__"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fer-ray COMMAND ...` and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        interrupts.install_early()  # before the import, which takes seconds
        logging.captureWarnings(True)
        module = importlib.import_module(_MODULES.get(words[0], f"fer_ray.{words[0]}"))
        return int(module.main(words[1:]))
    is_asked = not words or words[0] in ("-h", "--help")
    print(_listing(), file=sys.stdout if is_asked else sys.stderr)
    if not is_asked:
        print(f"error: expected a command, got {words[0]!r}", file=sys.stderr)
    return 0 if is_asked else 2


def _listing() -> str:
    lines = [f"  {name:7} {what}" for name, what in COMMANDS.items()]
    head = "usage: fer-ray COMMAND ...    (or python -m fer_ray.COMMAND ...)\n\ncommands:"
    return "\n".join(
        [head, *lines, "\nRun `fer-ray COMMAND --help` to see the options of a command."]
    )


if __name__ == "__main__":
    sys.exit(main())
