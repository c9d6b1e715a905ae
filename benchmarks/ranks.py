"""Functions on ranks of one thread each: plain processes that talk through gloo, without Ray."""

import contextlib
import socket
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def on_ranks(num_ranks: int, function: Callable[..., T], *arguments: Any, meet: bool = True) -> T:
    """What a module-level function returns on rank zero.

    Args:
        num_ranks: Processes.
        function: What each calls.
        arguments: Of the function.
        meet: Whether they are one process group; a single rank has none.

    Raises:
        SystemExit: If a rank fails; it has printed why.
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
    with contextlib.suppress(EOFError):  # no rank is left to send; their exit codes say so
        results.append(receiver.recv())
    for process in ranks:
        process.join()
    if not results or any(process.exitcode for process in ranks):
        raise SystemExit(f"{function.__name__}: a rank failed; see above")
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
