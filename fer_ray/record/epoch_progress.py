"""The epochs of one run: a progress bar on a terminal, a few lines in a log."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from fer_ray.record.console import LogLines
from fer_ray.record.text import metric_text, time_left_text

_METRICS = {"train/loss": "loss", "val/macro_recall": "macro recall"}


class EpochProgress:
    """A live bar, or in a log a line at most every ten seconds.

    Attributes:
        progress: The bar with its figures.
    """

    def __init__(
        self,
        epochs: int,
        done: int = 0,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start before the first epoch.

        Args:
            epochs: Epochs planned.
            done: Epochs that a resumed run had done before.
            console: Where to draw; standard output by default.
            clock: Seconds, for elapsed times.
        """
        self._epochs, self._done = epochs, done
        self._lines = LogLines(console, clock)
        figures = self._figures({"epoch": done})
        self.progress = Progress(
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            *(TextColumn(f"{{task.fields[figures][{key}]}}", markup=False) for key in figures),
            console=self._lines.console,
            refresh_per_second=4,
            expand=True,
        )
        self._task = self.progress.add_task("epoch", total=epochs, completed=done, figures=figures)

    def __enter__(self) -> "EpochProgress":
        self._lines.start()
        if self._lines.console.is_terminal:
            self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lines.console.is_terminal:
            self.progress.stop()

    def update(self, row: Mapping[str, Any]) -> None:
        """Take the row of an epoch."""
        epoch, figures = row["epoch"], self._figures(row)
        self.progress.update(self._task, completed=epoch, figures=figures)
        if self._lines.is_due or epoch in (self._done + 1, self._epochs):
            shown = ", ".join(text for text in figures.values() if text)
            self._lines.print(f"epoch {epoch}/{self._epochs}: {shown}, {self._lines.elapsed_text}")

    def _figures(self, row: Mapping[str, Any]) -> dict[str, str]:
        """What is shown next to the bar, by column; empty where the row has no such value."""
        epoch, speed = row["epoch"], row.get("time/images_per_s")
        texts = {
            key: f"{name} {metric_text(row[key])}" if key in row else ""
            for key, name in _METRICS.items()
        }
        texts["speed"] = f"{speed:,.0f} img/s" if speed else ""
        left = self._epochs - epoch
        texts["left"] = time_left_text(self._lines.elapsed_s, epoch - self._done, left)
        return texts
