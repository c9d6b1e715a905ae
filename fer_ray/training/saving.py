"""Writes a run's checkpoints: at once while that is quick, else while the next epoch trains."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from fer_ray.config import RunConfig
from fer_ray.training.checkpoint import Save, TrainState, copied_save, save_checkpoint
from fer_ray.training.handover import from_rank_zero

logger = logging.getLogger(__name__)

MOST_SHARE = 0.01
"""Share of an epoch that writing may take before it is done beside training."""
MOST_S = 1.0
"""Seconds that writing may take in any case: a copy of the state is not worth less."""


class Saver:
    """Writes the checkpoints of a run, on rank zero; all ranks call it.

    The first one is written at once. If that was slow, the state is copied for every later one, and
    a thread writes it. The last epoch's is written at once, so a run that has reported its last row
    is whole. Used as a context manager: what is being written is waited for at the end.

    A checkpoint that cannot be written is an error of the next one, or of the end.
    """

    def __init__(self, write: Callable[[int, Save], None], *, may_overlap: bool) -> None:
        """Write with a function of the epoch and what to save; nothing is written yet.

        Args:
            write: Writes one checkpoint.
            may_overlap: Whether an epoch's row may be reported before its checkpoint is written.
        """
        self._write, self._may_overlap = write, may_overlap
        self._is_slow = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:  # all ranks are here: an error elsewhere may have been of one alone
            from_rank_zero(self._wait)

    def save(self, state: TrainState, run: RunConfig, epoch_s: float) -> None:
        """Write the state, now or beside the next epoch.

        Args:
            state: After an epoch.
            run: The run's configuration.
            epoch_s: Seconds that the epoch took.

        Raises:
            CheckpointError: If this one or the one before cannot be written; on all ranks.
        """
        from_rank_zero(lambda: self._save(state, run, epoch_s))

    def _save(self, state: TrainState, run: RunConfig, epoch_s: float) -> None:
        self._wait()
        epoch = state.epoch
        if self._is_slow and epoch < run.optim.epochs:
            save = copied_save(state, run)
            self._pending = self._thread.submit(self._write, epoch, save)
            return
        start = time.perf_counter()
        self._write(epoch, lambda folder: save_checkpoint(state, run, folder))
        seconds = time.perf_counter() - start
        self._is_slow = self._may_overlap and seconds > max(MOST_S, MOST_SHARE * epoch_s)
        if self._is_slow:
            logger.debug("A checkpoint takes %.1f s: written beside training from now on", seconds)

    def _wait(self) -> None:
        """Wait for the one being written; raise what went wrong with it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
