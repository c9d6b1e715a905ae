"""What a person sees while a data set is prepared."""

from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fer_ray.data.prepare import Estimate


class Preparing:
    """A line that says size and time, then a bar; on standard error."""

    def __init__(self, num_images: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("preparing"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=num_images)

    def __enter__(self) -> "Preparing":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def announce(self, estimate: Estimate, out: Path) -> None:
        """Say what is to come."""
        self._console.print(
            f"preparing {estimate.num_images:,} images: {decimal(estimate.num_bytes)} in {out}, "
            f"about {max(1, round(estimate.seconds))} s",
            highlight=False,
            soft_wrap=True,
        )
        self._bar.start()

    def advance(self, num: int) -> None:
        """Take note of images done."""
        self._bar.advance(self._task, num)
