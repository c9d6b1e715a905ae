"""Runs functions on ranks with one thread each: processes that communicate by gloo, without Ray."""

import contextlib
import socket
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def on_ranks(num_ranks: int, function: Callable[..., T], *arguments: Any, meet: bool = True) -> T:
    """Run a module-level function on all ranks, and return the result of rank zero.

    Args:
        num_ranks: Number of processes.
        function: The function that each of them calls.
        arguments: Arguments of the function.
        meet: Whether the processes are one process group; a single rank has none.

    Raises:
        SystemExit: If a rank fails; it has printed the error.
    """
    context = get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    receiver, sender = context.Pipe(duplex=False)
    group = num_ranks if meet else 1
    ranks = [
        context.Process(target=_rank, args=(x, group, port, sender, function, arguments))
        for x in range(num_ranks)
    ]
    for process in ranks:
        process.start()
    sender.close()
    results: list[T] = []
    with contextlib.suppress(EOFError):  # all ranks ended without a result; see their exit codes
        results.append(receiver.recv())
    for process in ranks:
        process.join()
    if not results or any(process.exitcode for process in ranks):
        raise SystemExit(f"{function.__name__}: a rank failed; see its error above")
    return results[0]


def _rank(
    number: int,
    num_ranks: int,
    port: int,
    sender: Any,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    if num_ranks > 1:
        where = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=where, rank=number, world_size=num_ranks)
    result = function(*arguments)
    if number == 0:
        sender.send(result)
    if num_ranks > 1:
        dist.destroy_process_group()
