"""Lost processes are told from errors of the code, and in a sentence."""

import pytest
import ray.exceptions
import ray.train

from fer_ray.on_ray.lost import LOST, loss_in

TUNE = """Failure # 1 (occurred at 2026-11-27_02-54-37)
{}
Failure # 2 (occurred at 2026-11-27_02-54-46)
{}
"""
DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: ImplicitFunc"
BUG = "ray::ImplicitFunc.train() (pid=1)\nZeroDivisionError: division by zero"
MEMORY = "Task was killed due to the node running low on memory."


def of_workers(*failures: Exception) -> ray.train.WorkerGroupError:
    return ray.train.WorkerGroupError("[Rank 0] it failed", dict(enumerate(failures)))


@pytest.mark.parametrize(
    "error",
    [
        TUNE.format(BUG, DIED),
        of_workers(ray.exceptions.ActorDiedError()),
        of_workers(RuntimeError("Connection closed by peer"), ray.exceptions.ActorDiedError()),
        ray.train.ControllerError(RuntimeError("one of the worker actors failed to initialize.")),
    ],
)
def test_lost_processes_are_told_with_what_to_do(error: BaseException | str) -> None:
    loss = loss_in(error, 3)
    assert loss is not None
    assert loss.kind == LOST
    assert loss.message.startswith(
        "the run's processes were lost 3 times: killed, perhaps for want of memory"
    )
    assert "--resume goes on" in loss.message
    assert loss_in(loss.message, 2) is not None  # as Tune tells it again


@pytest.mark.parametrize(
    "error", [TUNE.format(DIED, MEMORY), of_workers(ray.exceptions.OutOfMemoryError(MEMORY))]
)
def test_where_memory_ran_out_it_says_so(error: BaseException | str) -> None:
    loss = loss_in(error, 3)
    assert loss is not None
    assert loss.message.startswith("the run's machine ran out of memory, 3 times. ")
    assert loss_in(loss.message, 2) is not None


@pytest.mark.parametrize(
    "error", [TUNE.format(DIED, BUG), of_workers(ZeroDivisionError("division by zero")), ""]
)
def test_an_error_of_the_code_is_no_loss(error: BaseException | str) -> None:
    assert loss_in(error, 3) is None
