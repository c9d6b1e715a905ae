"""The trials of a search: a live table on a terminal, a line per trial in a log."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.measure import measure_renderables
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

from fer_ray.record.console import LogLines
from fer_ray.record.tables import GAP, plain_table
from fer_ray.record.text import (
    Number,
    last_letters,
    metric_text,
    setting_text,
    short_names,
    time_left_text,
)
from fer_ray.record.trial import STYLE, Trial, TrialStatus, best_value

_MAX_ROWS = 15
_Cells = tuple[Column, list[RenderableType]]
_BAR_WIDTH, _TRIAL_WIDTH, _SETTING_WIDTH = 8, 14, 12


class TrialTable:
    """The trials of a search: a live table, or in a log a line whenever a trial ends."""

    def __init__(
        self,
        num_trials: int,
        metric: str = "val/macro_recall",
        mode: Literal["max", "min"] = "max",
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without trials.

        Args:
            num_trials: How many are planned.
            metric: Key of the metric that the search optimizes.
            mode: Whether a trial is better with more or with less of it.
            console: Where to draw; standard output by default.
            clock: Seconds, for elapsed times.
        """
        self._lines = LogLines(console, clock)
        self._num_trials, self._metric, self._mode = num_trials, metric.split("/")[-1], mode
        self._lock = threading.Lock()  # rich draws in a thread of its own
        self._live: Live | None = None
        self._trials: dict[str, Trial] = {}
        self._orders = itertools.count()
        self._progress_before = 0.0  # of the trials at their first update: done earlier

    def __enter__(self) -> "TrialTable":
        self._lines.start()
        if self._lines.console.is_terminal:
            self._live = Live(
                get_renderable=self.render, console=self._lines.console, refresh_per_second=4
            )
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._lines.print(self.totals())

    def update(
        self,
        trial: str,
        status: TrialStatus,
        epoch: int,
        epochs: int,
        metric: Number | None,
        best: Number | None,
        config: Mapping[str, Any],
    ) -> None:
        """Take the newest state of a trial.

        Args:
            trial: Its name.
            status: What it does, or how it ended.
            epoch: Epochs done.
            epochs: Epochs planned.
            metric: The metric after the last epoch.
            best: The trial's best value of the metric so far.
            config: Sampled hyperparameters, flat with dotted keys.
        """
        old = self._trials.get(trial)
        has_changed = old is None or old.status != status
        order = next(self._orders) if old is None or has_changed else old.order
        new = Trial(trial, status, epoch, epochs, metric, best, config, order)
        with self._lock:
            self._trials[trial] = new
            if old is None:
                self._progress_before += new.progress
        if has_changed and new.is_over:
            self._lines.print(self._trial_line(new))
        else:
            self.tick()

    def tick(self) -> None:
        """Show in a log that the search is alive: a line if there was none for ten seconds."""
        if self._lines.is_due:
            self._lines.print(self.totals())

    def render(self) -> RenderableType:
        """The table and the line below it."""
        with self._lock:
            rows = self._rows()
            columns = self._fixed_columns(rows)
            width = sum(self._width(column, cells) + GAP for column, cells in columns)
            columns += self._setting_columns(rows, self._lines.console.width - width)
            table = plain_table([column for column, _ in columns])
            for line in zip(*(cells for _, cells in columns), strict=True):
                table.add_row(*line)
            return Group(table, Text(self.totals(), style="dim"))

    def totals(self) -> str:
        """How many trials are in which state, the best so far, and times."""
        trials = list(self._trials.values())
        counts = Counter(trial.status for trial in trials)
        total = max(self._num_trials, len(trials))
        states = [f"{counts[status]} {status}" for status in STYLE if counts[status]]
        parts = [f"{total} trials: {', '.join(states) or 'none started'}"]
        best = best_value(self._trials.values(), self._mode)
        if best is not None:
            name = next(trial.name for trial in trials if trial.can_win and trial.best == best)
            parts.append(f"best {self._metric} {metric_text(best)} ({name})")
        progress = sum(trial.progress for trial in trials)
        done = progress - self._progress_before
        left = time_left_text(self._lines.elapsed_s, done, total - progress)
        parts.append(f"{self._lines.elapsed_text}, {left}")
        return "; ".join(parts)

    def _rows(self) -> list[Trial]:
        """Running trials, newest first, then those that ended last, then those that wait."""
        rank = {"running": 0, "pending": 2}
        trials = sorted(self._trials.values(), key=lambda t: (rank.get(t.status, 1), -t.order))
        return trials[:_MAX_ROWS]

    def _fixed_columns(self, rows: Sequence[Trial]) -> list[_Cells]:
        best = best_value(self._trials.values(), self._mode)
        columns: list[_Cells] = [(Column("trial"), []), (Column("status"), [])]
        columns += [(Column("epoch", justify="right"), []), (Column(""), [])]
        columns += [(_number_column(self._metric), []), (_number_column("best"), [])]
        for row in rows:
            is_best = row.can_win and row.best == best
            line: tuple[RenderableType, ...] = (
                Text(last_letters(row.name, _TRIAL_WIDTH)),
                Text(row.status, style=STYLE[row.status]),
                Text(row.epochs_text),
                _bar(row),
                Text(metric_text(row.metric)),
                Text(metric_text(row.best), style="bold" if is_best else ""),
            )
            for (_, cells), cell in zip(columns, line, strict=True):
                cells.append(cell)
        return columns

    def _setting_columns(self, rows: Sequence[Trial], width: int) -> list[_Cells]:
        """Sampled values, a column per key, as many as fit into `width`."""
        keys = list(dict.fromkeys(key for trial in self._trials.values() for key in trial.config))
        columns = []
        for key, name in zip(keys, short_names(keys), strict=True):
            column = _number_column(name)
            cells = [Text(setting_text(row.config.get(key, ""))) for row in rows]
            column.max_width = min(_SETTING_WIDTH, self._width(column, cells))
            if width < column.max_width:
                break
            width -= column.max_width + GAP
            columns.append((column, list[RenderableType](cells)))
        return columns

    def _width(self, column: Column, cells: Sequence[RenderableType]) -> int:
        console = self._lines.console
        return measure_renderables(console, console.options, [column.header, *cells]).maximum

    def _trial_line(self, trial: Trial) -> str:
        names = short_names(list(trial.config))
        values = zip(names, trial.config.values(), strict=True)
        config = " ".join(f"{name}={setting_text(value)}" for name, value in values)
        figures = f"{self._metric} {metric_text(trial.metric)}, best {metric_text(trial.best)}"
        return f"{trial.name} {trial.status} at epoch {trial.epochs_text}: {figures}; {config}"


def _bar(trial: Trial) -> ProgressBar:
    style, total = STYLE[trial.status], max(1, trial.epochs)
    return ProgressBar(
        total, trial.epoch, width=_BAR_WIDTH, complete_style=style, finished_style=style
    )


def _number_column(name: str) -> Column:
    """A narrow column, with a line for every word of its name."""
    return Column(name.replace("_", "\n").replace(".", ".\n"), justify="right")
