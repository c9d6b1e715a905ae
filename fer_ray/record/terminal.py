"""What a person sees in a terminal: the trials of a search, the epochs of a run, final tables.

On a terminal the views are live; in a log file they become a few short lines.
"""

import itertools
import math
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

Number = int | float
TrialStatus = Literal["pending", "running", "stopped", "done", "failed", "infeasible"]

_STYLE: dict[TrialStatus, str] = {
    "running": "bold cyan",
    "done": "green",
    "stopped": "yellow",
    "failed": "bold red",
    "infeasible": "magenta",
    "pending": "dim",
}
_ViewT = TypeVar("_ViewT", bound="_View")
_MAX_ROWS, _LINE_EVERY_S = 15, 10.0
_BAR, _TRIAL_WIDTH, _CONFIG_WIDTH, _GAP = 8, 14, 12, 2


class _View:
    """Live on a terminal, redrawn at most four times a second; lines now and then elsewhere."""

    def __init__(self, console: Console | None, clock: Callable[[], float]) -> None:
        self.console = console or Console()
        self._clock, self._lock = clock, threading.Lock()
        self._start = self._last_line = clock()
        self._live: Live | None = None

    def render(self) -> RenderableType:
        """What the terminal shows now."""
        raise NotImplementedError

    def _locked_render(self) -> RenderableType:
        with self._lock:  # rich draws from a thread of its own
            return self.render()

    def __enter__(self: _ViewT) -> _ViewT:
        self._start = self._last_line = self._clock()
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._locked_render, console=self.console, refresh_per_second=4
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

    def _line(self, line: str) -> None:
        if not self.console.is_terminal:
            self._last_line = self._clock()
            self.console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _line_is_due(self) -> bool:
        return self._clock() - self._last_line >= _LINE_EVERY_S

    def _elapsed(self) -> str:
        return f"{_duration(self._clock() - self._start)} elapsed"

    def _left(self, done: Number, left: Number) -> str:
        """The time that is left at the pace since the start; a dash before there is a pace."""
        pace_s = (self._clock() - self._start) / done if done > 0 else math.nan
        return f"{_duration(pace_s * left)} left"


@dataclass(frozen=True, slots=True)
class _Trial:
    name: str
    status: TrialStatus
    epoch: int
    epochs: int
    metric: Number | None
    best: Number | None
    config: Mapping[str, Any]
    order: int  # grows with every change of a status

    @property
    def is_over(self) -> bool:
        return self.status not in ("pending", "running")

    @property
    def can_win(self) -> bool:
        return self.status not in ("failed", "infeasible")

    @property
    def progress(self) -> float:
        return 1.0 if self.is_over else min(1.0, self.epoch / max(1, self.epochs))


