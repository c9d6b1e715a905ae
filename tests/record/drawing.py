"""A clock that tests set, and consoles that write into strings."""

from io import StringIO

from rich.console import Console, RenderableType

NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")


class Clock:
    """Seconds that stand still until a test changes `now`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_console(*, terminal: bool, width: int = 80) -> Console:
    """A console that writes into a string, without colors."""
    return Console(file=StringIO(), force_terminal=terminal, width=width, color_system=None)


def written(console: Console) -> str:
    """What a console has written."""
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def drawn(view: RenderableType, width: int = 80) -> list[str]:
    """The lines of a view on a terminal."""
    console = make_console(terminal=True, width=width)
    console.print(view)
    return written(console).splitlines()
