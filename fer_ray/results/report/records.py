"""What a report knows: of a run, of its test, of the trials of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fer_ray.config import RunConfig
from fer_ray.record.storage import Folder
from fer_ray.results.lead import Lead
from fer_ray.search.layout import best_row
from fer_ray.search.sweep import MetricMode

CHOSEN = "chosen"
"""The operating point of `prediction.prior`, beside those that are always reported."""
Status = Literal["done", "stopped", "failed", "infeasible", "unfinished"]
STATUS_TEXT: Mapping[Status, str] = {
    "done": "finished",
    "stopped": "stopped early",
    "failed": "failed",
    "infeasible": "infeasible",
    "unfinished": "not finished",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the networks of a run answer on the test set.

    Attributes:
        confusion: int64 [true class, answered class] by operating point, `CHOSEN` among them.
        label: int64 [image]; true classes, and
        answer: int64 [image] by operating point; both `None` where only the counts are kept.
    """

    confusion: Mapping[str, np.ndarray]
    label: np.ndarray | None
    answer: Mapping[str, np.ndarray] | None

    def is_right(self, point: str) -> np.ndarray | None:
        """Whether each image is answered right, if that is known."""
        if self.label is None or self.answer is None:
            return None
        right: np.ndarray = self.answer[point] == self.label
        return right


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One run, or one trial of a search.

    Attributes:
        name: Of its folder.
        folder: Where it lies.
        config: Nested content of its `config.yaml`.
        rows: A row per epoch.
        class_names: Names of the classes, in label order.
        metric: Key of what chooses the epoch.
        mode: Whether more or less of it is better.
        summary: Content of `summary.json`; `None` if the run was not tested.
        tested: Its test; `None` likewise.
        split: Arrays of `split.npz`; empty if there is none.
    """

    name: str
    folder: Folder
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    class_names: tuple[str, ...]
    metric: str
    mode: MetricMode
    summary: Mapping[str, Any] | None
    tested: Answers | None
    split: Mapping[str, np.ndarray]

    @property
    def shown_row(self) -> Mapping[str, Any]:
        """The epoch whose networks are tested: that of the summary, else the one so far."""
        if self.summary is not None:
            epoch = self.summary["best"]["epoch"]
            return next((row for row in self.rows if row["epoch"] == epoch), self.rows[-1])
        select = self.config.get("select", RunConfig().select)
        return best_row(self.rows, self.metric, self.mode, select) or self.rows[-1]

    @property
    def epochs(self) -> int:
        """Epochs planned."""
        return int(self.config["optim"]["epochs"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A trial of a search, as one row of its table.

    Attributes:
        name: Of its folder.
        status: How it ended.
        params: What was sampled, by dotted key.
        value: The value of the metric by which it is compared; `None` if it has none.
        best_epoch: When it had that.
        epochs: Epochs done.
        planned: Epochs planned.
        seconds: Of its training.
        failure: Why it has no result; empty if it has.
        curve: The metric over the epochs.
        command: Line of a shell that repeats it.
    """

    name: str
    status: Status
    params: Mapping[str, Any]
    value: float | None
    best_epoch: int | None
    epochs: int
    planned: int
    seconds: float
    failure: str
    curve: Sequence[tuple[int, float | None]]
    command: str

    @property
    def has_result(self) -> bool:
        """Whether it counts: it did not fail and has a value."""
        return self.value is not None and not self.failure


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFound:
    """A search.

    Attributes:
        name: Of its folder.
        folder: Where it lies.
        metric: Key of what is optimised.
        mode: Whether more or less of it is better.
        trials: All trials but the reference.
        reference: The trial of the reference; `None` if there is none.
        best: The trial that it ends with, the best one on validation unless the default one was
            kept; `None` if none has a result.
        best_run: Everything of it.
        lead: How far the best trial on validation is ahead of the default one; `None` if they are
            the same, or the search has not ended.
        default_test: Test of the first trial, which has the default configuration.
        reference_test: Test of the reference.
        has_ended: Whether the search has ended; else trials without a result may still get one.
        log_keys: Sampled keys whose values are drawn on a logarithmic scale.
        wall_s: Seconds it took; `None` if it has not ended.
        source: The space's file.
        overrides: Of the command line, by dotted key.
    """

    name: str
    folder: Folder
    metric: str
    mode: MetricMode
    trials: Sequence[Tried]
    reference: Tried | None
    best: Tried | None
    best_run: Trained | None
    lead: Lead | None
    default_test: Answers | None
    reference_test: Answers | None
    has_ended: bool
    log_keys: frozenset[str]
    wall_s: float | None
    source: Mapping[str, Any]
    overrides: Mapping[str, Any]

    @property
    def default(self) -> Tried | None:
        """The trial with the default configuration: the first."""
        return self.trials[0] if self.trials else None

    @property
    def metric_words(self) -> str:
        """The metric in words, such as `macro recall`."""
        return self.metric.removeprefix("val/").replace("/", ", ").replace("_", " ")

    def count(self, status: Status) -> int:
        """Number of trials that ended so."""
        return sum(trial.status == status for trial in self.trials)