class TrialTable(_View):
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
            metric: Key of the metric that decides.
            mode: Whether more or less of it is better.
            console: Where to draw; standard output by default.
            clock: Seconds, for elapsed times.
        """
        super().__init__(console, clock)
        self._num_trials, self._metric, self._mode = num_trials, metric.split("/")[-1], mode
        self._trials: dict[str, _Trial] = {}
        self._orders = itertools.count()
        self._head_start = 0.0  # progress that a resumed search begins with

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
            config: What was sampled, flat with dotted keys.
        """
        with self._lock:
            old = self._trials.get(trial)
            has_changed = old is None or old.status != status
            order = next(self._orders) if old is None or has_changed else old.order
            new = _Trial(trial, status, epoch, epochs, metric, best, config, order)
            self._trials[trial] = new
            if old is None:
                self._head_start += new.progress
        if has_changed and new.is_over:
            self._line(self._trial_line(new))
        elif self._line_is_due():
            self._line(self.totals())

    def tick(self) -> None:
        """Let a log know that the search is alive, where nothing else did for ten seconds."""
        if self._line_is_due():
            self._line(self.totals())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._line(self.totals())

    def render(self) -> RenderableType:
        """The table and the line below it."""
        rows = self._rows()
        columns = [
            Column("trial"),
            Column("status"),
            Column("epoch"),
            Column(_stacked(self._metric), justify="right"),
            Column("best", justify="right"),
        ]
        cells = [
            [
                Text(_tail(row.name, _TRIAL_WIDTH)),
                Text(row.status, style=_STYLE[row.status]),
                _bar(row.epoch / max(1, row.epochs), _BAR).append(f" {_epochs(row)}", style="none"),
                Text(_value(row.metric)),
                Text(
                    _value(row.best),
                    style="bold" if row.can_win and row.best == self._best() else "",
                ),
            ]
            for row in rows
        ]
        self._add_config(columns, cells, rows)
        table = _plain_table(columns)
        for line in cells:
            table.add_row(*line)
        return Group(table, Text(self.totals(), style="dim"))

    def totals(self) -> str:
        """How many trials are in which state, the best so far, and times."""
        trials = list(self._trials.values())
        counts = Counter(trial.status for trial in trials)
        total = max(self._num_trials, len(trials))
        states = [f"{counts[status]} {status}" for status in _STYLE if counts[status]]
        parts = [f"{total} trials: {', '.join(states) or 'none started'}"]
        best = self._best()
        if best is not None:
            name = next(trial.name for trial in trials if trial.can_win and trial.best == best)
            parts.append(f"best {self._metric} {_value(best)} ({name})")
        progress = sum(trial.progress for trial in trials)
        left = self._left(progress - self._head_start, total - progress)
        parts.append(f"{self._elapsed()}, {left}")
        return "; ".join(parts)

    def _rows(self) -> list[_Trial]:
        """Running trials, newest first, then those that ended last, then those that wait."""
        rank = {"running": 0, "pending": 2}
        trials = sorted(self._trials.values(), key=lambda t: (rank.get(t.status, 1), -t.order))
        return trials[:_MAX_ROWS]

    def _best(self) -> Number | None:
        """The best value of all trials but failed ones, which cannot win a search."""
        values = [t.best for t in self._trials.values() if t.can_win and t.best is not None]
        finite = [value for value in values if math.isfinite(value)]
        pick = max if self._mode == "max" else min
        return pick(finite, default=None)

    def _add_config(
        self, columns: list[Column], cells: list[list[Text]], rows: Sequence[_Trial]
    ) -> None:
        """Append sampled values, one column a key, while they fit the width."""
        fixed = zip(*([Text(str(column.header)) for column in columns], *cells), strict=True)
        left = self.console.width - sum(_widest(column) + _GAP for column in fixed)
        keys = list(dict.fromkeys(key for trial in self._trials.values() for key in trial.config))
        for key, name in zip(keys, short_names(keys), strict=True):
            values = [Text(_short(row.config.get(key, ""))) for row in rows]
            header = _stacked(name)
            width = min(_CONFIG_WIDTH, _widest([Text(header), *values]))
            if left < width:
                break
            left -= width + _GAP
            columns.append(Column(header, max_width=width, justify="right"))
            for line, value in zip(cells, values, strict=True):
                line.append(value)

    def _trial_line(self, trial: _Trial) -> str:
        names = short_names(list(trial.config))
        values = zip(names, trial.config.values(), strict=True)
        config = " ".join(f"{name}={_short(value)}" for name, value in values)
        figures = f"{self._metric} {_value(trial.metric)}, best {_value(trial.best)}"
        return f"{trial.name} {trial.status} at epoch {_epochs(trial)}: {figures}; {config}"


