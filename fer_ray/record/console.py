"""Lines on the console: errors, and the few lines of a run in a log."""

import textwrap
import time
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from fer_ray.record.text import duration_text

_LINE_EVERY_S = 10.0
_WIDE = 10_000
_FOLD, _INDENT = 80, 4 * " "


def open_console(*, stderr: bool = False) -> Console:
    """A console on standard output, or error; where that is no terminal, nothing is cut or folded.

    What counts is where the text goes: colours may be forced for a file too (`FORCE_COLOR`).
    """
    console = Console(stderr=stderr)
    if not (console.is_terminal and console.file.isatty()):
        console.width = _WIDE
    return console


def fold(text: str, indent: str = "") -> str:
    """A line of at most 80 columns, and below it, indented, what does not fit; words stay whole.

    Args:
        text: The line.
        indent: What the first line begins with.

    >>> print(fold("a trial whose settings are long: " + "fear=0.123 " * 6))
    a trial whose settings are long: fear=0.123 fear=0.123 fear=0.123 fear=0.123
        fear=0.123 fear=0.123
    """
    return textwrap.fill(
        text,
        _FOLD,
        initial_indent=indent,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def beside_or_below(head: str, rest: str) -> str:
    """Two parts of a line: side by side if they fit 80 columns, else the second one below.

    >>> beside_or_below("trial_001 done", "fear=0.5")
    'trial_001 done; fear=0.5'
    """
    if not rest:
        return fold(head)
    line = f"{head}; {rest}"
    return line if len(line) <= _FOLD else f"{fold(head)}\n{fold(rest, _INDENT)}"


class LogLines:
    """Short lines for a log; on a terminal, which shows a live view instead, nothing is printed.

    Attributes:
        console: Where the lines go.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the clock.

        Args:
            console: Where the lines go; standard output by default.
            clock: Seconds, from any start.
        """
        self.console = console or open_console()
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Count elapsed time, and the time since the last line, from now on."""
        self._start = self._last_line = self._clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    @property
    def elapsed_text(self) -> str:
        """The elapsed time in words."""
        return f"{duration_text(self.elapsed_s)} elapsed"

    @property
    def is_due(self) -> bool:
        """Whether ten seconds have passed since the last line, or since the start."""
        return self._clock() - self._last_line >= _LINE_EVERY_S

    def print(self, line: str) -> None:
        """Print a line if the console is not a terminal."""
        if not self.console.is_terminal:
            self._last_line = self._clock()
            print_plain(self.console, line)


def print_plain(console: Console, line: str) -> None:
    """Print words as they are: no markup, no colours for numbers, no breaks where a log is read."""
    console.print(line, soft_wrap=not console.is_terminal, markup=False, highlight=False)


def error_paragraph(message: str) -> None:
    """Print `error: ...` to standard error, wrapped if that is a terminal."""
    console = Console(stderr=True)
    text = f"error: {message}"
    if console.is_terminal:
        text = textwrap.fill(text, console.width, break_long_words=False, break_on_hyphens=False)
    line = Text(text)
    line.stylize("bold red", 0, len("error:"))
    console.print(line, soft_wrap=True, highlight=False)
