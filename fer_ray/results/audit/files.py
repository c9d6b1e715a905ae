"""Writes an audit: a row for every image as CSV and parquet, and figures by class and by pair."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fer_ray.core.errors import ConfigError
from fer_ray.data.faces import CANNOT_TELL, UNLABELED
from fer_ray.data.packs.pack import Pack
from fer_ray.data.records import TEST
from fer_ray.record.rows import plain
from fer_ray.results.audit.beliefs import SOURCES, Beliefs
from fer_ray.results.audit.estimates import Estimate, estimates, pairs
from fer_ray.results.run_folder import FinishedRun

TABLE, PARQUET, PAIRS, CLASSES, SUMMARY = (
    "audit.csv",
    "audit.parquet",
    "pairs.csv",
    "classes.csv",
    "audit.json",
)
COLUMNS: Mapping[str, type] = {
    "rank": int,
    "rank_in_class": int,
    "score": float,
    "index": int,
    "path": str,
    "split": str,
    "given": str,
    "suggested": str,
    "prob_given_right": float,
    "prob_suggested": float,
    "agreement": float,
    "epochs_kept": float,
    "epochs_divided": int,
    "trained": str,
    "verified": str,
    "source": str,
}
"""Columns of the table and what they hold; values may be missing."""


def new_folder(out: Path) -> Path:
    """Refuse an output folder that exists.

    Raises:
        ConfigError: If something is there.
    """
    if out.exists():
        raise ConfigError(
            f"--out {out}: expected no such folder, got something there. Choose another --out, or "
            "remove it."
        )
    return out


def write_audit(run: FinishedRun, beliefs: Beliefs, pack: Pack, out: Path) -> list[Estimate]:
    """Write all files of an audit but the review page; returns the estimates by class."""
    import pyarrow as pa
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    found, by_pair = estimates(beliefs), pairs(beliefs)
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    table = pa.table(columns(beliefs, pack), schema=schema)
    out.mkdir(parents=True)
    pacsv.write_csv(table, out / TABLE, pacsv.WriteOptions(quoting_style="needed"))
    pq.write_table(table, out / PARQUET)
    write_csv(out / CLASSES, [_rounded(asdict(one)) for one in found])
    write_csv(out / PAIRS, by_pair)
    text = json.dumps(plain(_summary(run, beliefs, pack, found)), indent=2) + "\n"
    (out / SUMMARY).write_text(text, encoding="utf-8")
    return found


def columns(beliefs: Beliefs, pack: Pack) -> dict[str, Any]:
    """The columns of the table: open images first, the likeliest error first of all.

    Verified images and those without a label have no rank; they come last.
    """
    ranking = beliefs.ranking
    rest = np.flatnonzero(~beliefs.is_open)
    order = np.concatenate([ranking, rest])
    rank = [*range(1, len(ranking) + 1), *([None] * len(rest))]
    names = dict(enumerate(beliefs.class_names)) | {CANNOT_TELL: "cannot tell"}
    place = places_in(pack, beliefs.row)
    num_splits = beliefs.num_splits or None
    return {
        "rank": rank,
        "rank_in_class": _rank_in_class(beliefs.given[order], len(ranking)),
        "score": _numbers(beliefs.score[order]),
        "index": beliefs.row[order],
        "path": [str(pack.path[place[i]]) for i in order],
        "split": ["train" if beliefs.is_train[i] else "val" for i in order],
        "given": [names.get(int(beliefs.given[i])) for i in order],
        "suggested": [names[int(beliefs.suggested[i])] for i in order],
        "prob_given_right": _numbers(beliefs.prob_given_right[order]),
        "prob_suggested": _numbers(beliefs.prob_suggested[order]),
        "agreement": _numbers(beliefs.agreement[order]),
        "epochs_kept": _numbers(beliefs.kept[order]),
        "epochs_divided": [num_splits if beliefs.is_train[i] else None for i in order],
        "trained": [names.get(int(beliefs.trained[i])) for i in order],
        "verified": [names.get(int(beliefs.verified[i])) for i in order],
        "source": [beliefs.source[i] for i in order],
    }


def places_in(pack: Pack, row: np.ndarray) -> np.ndarray:
    """Where images that are not tested on lie in their pack, by their row in the source."""
    candidates = np.flatnonzero(pack.subset != TEST)
    order = candidates[np.argsort(pack.row[candidates], kind="stable")]
    places: np.ndarray = order[np.searchsorted(pack.row[order], row)]
    assert np.array_equal(pack.row[places], row), "the pack is that of the data set"
    return places


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the same keys."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(buffer.getvalue(), encoding="utf-8")


def _summary(
    run: FinishedRun, beliefs: Beliefs, pack: Pack, found: Sequence[Estimate]
) -> dict[str, Any]:
    used = Counter(beliefs.source)
    return {
        "run": run.folder.name,
        "method": run.config.method.label,
        "data": pack.name,
        "classes": list(beliefs.class_names),
        "images": len(beliefs),
        "training_images": int(beliefs.is_train.sum()),
        "without_label": int((beliefs.given == UNLABELED).sum()),
        "sources": {key: {"images": num, "what": SOURCES[key]} for key, num in used.items()},
        "wrong": [_rounded(asdict(one)) for one in found],
    }


def _rank_in_class(given: np.ndarray, num_open: int) -> list[int | None]:
    seen = Counter[int]()
    ranks: list[int | None] = []
    for label in given[:num_open].tolist():
        seen[label] += 1
        ranks.append(seen[label])
    return ranks + [None] * (len(given) - num_open)


def _numbers(values: np.ndarray) -> list[float | None]:
    """Numbers with four digits; none where there is none."""
    return [round(value, 4) if value == value else None for value in values.tolist()]


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(x, 1) if isinstance(x, float) else x for key, x in row.items()}
