"""Reads a search for its report: all trials, whether they ended or not, and the best of them."""

import json
import shlex
from collections.abc import Mapping
from typing import Any, cast, get_args

import yaml

from fer_ray.config import RunConfig, Select
from fer_ray.core.errors import ConfigError
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text
from fer_ray.results.best_trial import best_trial, trial_table
from fer_ray.results.lead import Lead
from fer_ray.results.report.reading import read_config, read_run, read_tested
from fer_ray.results.report.records import Answers, SearchFound, Status, Tried
from fer_ray.results.run_files import (
    CONFIG,
    SUMMARY,
    TRIALS,
    RunFolderError,
    damaged,
    names_in,
    read_summary,
    read_text,
    reading,
)
from fer_ray.search.layout import DEFAULT, FAILURE, REFERENCE, SEARCH
from fer_ray.search.sweep import MetricMode, flat_parameters, read_metric


def read_search(folder: Folder, names: list[str]) -> SearchFound:
    """Read a search with at least one trial that has an epoch or has failed.

    Raises:
        RunFolderError: If there is no such trial, or a file is damaged or of another version.
        StorageError: If the folder cannot be read.
    """
    source, overrides = _begun_with(folder)
    metric, mode = _metric(folder, source, overrides)
    with reading(folder):
        table = _table(folder, metric, mode, _select(folder, names, source, overrides))
    has_ended = TRIALS in names or SUMMARY in names
    tried = [_tried(folder, row, metric, has_ended=has_ended) for row in table]
    if not any(trial.epochs or trial.failure for trial in tried):
        raise RunFolderError.at(
            folder,
            expected="a search in which a trial has ended an epoch or failed",
            got=f"{len(tried)} trials begun, none with an epoch",
            remedy=f"Add --name {folder.name} --resume to its command.",
        )
    by_name = {trial.name: trial for trial in tried}
    summary = read_summary(folder) if SUMMARY in names else {}
    lead, best = _lead(folder, summary), best_trial(table, mode)
    if lead is not None and not lead.is_enough:
        best = next((row for row in table if row["trial"] == lead.over), best)
    best_folder = None if best is None else folder / best["trial"]
    return SearchFound(
        name=folder.name,
        folder=folder,
        metric=metric,
        mode=mode,
        trials=[trial for trial in tried if trial.name != REFERENCE],
        reference=by_name.get(REFERENCE),
        best=None if best is None else by_name[best["trial"]],
        best_run=best_folder and read_run(best_folder, names_in(best_folder), metric, mode),
        lead=lead,
        default_test=_test_of(folder / DEFAULT),
        reference_test=_test_of(folder / REFERENCE),
        has_ended=has_ended,
        log_keys=_log_keys(source),
        wall_s=summary.get("wall_s"),
        source=source,
        overrides=overrides,
    )


def _begun_with(folder: Folder) -> tuple[dict[str, Any], dict[str, Any]]:
    """The space and the overrides that a search was begun with."""
    try:
        stored = yaml.safe_load(read_text(folder, SEARCH))
        return dict(stored["space"]), dict(stored["overrides"])
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunFolderError.at(
            folder / SEARCH,
            expected="the space of a search",
            got=f"a file that is damaged or of another version ({error_text(error)[:200]})",
            remedy="Copy the folder anew, or search again.",
        ) from None


def _metric(
    folder: Folder, source: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[str, MetricMode]:
    try:
        metric, mode = read_metric(source, str(folder / SEARCH))
        return overrides.get("metric", metric), overrides.get("mode", mode)
    except ConfigError as error:
        raise RunFolderError(str(error)) from None


def _lead(folder: Folder, summary: Mapping[str, Any]) -> Lead | None:
    found = summary.get("lead")
    if found is None:
        return None
    try:
        return Lead.from_dict(found)
    except (KeyError, TypeError, ValueError):
        raise damaged(folder, "lead", "how far a trial is ahead of the default", found) from None


def _select(
    folder: Folder, names: list[str], source: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Select:
    """The epoch at which the trials are compared."""
    run = source.get("run")
    stored = read_summary(folder) if SUMMARY in names else overrides
    for known in (stored, run if isinstance(run, Mapping) else {}):
        if known.get("select") in get_args(Select):
            return cast(Select, known["select"])
    return RunConfig().select


def _table(folder: Folder, metric: str, mode: MetricMode, select: Select) -> list[dict[str, Any]]:
    try:
        return trial_table(folder, metric, mode, select)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunFolderError.at(
            folder,
            expected="the files of trials",
            got=f"one that is damaged or of another version ({error_text(error)[:200]})",
            remedy="Copy the folder anew, or search again.",
        ) from None


def _tried(search: Folder, row: Mapping[str, Any], metric: str, *, has_ended: bool) -> Tried:
    folder = search / row["trial"]
    config = read_config(folder) if folder.exists(CONFIG) else None
    planned = config["optim"]["epochs"] if config is not None else row["epochs"]
    return Tried(
        name=row["trial"],
        status=_status(folder, row, planned, has_ended=has_ended),
        params=row["params"],
        value=row["best"],
        best_epoch=row["best_epoch"],
        epochs=row["epochs"],
        planned=planned,
        seconds=float(row["seconds"]),
        failure=row["failure"] or "",
        curve=[(line["epoch"], line.get(metric)) for line in JsonLinesTracker(folder).rows],
        command="" if config is None else train_command(folder, config),
    )


def _status(folder: Folder, row: Mapping[str, Any], planned: int, *, has_ended: bool) -> Status:
    if row["failure"]:
        kind = json.loads(folder.read_text(FAILURE))["kind"]
        return "infeasible" if kind == "EmptySplitError" else "failed"
    if row["epochs"] and row["epochs"] >= planned:
        return "done"
    return "stopped" if has_ended and row["epochs"] else "unfinished"


def train_command(folder: Folder, config: Mapping[str, Any]) -> str:
    """The line of a shell that trains a run again: by its file, or if that is remote by its values.

    >>> train_command(Folder("/runs/a b"), {})
    "python -m fer_ray.train --config '/runs/a b/config.yaml'"
    """
    if folder.is_local:
        return f"python -m fer_ray.train --config {shlex.quote(str(folder / CONFIG))}"
    words = ["python", "-m", "fer_ray.train"]
    usual = _flat(RunConfig().to_dict())
    for key, value in _flat(config).items():
        if key.startswith("method.") or key not in usual or usual[key] != value:
            words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join(words)


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _test_of(folder: Folder) -> Answers | None:
    """The test of a trial, if it was tested."""
    names = names_in(folder)
    return read_tested(folder, read_summary(folder), names) if SUMMARY in names else None


def _log_keys(source: Mapping[str, Any]) -> frozenset[str]:
    """Keys whose distribution is logarithmic; none of a space that this version cannot read."""
    try:
        flat = flat_parameters(source["parameters"], SEARCH)
    except (ConfigError, KeyError):
        return frozenset()
    return frozenset(
        key
        for key, value in flat.items()
        if isinstance(value, Mapping) and "log" in str(value.get("distribution", ""))
    )
