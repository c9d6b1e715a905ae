"""Records a search in the driver: rows, W&B runs, and the live table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import ray
import yaml
from ray import tune

from fer_ray.config import RunConfig
from fer_ray.on_ray.lost import loss_in
from fer_ray.on_ray.trial import FAILURE_KEY
from fer_ray.on_ray.waiting import Waiting
from fer_ray.on_ray.wandb_trials import WandbTrials, was_stopped
from fer_ray.record.plots import confusion_png, losses_png
from fer_ray.record.rows import JsonLinesTracker, plain
from fer_ray.record.starving import first_starving
from fer_ray.record.storage import Folder
from fer_ray.record.text import metric_name
from fer_ray.record.trackers import NullTracker, Tracker
from fer_ray.record.trial_table import TrialTable
from fer_ray.record.wandb_library import WandbMode
from fer_ray.search.layout import (
    DRAW,
    END,
    FAILURE,
    PARAMS,
    best_row,
    is_reference,
    run_of,
    sampled,
    trial_name,
)
from fer_ray.search.space import SearchSpace
from fer_ray.search.stored import StoredTrial
from fer_ray.training.checkpoints import CheckpointError, Checkpoints
from fer_ray.training.finish import CHECKPOINTS

TrialEnd = Literal["done", "stopped", "failed", "infeasible"]


class SearchLog(tune.Callback):
    """A Tune callback that records a search: rows, W&B runs, and the live table.

    It holds only settings until `setup`, because Tune pickles it with the experiment.
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        folder: Folder,
        class_names: tuple[str, ...],
        num_trials: int,
        wandb: WandbMode,
        wandb_dir: str,
        ended: Sequence[StoredTrial] = (),
    ) -> None:
        self._settings: dict[str, Any] = {
            "space": space,
            "folder": folder,
            "class_names": class_names,
            "num_trials": num_trials,
            "wandb": wandb,
            "wandb_dir": wandb_dir,
            "ended": list(ended),
        }
        self._restore()

    def __getstate__(self) -> dict[str, Any]:
        return self._settings

    def __setstate__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._restore()

    def _restore(self) -> None:
        self._space: SearchSpace = self._settings["space"]
        self._folder: Folder = self._settings["folder"]
        self._names: tuple[str, ...] = self._settings["class_names"]
        self._runs: dict[str, RunConfig] = {}
        self._rows: dict[str, JsonLinesTracker] = {}
        self._wandb: dict[str, Tracker] = {}
        self._failures: dict[str, dict[str, str]] = {}
        self._table: TrialTable | None = None
        self._has_explained_stop = False
        self._waiting = Waiting(ray.cluster_resources)

    def setup(self, **info: Any) -> None:
        """Open the table when the experiment starts or is resumed."""
        del info
        directory = Path(self._settings["wandb_dir"])
        self._trials = WandbTrials(self._folder, directory, self._names, self._settings["wandb"])
        self._table = TrialTable(
            self._settings["num_trials"], metric=self._space.metric, mode=self._space.mode
        )
        self._table.__enter__()
        for stored in self._settings["ended"]:
            self._show_ended(stored)

    def _show_ended(self, stored: StoredTrial) -> None:
        """Show a trial that had ended before the search was resumed."""
        folder = self._folder / stored.name
        self._rows[stored.name] = JsonLinesTracker(folder)
        Checkpoints(folder / CHECKPOINTS).retire()  # a command may have been killed before it did
        if folder.exists(FAILURE):
            self._failures[stored.name] = json.loads(folder.read_text(FAILURE))
        self._show(stored, self._status(stored))

    def close(self) -> None:
        """Close everything that is open; in W&B, trials that did not end are marked as failed."""
        for name in list(self._wandb):
            self._wandb.pop(name).finish(failed=True)
        if self._table is not None:
            self._table.__exit__(None, None, None)
            self._table = None

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        """Update the table, so that it shows progress while processes start."""
        del iteration, info
        if self._table is not None:
            self._table.tick()
            text = self._waiting.note(trials)
            if text is not None:
                self._table.note(text)

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Show the trial as running and open its records."""
        del iteration, trials, info
        self._open(trial)
        self._show(trial, "running")

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record the row of an epoch, or the failure that the trial reports instead."""
        del iteration, trials, info
        name = trial_name(trial.config)
        rows, wandb = self._open(trial)
        if FAILURE_KEY in result:
            self._failures[name] = result[FAILURE_KEY]
            (self._folder / name).write_text(FAILURE, json.dumps(result[FAILURE_KEY]) + "\n")
            return
        row = {key: value for key, value in result.items() if key == "epoch" or "/" in key}
        is_said = bool(first_starving(rows.rows))  # in an earlier session too
        if not rows.rows or row["epoch"] > rows.rows[-1]["epoch"]:  # a resumed trial repeats one
            rows.log(row)
            wandb.log(row)
        self._show(trial, "running")
        if not is_said:
            self._warn_of_starving(name, rows.rows)

    def _warn_of_starving(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Say the first time that a split leaves classes of a trial hardly a label."""
        first = first_starving(rows)
        if first and self._table is not None:
            epoch = min(first.values())
            names = ", ".join(key for key, value in first.items() if value == epoch)
            self._table.note(f"note: {name}: hardly a label of {names} left at epoch {epoch}")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Finish a trial that reached its end or was stopped early."""
        del iteration, trials, info
        self._open(trial)
        self._finish(trial, self._status(trial))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Finish a trial that Tune gave up on."""
        del iteration, trials, info
        error = trial.get_error()
        loss = loss_in(error, trial.num_failures)
        kind, message = loss or (type(error).__name__, str(error)[-2000:])
        failure = {"kind": kind, "message": message}
        self._failures[trial_name(trial.config)] = failure
        (self._folder / trial_name(trial.config)).write_text(FAILURE, json.dumps(failure) + "\n")
        self._finish(trial, "failed", retry=True)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Say that a trial is started again because its process was lost."""
        del iteration, trials, info
        if self._table is not None and loss_in(trial.get_error() or "", 1) is not None:
            name = trial_name(trial.config)
            self._table.note(f"note: {name} has lost its process; it goes on from its last epoch")

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        """Close everything."""
        del trials, info
        self.close()

    def _status(self, trial: Any) -> TrialEnd:
        """Return how a trial ended, judging by its rows and its recorded failure."""
        name = trial_name(trial.config)
        if name in self._failures:
            empty = self._failures[name]["kind"] == "EmptySplitError"
            return "infeasible" if empty else "failed"
        rows = self._rows[name].rows
        is_done = rows and rows[-1]["epoch"] >= self._run(trial).optim.epochs
        return "done" if is_done else "stopped"

    def _run(self, trial: Any) -> RunConfig:
        name = trial_name(trial.config)
        if name not in self._runs:
            self._runs[name] = run_of(self._space, trial.config)
        return self._runs[name]

    def _open(self, trial: Any) -> tuple[JsonLinesTracker, Tracker]:
        name = trial_name(trial.config)
        if name not in self._rows:
            folder = self._folder / name
            resume = folder.exists("metrics.jsonl")
            folder.delete(FAILURE)
            folder.delete(END)
            folder.write_text(PARAMS, json.dumps(sampled(trial.config)) + "\n")
            draw = {key: value for key, value in trial.config.items() if key != "trial"}
            folder.write_text(DRAW, json.dumps(draw) + "\n")
            config = yaml.safe_dump(self._run(trial).to_dict(), sort_keys=False)
            folder.write_text("config.yaml", config)
            self._rows[name] = JsonLinesTracker(folder)
            self._wandb[name] = self._trials.open(name, self._run(trial), resume=resume)
        return self._rows[name], self._wandb.get(name, NullTracker())

    def _finish(self, trial: Any, status: TrialEnd, *, retry: bool = False) -> None:
        name = trial_name(trial.config)
        rows, wandb = self._open(trial)
        self._show(trial, status)
        wandb.finish(
            failed=status in ("failed", "infeasible"),
            summary={"status": status, **self._best(rows.rows), **self._failures.get(name, {})},
            pictures=self._pictures(rows.rows),
        )
        self._wandb.pop(name, None)
        # What a full disk has stopped may go on.
        retry = retry or self._failures.get(name, {}).get("kind") == CheckpointError.__name__
        value = (trial.last_result or {}).get(self._space.metric)
        end = plain({"status": status, "value": None if retry else value, "retry": retry})
        (self._folder / name).write_text(END, json.dumps(end) + "\n")
        if not retry:
            Checkpoints(self._folder / name / CHECKPOINTS).retire()

    def _best(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The best value of the metric, by which W&B compares trials; else it takes the last."""
        best = self._chosen(rows)
        if best is None:
            return {}
        return {self._space.metric: best[self._space.metric], "best_epoch": best["epoch"]}

    def _chosen(self, rows: list[dict[str, Any]]) -> Mapping[str, Any] | None:
        """The epoch by which a trial is compared with others."""
        space = self._space
        return best_row(rows, space.metric, space.mode, space.select)

    def _pictures(self, rows: list[dict[str, Any]]) -> dict[str, bytes]:
        """Draw the best epoch's confusion matrix and the last histogram of losses, for W&B."""
        best = self._chosen(rows)
        if best is None or self._trials.mode == "disabled":
            return {}
        title = f"Validation, epoch {best['epoch']}"
        pictures = {"val/confusion_best": confusion_png(best["val/confusion"], self._names, title)}
        divided = [row for row in rows if "split/histogram" in row]
        if divided:
            last = divided[-1]
            pictures["split/losses"] = losses_png(
                last["split/histogram"], last.get("split/mixture"), f"Losses, epoch {last['epoch']}"
            )
        return pictures

    def _show(self, trial: Any, status: TrialEnd | Literal["running"]) -> None:
        if self._table is None:
            return
        name = trial_name(trial.config)
        rows, failure = self._rows[name].rows, self._failures.get(name)
        best = self._chosen(rows)
        self._table.update(
            name,
            status,
            rows[-1]["epoch"] if rows else 0,
            self._run(trial).optim.epochs,
            rows[-1][self._space.metric] if rows else None,
            best[self._space.metric] if best else None,
            sampled(trial.config),
            is_reference=is_reference(trial.config),
            reason=f"{failure['kind']}: {failure['message']}" if failure else "",
        )
        if status == "stopped" and not self._has_explained_stop:
            self._has_explained_stop = True
            self._table.note(f"note: {self._stop_text(name, rows[-1]['epoch'])}")

    def _stop_text(self, name: str, epoch: int) -> str:
        """What it means that a trial was stopped early; said of the first one only."""
        if was_stopped(name):
            return f"{name} was stopped on its page of W&B, after {epoch} epochs"
        metric, stop = metric_name(self._space.metric), self._space.early_terminate
        share = f"the best one in {stop.eta:g}" if stop else "the best"
        return (
            f"{name} was stopped early: after {epoch} epochs its {metric} was not among {share} "
            "of the trials that had come so far (early_terminate)"
        )
