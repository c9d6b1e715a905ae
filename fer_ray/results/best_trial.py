"""The end of a search: a table of all trials, and the test of the best trial."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fer_ray.config import Select
from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.search.layout import (
    DEFAULT,
    FAILURE,
    PARAMS,
    REFERENCE,
    best_row,
)
from fer_ray.search.plan import SearchPlan
from fer_ray.search.sweep import MetricMode
from fer_ray.training.finish import (
    CHECKPOINTS,
    evaluation_device,
    finish_run,
    last_checkpoint,
    write_summary,
)
from fer_ray.training.runtime import resolve_gpus

_COLUMNS = ("trial", "epochs", "best_epoch", "best", "seconds", "failure")


def trial_table(
    search: Folder, metric: str, mode: MetricMode, select: Select
) -> list[dict[str, Any]]:
    """Read the files of all trials into a table.

    Returns:
        A row per trial, ordered by name, the reference last: `trial`, `epochs`, `best_epoch`,
        `best` (value of the metric in that epoch), `seconds`, `failure`, `params`.
    """
    table = []
    trials = sorted(name for name in search.names() if name.startswith("trial_"))
    for name in [*trials, REFERENCE]:
        folder = search / name
        if not folder.exists(PARAMS):
            continue
        rows = JsonLinesTracker(folder).rows
        best = best_row(rows, metric, mode, select)
        failure = json.loads(folder.read_text(FAILURE)) if folder.exists(FAILURE) else None
        table.append(
            {
                "trial": name,
                "epochs": rows[-1]["epoch"] if rows else 0,
                "best_epoch": best["epoch"] if best else None,
                "best": best[metric] if best else None,
                "seconds": sum(row["time/epoch_s"] for row in rows),
                "failure": f"{failure['kind']}: {failure['message']}" if failure else None,
                "params": json.loads(folder.read_text(PARAMS)),
            }
        )
    return table


def best_trial(table: Sequence[Mapping[str, Any]], mode: MetricMode) -> Mapping[str, Any] | None:
    """Return the first trial with the best value; `None` if all failed or have no value.

    The reference is none of them.
    """
    scored = [row for row in table if row["trial"] != REFERENCE and has_result(row)]
    sign = 1 if mode == "max" else -1
    return max(scored, key=lambda row: sign * float(row["best"]), default=None)


def has_result(row: Mapping[str, Any]) -> bool:
    """Return whether a trial of the table did not fail and has a value of the metric."""
    return row["failure"] is None and row["best"] is not None


def table_csv(table: Sequence[Mapping[str, Any]]) -> str:
    """Return the content of `trials.csv`: results and sampled values of every trial."""
    keys = list(dict.fromkeys(key for row in table for key in row["params"]))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=[*_COLUMNS, *keys])
    writer.writeheader()
    for row in table:
        writer.writerow({**{key: row[key] for key in _COLUMNS}, **row["params"]})
    return buffer.getvalue()


def finish_search(
    plan: SearchPlan,
    table: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
    wall_s: float,
    lead: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Test the best trial, the default one and the reference once; write the search's files.

    The default configuration is that of the first trial. Its test says what the search was worth:
    on validation, the best of many trials is ahead by luck too.

    Args:
        plan: The search.
        table: Its trials, from `trial_table`.
        best: The row of the trial to test.
        wall_s: Seconds that the search took.
        lead: How far the trial with the best value is ahead of the default one.

    Returns:
        The content of the search's `summary.json`.
    """
    summary = _test(plan, best)
    folder = plan.folder / best["trial"]
    trial = _figures(best, summary)
    num_trials = sum(row["trial"] != REFERENCE for row in table)
    head = {"metric": plan.space.metric, "mode": plan.space.mode, "num_trials": num_trials}
    whole = {**head, "wall_s": wall_s, **summary, "best": trial}
    if lead is not None:
        whole["lead"] = dict(lead)
    for row in table:
        if row["trial"] == REFERENCE:
            whole["reference"] = _reference(plan, row)
        elif row["trial"] == DEFAULT and row["trial"] != best["trial"]:
            whole["default"] = _default(plan, row)
    write_summary(plan.folder, whole)
    for name in ("confusion_matrix.csv", "confusion_matrix.png"):
        plan.folder.write_bytes(name, folder.read_bytes(name))
    return whole


def _test(plan: SearchPlan, row: Mapping[str, Any]) -> dict[str, Any]:
    """Test a trial once and write its files; return the content of its summary."""
    folder, device = plan.folder / row["trial"], evaluation_device()
    reference = plan.space.reference if row["trial"] == REFERENCE else None
    run = reference or plan.space.run_config(row["params"])
    run = resolve_gpus(run, 1.0 if device.type == "cuda" else 0.0)
    with last_checkpoint(folder / CHECKPOINTS) as checkpoint:
        summary, _ = finish_run(run, plan.data, checkpoint, folder, device)
    write_summary(folder, summary | {"wall_s": row["seconds"]})
    return summary


def _figures(row: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the search's summary says of one trial."""
    time = {"epochs": row["epochs"], "wall_s": row["seconds"]}
    return {"trial": row["trial"], **summary["best"], "config": row["params"], **time}


def _default(plan: SearchPlan, row: Mapping[str, Any]) -> dict[str, Any]:
    """Test the trial with the default configuration; if it has no result, return why."""
    if not has_result(row):
        return _without_result(row)
    summary = _test(plan, row)
    return {**_figures(row, summary), "test": summary["test"]}


def _without_result(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"trial": row["trial"], "failure": row["failure"] or "no epoch has a value"}


def _reference(plan: SearchPlan, row: Mapping[str, Any]) -> dict[str, Any]:
    """Test the reference; if it has no result, return why."""
    if not has_result(row):
        return _without_result(row)
    assert plan.space.reference is not None
    summary = _test(plan, row)
    method = plan.space.reference.to_dict()["method"]
    return {**_figures(row, summary), "config": {"method": method}, "test": summary["test"]}
