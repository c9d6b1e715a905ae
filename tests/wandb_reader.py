"""Read back what an offline W&B run wrote: LevelDB's log framing around protobuf records."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK, _FILE_HEADER, _CHUNK_HEADER = 32768, 7, 7
_FULL, _FIRST, _LAST = 1, 2, 4


@dataclass
class OfflineRun:
    """The parts of a run that tests check."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    step_metric: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None


def read_runs(directory: Path) -> list[OfflineRun]:
    """Every offline run below a directory, sorted by the name of its file."""
    return [read_run(path) for path in sorted(directory.glob("**/offline-run-*/*.wandb"))]


def read_run(path: Path) -> OfflineRun:
    """One `.wandb` file; an incomplete record at the end is ignored."""
    result = OfflineRun()
    for record in _records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            result.run = record.run
            result.config |= _items(record.run.config.update)
        elif kind == "config":
            result.config |= _items(record.config.update)
        elif kind == "history":
            result.history.append(_items(record.history.item))
        elif kind == "summary":
            result.summary |= _items(record.summary.update)
        elif kind == "metric":
            name = record.metric.name or record.metric.glob_name
            result.step_metric[name] = record.metric.step_metric
        elif kind == "exit":
            result.exit_code = record.exit.exit_code
    return result


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[Any]:
    assert data[:4] == b":W&B"
    for payload in _payloads(data):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        yield record


def _payloads(data: bytes) -> Iterator[bytes]:
    position, payload = _FILE_HEADER, b""
    while position + _CHUNK_HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _CHUNK_HEADER:  # too short for a header: padding
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += _CHUNK_HEADER
        chunk = data[position : position + length]
        position += length
        if kind == 0 or len(chunk) < length:
            return
        payload = chunk if kind in (_FULL, _FIRST) else payload + chunk
        if kind in (_FULL, _LAST):
            yield payload
