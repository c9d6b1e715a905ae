"""The checkpoints in a run's folder: written whole, checked when they are read, the oldest deleted.

All runtimes use them, on this machine and in object stores. A checkpoint that a kill cut off does
not count, and for a damaged one the one before it is taken.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from fer_ray.record.scratch import scratch_folder
from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text
from fer_ray.training.checkpoint import FILES, Save, find_damage, retire
from fer_ray.training.handover import from_rank_zero

logger = logging.getLogger(__name__)

_STEM = "epoch_"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written; the message says which, why and what to do."""


class Checkpoints:
    """The checkpoints of a run, in folders named after their epochs."""

    def __init__(self, folder: Folder, keep: int = 2) -> None:
        """Look after the checkpoints in a folder; nothing is created or read yet.

        Args:
            folder: The folder that contains them.
            keep: How many are kept. With two, there is another if the newest is damaged.
        """
        self._folder, self._keep = folder, keep

    def write(self, epoch: int, save: Save) -> None:
        """Write the checkpoint of an epoch, then delete the oldest ones; on one rank.

        Raises:
            CheckpointError: If there is no space, or the folder cannot be written.
        """
        name = f"{_STEM}{epoch:04d}"
        target = self._folder / name
        try:
            self._folder.delete(name)  # what a kill has left of it
            if self._folder.is_local:
                save(target.make().local_path)
            else:
                self._upload(target, save)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            self._discard(name)
            raise CheckpointError(
                f"{target}: expected to write a checkpoint, got {error_text(error)}. Make space, "
                "or check the access to it, then resume"
            ) from error
        for old in self._names()[: -self._keep]:
            self._folder.delete(old)

    @contextmanager
    def newest(self) -> Iterator[Path | None]:
        """Open the newest checkpoint that is whole, on every rank; `None` if there is none.

        One in an object store is downloaded. A damaged one is named in a warning.
        """
        with nullcontext() if self._folder.is_local else scratch_folder() as scratch:
            name = from_rank_zero(lambda: self._newest_name(scratch))
            yield None if name is None else self._fetch(name, scratch)

    def retire(self) -> None:
        """Leave of a run that has ended one checkpoint, without the state that resuming needs."""
        names = self._names()
        if self._folder.is_local:  # one in an object store is not fetched to look for damage
            names = names[: names.index(newest) + 1] if (newest := self._newest_name(None)) else []
        for old in names[:-1]:
            self._folder.delete(old)
        for name in names[-1:]:
            retire(self._folder / name)

    def _newest_name(self, scratch: Path | None) -> str | None:
        damaged = False
        for name in reversed(self._names()):
            damage = find_damage(self._fetch(name, scratch))
            if damage is None:
                if damaged:
                    logger.warning("Going on from the checkpoint before it, %s", name)
                return name
            damaged = True
            logger.warning("%s", damage)
        if damaged:
            logger.warning("%s: no checkpoint is whole; starting from the first epoch", self)
        return None

    def __str__(self) -> str:
        return str(self._folder)

    def _names(self) -> list[str]:
        """Return the names of the checkpoints that were written to their end, the oldest first."""
        names = [name for name in self._folder.names() if name.startswith(_STEM)]
        return [name for name in names if self._folder.exists(f"{name}/{FILES}")]

    def _fetch(self, name: str, scratch: Path | None) -> Path:
        """Return a checkpoint as a folder on this machine."""
        if scratch is None:
            return (self._folder / name).local_path
        copy = scratch / name
        return copy if copy.exists() else self._folder.download(name, copy)

    def _upload(self, target: Folder, save: Save) -> None:
        """Upload a checkpoint; the store itself copies what is as in the one before it."""
        with scratch_folder() as scratch:
            save(scratch)
            listing = (scratch / FILES).read_bytes()
            (scratch / FILES).unlink()
            for name in self._copy_unchanged(target, json.loads(listing)):
                (scratch / name).unlink()
            target.copy_tree_from(scratch)
            target.write_bytes(FILES, listing)  # last, as on this machine

    def _copy_unchanged(self, target: Folder, written: dict[str, Any]) -> list[str]:
        """Let the store copy files from the newest checkpoint; return the names of those it has."""
        copied: list[str] = []
        for before in self._names()[-1:]:
            try:
                known = dict(json.loads((self._folder / before).read_text(FILES)))
                for name in (name for name in written if written[name] == known.get(name)):
                    target.copy_from(self._folder / before, name)
                    copied.append(name)
            except (OSError, ValueError, TypeError) as error:  # damaged: the rest is sent
                logger.debug("%s: not copied: %s", self._folder / before, error_text(error))
        return copied

    def _discard(self, name: str) -> None:
        try:
            self._folder.delete(name)
        except (OSError, RuntimeError) as error:
            logger.debug("%s: not deleted: %s", self._folder / name, error_text(error))
