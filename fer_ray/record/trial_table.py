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

from fer_ray.record.console import LogLines, beside_or_below, fold, print_plain
from fer_ray.record.tables import GAP, plain_table
from fer_ray.record.text import (
    Number,
    last_letters,
    metric_name,
    metric_text,
    setting_text,
    short_names,
    time_left_text,
)
from fer_ray.record.trial import STYLE, Trial, TrialStatus, best_value, lead_text

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
        self._num_trials, self._metric, self._mode = num_trials, metric_name(metric), mode
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
        self._lines.print(fold(self.totals()))

    def note(self, text: str) -> None:
        """Say something in words: above the table, or in the log."""
        print_plain(self._lines.console, fold(text))

    def update(
        self,
        trial: str,
        status: TrialStatus,
        epoch: int,
        epochs: int,
        metric: Number | None,
        best: Number | None,
        config: Mapping[str, Any],
        *,
        is_reference: bool = False,
        reason: str = "",
    ) -> None:
        """Take the newest state of a trial.

        Args:
            trial: Its name.
            status: What it does, or how it ended.
            epoch: Epochs done.
            epochs: Epochs planned.
            metric: The metric after the last epoch.
            best: The value by which the trial is compared so far: its best, or its last.
            config: Sampled hyperparameters, flat with dotted keys.
            is_reference: Whether the others are compared with it; it is never the best of them.
            reason: Why it failed, if it did.
        """
        old = self._trials.get(trial)
        has_changed = old is None or old.status != status
        order = next(self._orders) if old is None or has_changed else old.order
        new = Trial(trial, status, epoch, epochs, metric, best, config, order, is_reference)
        with self._lock:
            self._trials[trial] = new
            if old is None:
                self._progress_before += new.progress
        if not has_changed or not new.is_over:
            self.tick()
            return
        self._lines.print(self._trial_line(new))
        if reason and self._lines.console.is_terminal:
            self.note(f"{trial} {status} at epoch {new.epochs_text}: {reason}")
        elif reason:
            self._lines.print(fold(reason, 4 * " "))

    def tick(self) -> None:
        """Show in a log that the search is alive: a line if there was none for ten seconds."""
        if self._lines.is_due:
            self._lines.print(fold(self.totals()))

    def render(self) -> RenderableType:
        """The table, and below it the best trial, the counts and the time left."""
        with self._lock:
            rows = self._rows()
            columns = self._fixed_columns(rows)
            width = sum(self._width(column, cells) + GAP for column, cells in columns)
            columns += self._setting_columns(rows, self._lines.console.width - width)
            table = plain_table([column for column, _ in columns])
            for line in zip(*(cells for _, cells in columns), strict=True):
                table.add_row(*line)
            best, rest = self._best(), "; ".join((self._states(), self._times()))
            return Group(table, *([Text(best, style="bold")] if best else []), Text(rest, "dim"))

    def totals(self) -> str:
        """How many trials are in which state, the best so far, and times."""
        return "; ".join(filter(None, (self._states(), self._best(), self._times())))

    def _states(self) -> str:
        counts = Counter(trial.status for trial in self._trials.values())
        states = [f"{counts[status]} {status}" for status in STYLE if counts[status]]
        return f"{self._total} trials: {', '.join(states) or 'none started'}"

    def _best(self) -> str:
        """The best trial, and how far it is ahead of the reference."""
        trials = list(self._trials.values())
        best = best_value(trials, self._mode)
        if best is None:
            return ""
        name = next(trial.name for trial in trials if trial.can_win and trial.best == best)
        reference = next((trial for trial in trials if trial.is_reference), None)
        lead = lead_text(best, reference, self._mode)
        text = f"best {self._metric} {metric_text(best)} ({name})"
        return f"{text}, {lead}" if lead else text

    def _times(self) -> str:
        progress = sum(trial.progress for trial in self._trials.values())
        done = progress - self._progress_before
        left = time_left_text(self._lines.elapsed_s, done, self._total - progress)
        return f"{self._lines.elapsed_text}, {left}"

    @property
    def _total(self) -> int:
        return max(self._num_trials, len(self._trials))

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
        head = f"{trial.name} {trial.status} at epoch {trial.epochs_text}: {figures}"
        return beside_or_below(head, config)


def _bar(trial: Trial) -> ProgressBar:
    style, total = STYLE[trial.status], max(1, trial.epochs)
    return ProgressBar(
        total, trial.epoch, width=_BAR_WIDTH, complete_style=style, finished_style=style
    )


def _number_column(name: str) -> Column:
    """A narrow column, with a line for every word of its name."""
    return Column(name.replace(" ", "\n").replace("_", "\n").replace(".", ".\n"), justify="right")
