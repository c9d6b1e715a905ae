"""Gloo ranks that live through many tests, which send them functions to run."""

import os
import pickle
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

LIMIT_S = 60.0
_START_S = 120.0
_AFTER_ERROR_S = 20.0


class GlooRanks:
    """Runs a module-level function on several ranks at once, in processes of their own.

    The processes start at the first call. A call that hangs fails after `limit_s` seconds (sooner
    if a rank has raised and others wait for it), and the error has the state of all ranks. They are
    then stopped, and the next call starts new ones.
    """

    def __init__(self, folder: Path, limit_s: float = LIMIT_S, num_ranks: int = 2) -> None:
        self._folder = folder
        self._limit_s = limit_s
        self._num_ranks = num_ranks
        self._starts = 0
        self._ranks: list[tuple[Any, Connection]] = []

    def outcomes(
        self, function: Callable[..., T], per_rank: Sequence[tuple[Any, ...]]
    ) -> list[T | BaseException]:
        """Run a function with different arguments on each rank; return what it returned or raised.

        Raises:
            TimeoutError: If a rank does not answer in time.
            ChildProcessError: If a rank dies.
        """
        assert len(per_rank) == self._num_ranks
        if not self._ranks:
            self._start()
        for (_, pipe), arguments in zip(self._ranks, per_rank, strict=True):
            pipe.send_bytes(pickle.dumps((function, arguments)))
        return [self._unpack(answer) for answer in self._answers(self._limit_s)]

    def run(self, function: Callable[..., T], *arguments: Any) -> list[T]:
        """Run a function with the same arguments on all ranks; return their results, or raise."""
        results = self.outcomes(function, [arguments] * self._num_ranks)
        return [self._checked(result) for result in results]

    def stop(self) -> None:
        """End the processes, by force if necessary."""
        for process, pipe in self._ranks:
            try:
                pipe.send_bytes(pickle.dumps(None))
            except OSError:
                process.terminate()
        for process, pipe in self._ranks:
            process.join(5.0)
            if process.is_alive():
                process.kill()
                process.join(5.0)
            pipe.close()
            process.close()
        self._ranks = []

    def _start(self) -> None:
        context = get_context("spawn")
        store = self._folder / f"store-{self._starts}"
        self._starts += 1
        for rank in range(self._num_ranks):
            here, there = context.Pipe()
            arguments = (rank, self._num_ranks, there, str(store))
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            there.close()
            self._ranks.append((process, here))
        for answer in self._answers(_START_S):
            self._checked(self._unpack(answer))

    def _answers(self, limit_s: float) -> list[bytes]:
        deadline = time.monotonic() + limit_s
        answers: list[bytes | None] = [None] * self._num_ranks
        while None in answers:
            for rank, (process, pipe) in enumerate(self._ranks):
                if answers[rank] is None and pipe.poll(0.005):
                    try:
                        answers[rank] = pipe.recv_bytes()
                    except EOFError:
                        code = process.exitcode
                        self._kill()
                        raise ChildProcessError(f"rank {rank} died, exit code {code}") from None
                    if isinstance(self._unpack(answers[rank]), BaseException):
                        deadline = min(deadline, time.monotonic() + _AFTER_ERROR_S)
            if time.monotonic() > deadline and None in answers:
                states = [self._state(answer) for answer in answers]
                self._kill()
                raise TimeoutError(
                    f"no answer within {limit_s:g} s: "
                    + "; ".join(f"rank {rank} {state}" for rank, state in enumerate(states))
                )
        return [answer for answer in answers if answer is not None]

    def _state(self, answer: bytes | None) -> str:
        if answer is None:
            return "still runs or waits for others"
        result = self._unpack(answer)
        return f"raised {result!r}" if isinstance(result, BaseException) else "has returned"

    def _kill(self) -> None:
        for process, _ in self._ranks:
            process.kill()
        self.stop()

    @staticmethod
    def _unpack(answer: bytes | None) -> Any:
        return None if answer is None else pickle.loads(answer)

    @staticmethod
    def _checked(result: T | BaseException) -> T:
        if isinstance(result, BaseException):
            raise result
        return result


def _serve(rank: int, num_ranks: int, pipe: Connection, store: str) -> None:
    """Run a rank's process. As in pytest, annotations are checked and warnings are errors."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    import torch
    import torch.distributed as dist
    from jaxtyping import install_import_hook

    torch.set_num_threads(1)
    install_import_hook(["fer_ray"], "beartype.beartype")
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=num_ranks,
        timeout=timedelta(seconds=LIMIT_S),
    )
    warnings.simplefilter("error")
    pipe.send_bytes(pickle.dumps(rank))
    while True:
        try:
            message = pipe.recv_bytes()
        except EOFError:
            break
        task = pickle.loads(message)
        if task is None:
            break
        function, arguments = task
        pipe.send_bytes(_answer(function, arguments))
    dist.destroy_process_group()


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    try:
        return pickle.dumps(function(*arguments))
    except Exception as error:
        error.add_note("on a rank:\n" + traceback.format_exc())
        try:
            answer = pickle.dumps(error)
            pickle.loads(answer)
        except Exception:
            return pickle.dumps(RuntimeError(f"{error!r}\n{traceback.format_exc()}"))
        return answer
