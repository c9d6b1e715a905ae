"""Predictions as a table: csv, JSON lines or parquet, written while they are made."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from fer_ray.core.errors import ConfigError

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet")
_BY_SUFFIX: Mapping[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}

Row = Mapping[str, Any]
"""A value for each of `columns`; `None` where there is none."""
Write = Callable[[Sequence[Row]], None]


def columns(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of a table of predictions."""
    return ("path", "label", "probability", *classes, "error")


def choose_format(out: Path | None, asked: Format | None) -> Format:
    """The format that is asked for, else that of the file's ending; csv on standard output.

    Args:
        out: The file; `None` for standard output.
        asked: What the user wants; `None` for whatever fits.

    Raises:
        ConfigError: If the ending is not known, or parquet is to go to standard output.
    """
    if out is None:
        if asked == "parquet":
            raise ConfigError(
                "--format parquet: expected a file to write it to, got standard output. "
                "Add --out predictions.parquet"
            )
        return asked or "csv"
    if asked is None and out.suffix.lower() not in _BY_SUFFIX:
        raise ConfigError(
            f"--out {out}: expected an ending of {', '.join(_BY_SUFFIX)}, got {out.suffix!r}. "
            "Rename it, or say --format"
        )
    return asked or _BY_SUFFIX[out.suffix.lower()]


@contextmanager
def open_table(out: Path | None, kind: Format, classes: Sequence[str]) -> Iterator[Write]:
    """Open a table to write rows to; a file has its name only when it is complete.

    Args:
        out: The file; `None` for standard output.
        kind: Its format, from `choose_format`.
        classes: Names of the classes.
    """
    if out is None:
        yield _text_table(sys.stdout, kind, classes)
        sys.stdout.flush()
        return
    part = out.with_name(f".{out.name}.part")
    try:
        if kind == "parquet":
            with _parquet_table(part, classes) as write:
                yield write
        else:
            with part.open("w", encoding="utf-8", newline="") as file:
                yield _text_table(file, kind, classes)
        part.rename(out)
    finally:
        part.unlink(missing_ok=True)


def _text_table(file: Any, kind: Format, classes: Sequence[str]) -> Write:
    table = csv.DictWriter(file, columns(classes), lineterminator="\n")
    if kind == "csv":
        table.writeheader()

    def write(rows: Sequence[Row]) -> None:
        for row in rows:
            short = {k: round(x, 6) if isinstance(x, float) else x for k, x in row.items()}
            if kind == "csv":
                table.writerow(short)
            else:
                file.write(json.dumps(short, ensure_ascii=False) + "\n")

    return write


@contextmanager
def _parquet_table(path: Path, classes: Sequence[str]) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    texts = ("path", "label", "error")
    schema = pa.schema(
        [(key, pa.string() if key in texts else pa.float32()) for key in columns(classes)]
    )
    with parquet.ParquetWriter(path, schema) as writer:

        def write(rows: Sequence[Row]) -> None:
            writer.write_batch(pa.RecordBatch.from_pylist(list(rows), schema=schema))

        yield write
