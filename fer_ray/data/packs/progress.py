"""What a person sees while a data set is prepared."""

from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fer_ray.data.packs.prepare import Estimate
from fer_ray.data.records import TRAIN, Records
from fer_ray.record.console import open_console


class Preparing:
    """A line that says size and time, then two bars; on standard error."""

    def __init__(self, records: Records, console: Console | None = None) -> None:
        self._console = console or open_console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        num_held_out = int((records.subset != TRAIN).sum())
        self._decoding = self._bar.add_task("decoding", total=len(records))
        self._comparing = self._bar.add_task("looking for copies", total=num_held_out)

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
        """Take note of images decoded."""
        self._bar.advance(self._decoding, num)

    def advance_copies(self, num: int) -> None:
        """Take note of images compared."""
        self._bar.advance(self._comparing, num)
