"""Says in a sentence that processes of a run were lost, where Ray says it in a page."""

from typing import NamedTuple

LOST = "WorkersLostError"
"""The kind of such a failure."""
# Words of Ray's errors for a process that has ended although no code of ours raised an error.
_MEMORY = ("low on memory", "OutOfMemoryError", "machine ran out of memory")
_LOST = (
    "actor died",
    "actor is dead",
    "ActorDiedError",
    "ActorUnavailableError",
    "NodeDiedError",
    "WorkerCrashedError",
    "worker actors failed to initialize",
    "processes were lost",  # our own, of a trial's workers
)
_LESS = (
    "If it is memory: lower optim.batch_size, compute.eval_batch_size or workers.num_workers, of a "
    "search --concurrent; --resume goes on from the last epoch."
)


class Loss(NamedTuple):
    """What ended a run, as a failure that is recorded and shown."""

    kind: str
    message: str


def loss_in(error: BaseException | str, num_tries: int) -> Loss | None:
    """What is to be said if a run ended because its processes were lost; else `None`.

    Args:
        error: Of Ray Train, or the text that Ray Tune keeps of a trial, whose last failure counts.
        num_tries: How often the run was started.
    """
    failures = getattr(error, "worker_failures", {}).values()
    last = str(error).rpartition("Failure # ")[2]
    text = "\n".join([last, *(type(one).__name__ for one in failures)])
    if any(words in text for words in _MEMORY):
        return Loss(LOST, f"the run's machine ran out of memory, {_times(num_tries)}. {_LESS}")
    if any(words in text for words in _LOST):
        what = f"the run's processes were lost {_times(num_tries)}"
        return Loss(
            LOST, f"{what}: killed, perhaps for want of memory, or with their machine. {_LESS}"
        )
    return None


def _times(num: int) -> str:
    return "once" if num == 1 else f"{num} times"
