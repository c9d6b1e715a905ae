"""Lines on the console: errors, and the few lines of a run in a log."""

import textwrap
import time
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from fer_ray.record.text import duration_text

_LINE_EVERY_S = 10.0


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
        self.console = console or Console()
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
            self.console.print(line, soft_wrap=True, markup=False, highlight=False)


def error_paragraph(message: str) -> None:
    """Print `error: ...` to standard error, wrapped if that is a terminal."""
    console = Console(stderr=True)
    text = f"error: {message}"
    if console.is_terminal:
        text = textwrap.fill(text, console.width, break_long_words=False, break_on_hyphens=False)
    line = Text(text)
    line.stylize("bold red", 0, len("error:"))
    console.print(line, soft_wrap=True, highlight=False)