class EpochProgress(_View):
    """The epochs of one run: a live bar, or in a log a line at most every ten seconds."""

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
            done: Epochs that a resumed run has behind it.
            console: Where to draw; standard output by default.
            clock: Seconds, for elapsed times.
        """
        super().__init__(console, clock)
        self._epochs, self._done = epochs, done
        self._row: Mapping[str, Any] = {"epoch": done}

    def update(self, row: Mapping[str, Any]) -> None:
        """Take the row of an epoch."""
        with self._lock:
            self._row = row
        if self._line_is_due() or row["epoch"] in (self._done + 1, self._epochs):
            epochs = f"epoch {row['epoch']}/{self._epochs}"
            self._line(f"{epochs}: {self._figures()}, {self._elapsed()}")

    def render(self) -> RenderableType:
        """Bar and figures."""
        epoch = self._row["epoch"]
        text = Text(f"epoch {epoch}/{self._epochs} ", style="bold")
        text.append(_bar(epoch / max(1, self._epochs), _BAR))
        return text.append(f" {self._figures()}", style="not bold")

    def _figures(self) -> str:
        named = {"train/loss": "loss", "val/macro_recall": "macro recall"}
        parts = [
            f"{name} {_value(self._row[key])}" for key, name in named.items() if key in self._row
        ]
        if speed := self._row.get("time/images_per_s"):
            parts.append(f"{speed:,.0f} img/s")
        epoch = self._row["epoch"]
        return ", ".join([*parts, self._left(epoch - self._done, self._epochs - epoch)])


def recall_table(
    recall: Mapping[str, Number],
    macro_recall: Number,
    accuracy: Number,
    support: Mapping[str, int],
) -> Table:
    """Recall of every class with its number of images, then the two means."""
    columns = [
        Column("class"),
        Column("images", justify="right"),
        Column("recall", justify="right"),
    ]
    table = _plain_table([*columns, Column("")])
    for name, value in recall.items():
        table.add_row(name, f"{support.get(name, 0):,}", _value(value), _bar(value, 20))
    total = f"{sum(support.values()):,}"
    table.add_row("macro recall", "", _value(macro_recall), _bar(macro_recall, 20), style="bold")
    table.add_row("accuracy", total, _value(accuracy), _bar(accuracy, 20))
    return table


def confusion_table(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> Table:
    """Counts: rows are true classes, columns predictions by the first letters of their names."""
    columns = [Column("true", no_wrap=True)]
    columns += [Column(name, justify="right", no_wrap=True) for name in abbreviate(class_names)]
    table = _plain_table([*columns, Column("recall", justify="right")], gap=1)
    for index, (name, line) in enumerate(zip(class_names, counts, strict=True)):
        total = sum(line)
        cells = [
            Text(str(count), style=_cell_style(count, total, on_diagonal=column == index))
            for column, count in enumerate(line)
        ]
        table.add_row(name, *cells, _value(line[index] / total if total else None))
    return table


def error_paragraph(message: str) -> None:
    """Print `error: ...` to standard error, wrapped if that is a terminal."""
    console = Console(stderr=True)
    text = f"error: {message}"
    if console.is_terminal:
        text = textwrap.fill(text, console.width, break_long_words=False, break_on_hyphens=False)
    line = Text(text)
    line.stylize("bold red", 0, len("error:"))
    console.print(line, soft_wrap=True, highlight=False)


def short_names(keys: Sequence[str]) -> list[str]:
    """The last part of each dotted key, or as many parts as it takes to tell them apart.

    >>> short_names(["optim.lr", "method.thresholds.fear", "method.weights.fear"])
    ['lr', 'thresholds.fear', 'weights.fear']
    """
    names = []
    for key in keys:
        parts = key.split(".")
        tails = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
        others = [f".{other}" for other in keys if other != key]
        unique = (tail for tail in tails if not any(o.endswith(f".{tail}") for o in others))
        names.append(next(unique, key))
    return names


def abbreviate(names: Sequence[str], letters: int = 4) -> list[str]:
    """The first letters of each name, more where four do not tell all of them apart.

    >>> abbreviate(["happiness", "fear", "anger"])
    ['happ', 'fear', 'ange']
    """
    short = [name[:letters] for name in names]
    is_enough = len(set(short)) == len(set(names)) or letters >= max(map(len, names))
    return short if is_enough else abbreviate(names, letters + 1)


def _plain_table(columns: Sequence[Column], gap: int = _GAP) -> Table:
    for column in columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    return Table(*columns, box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")


def _stacked(name: str) -> str:
    """A name with a line for every word, for the head of a narrow column."""
    return name.replace("_", "\n").replace(".", ".\n")


def _widest(cells: Iterable[Text]) -> int:
    return max((len(line) for cell in cells for line in cell.plain.split("\n")), default=0)


def _cell_style(count: int, total: int, *, on_diagonal: bool) -> str:
    if on_diagonal:
        return "bold green"
    if count == 0:
        return "dim"
    return "yellow" if count >= 0.2 * total else ""


def _bar(fraction: Number, width: int) -> Text:
    share = min(1.0, max(0.0, fraction)) if math.isfinite(fraction) else 0.0
    filled = round(share * width)
    return Text("━" * filled, style="cyan").append("─" * (width - filled), style="dim")


def _epochs(trial: _Trial) -> str:
    return f"{trial.epoch}/{trial.epochs}"


def _value(value: Number | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _tail(name: str, width: int) -> str:
    return name if len(name) <= width else f"…{name[1 - width :]}"


def _duration(seconds: Number) -> str:
    if not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
