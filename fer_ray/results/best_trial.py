"""The end of a search: a table of all trials, and the test of the best trial."""

import csv
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_ray.record.rows import JsonLinesTracker
from fer_ray.record.storage import Folder
from fer_ray.search.layout import FAILURE, PARAMS, best_row, checkpoints_of
from fer_ray.search.plan import SearchPlan
from fer_ray.search.sweep import MetricMode
from fer_ray.training.finish import (
    evaluation_device,
    finish_run,
    newest_checkpoint,
    write_summary,
)
from fer_ray.training.runtime import resolve_gpus

_COLUMNS = ("trial", "epochs", "best_epoch", "best", "seconds", "failure")


def trial_table(search: Folder, metric: str, mode: MetricMode) -> list[dict[str, Any]]:
    """Read the files of all trials into a table.

    Returns:
        A row per trial, ordered by name: `trial`, `epochs`, `best_epoch`, `best` (value of the
        metric), `seconds`, `failure`, `params`.
    """
    table = []
    for name in search.names():
        folder = search / name
        if not name.startswith("trial_") or not folder.exists(PARAMS):
            continue
        rows = JsonLinesTracker(folder).rows
        best = best_row(rows, metric, mode)
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
    """Return the first trial with the best value; `None` if all failed or have no value."""
    scored = [row for row in table if row["failure"] is None and row["best"] is not None]
    sign = 1 if mode == "max" else -1
    return max(scored, key=lambda row: sign * float(row["best"]), default=None)


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
    plan: SearchPlan, table: Sequence[Mapping[str, Any]], best: Mapping[str, Any], wall_s: float
) -> dict[str, Any]:
    """Test the best trial once, and write its files and those of the search.

    Args:
        plan: The search.
        table: Its trials, from `trial_table`.
        best: The row of the trial to test.
        wall_s: Seconds that the search took.

    Returns:
        The content of the trial's `summary.json`, but for `wall_s`.
    """
    folder, device = plan.folder / best["trial"], evaluation_device()
    run = plan.space.run_config(best["params"])
    run = resolve_gpus(run, 1.0 if device.type == "cuda" else 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = newest_checkpoint(checkpoints_of(plan.folder, best["trial"]), Path(scratch))
        summary, _ = finish_run(run, plan.data, checkpoint, folder, device)
    write_summary(folder, summary | {"wall_s": best["seconds"]})
    trial = {"trial": best["trial"], **summary["best"], "config": best["params"]}
    head = {"metric": plan.space.metric, "mode": plan.space.mode, "num_trials": len(table)}
    write_summary(plan.folder, {**head, "wall_s": wall_s, **summary, "best": trial})
    for name in ("confusion_matrix.csv", "confusion_matrix.png"):
        plan.folder.write_bytes(name, folder.read_bytes(name))
    return summary
