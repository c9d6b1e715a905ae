"""Warm-up epochs that runs share: trials that are equal up to their first split train them once.

Every epoch before the first split of a run is saved. Another run whose epochs would be equal to the
last bit loads them instead of training.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from fer_ray.config import RunConfig
from fer_ray.data.verified_file import verified_digest
from fer_ray.record.scratch import scratch_folder
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import TrainState, save_checkpoint
from fer_ray.training.distributed import rank
from fer_ray.training.handover import from_rank_zero

_COMPLETE = "complete"


def warmup_key(run: RunConfig) -> str | None:
    """Return a key that runs share if their epochs before the first split are the same.

    It is a hash of the configuration and of the file of verified labels. Of the method's fields it
    covers only `Method.warmup_fields`, those that affect the epochs before the first split. `None`
    if the method does not name any; its runs share nothing.
    """
    method = run.method
    if method.warmup_fields is None:
        return None
    config = run.to_dict()
    free = {item.name for item in fields(method)} - {"name", *method.warmup_fields}
    config["method"] = {key: x for key, x in config["method"].items() if key not in free}
    # The file of verified labels may get another content under its old name.
    text = json.dumps([config, verified_digest(run.data.verified)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class SharedWarmup:
    """The warm-up epochs in a folder that a run shares with other runs.

    Several runs may write at the same time, because every checkpoint has its own folder and counts
    only once it is complete. With several ranks, rank zero lists and writes, and all ranks read.
    """

    def __init__(self, folder: Folder, run: RunConfig) -> None:
        """Share the warm-ups in `folder` that fit `run`; nothing is created or read yet."""
        self._run = run
        key = warmup_key(run)
        self._folder = None if key is None else folder / key

    def after(self, epoch: int) -> list[str]:
        """Return the names of the checkpoints after `epoch`, one per epoch, up to the first gap.

        The result is the same on every rank.
        """
        return from_rank_zero(lambda: self._after(epoch))

    def _after(self, epoch: int) -> list[str]:
        found: list[str] = []
        if self._folder is None:
            return found
        by_epoch = {name.partition("-")[0]: name for name in self._complete()}
        while self._is_shared(epoch + 1) and _stem(epoch + 1) in by_epoch:
            epoch += 1
            found.append(by_epoch[_stem(epoch)])
        return found

    @contextmanager
    def open(self, name: str) -> Iterator[Path]:
        """Open a checkpoint as a folder on this machine; one in an object store is downloaded."""
        assert self._folder is not None
        if self._folder.is_local:
            yield self._folder.local_path / name
            return
        with scratch_folder() as scratch:
            yield self._folder.download(name, scratch)

    def keep(self, state: TrainState) -> None:
        """Save the epoch just finished if it belongs to the warm-up and is not there yet."""
        if rank() != 0 or self._folder is None or not self._is_shared(state.epoch):
            return
        stem = _stem(state.epoch)
        if any(name.startswith(stem) for name in self._complete()):
            return
        own = self._folder / f"{stem}-{secrets.token_hex(4)}"
        with scratch_folder() as scratch:
            save_checkpoint(state, self._run, scratch)
            own.copy_tree_from(scratch)
        own.write_text(_COMPLETE, "")

    def _complete(self) -> list[str]:
        assert self._folder is not None
        return [x for x in self._folder.names() if self._folder.exists(f"{x}/{_COMPLETE}")]

    def _is_shared(self, epoch: int) -> bool:
        num_epochs = self._run.optim.epochs
        return epoch <= num_epochs and self._run.method.is_warmup(epoch, num_epochs)


def _stem(epoch: int) -> str:
    return f"epoch_{epoch:04d}"
