"""What crosses ranks. Every function is the identity in a process without a group."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Int, Shaped
from torch import Tensor

T = TypeVar("T")


def is_distributed() -> bool:
    """Whether this process belongs to a group of ranks."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process' number, 0 without a group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes, 1 without a group."""
    return dist.get_world_size() if is_distributed() else 1


def gather_rows(
    index: Int[Tensor, " part"], value: Shaped[Tensor, "part *rest"], num_rows: int
) -> Shaped[Tensor, "{num_rows} *rest"] | None:
    """Gather rows that ranks computed and put each where its index says, on rank zero.

    Ranks may hold different numbers of rows. This is the only gather: nothing in this package is
    keyed by batch order.

    Args:
        index: Rows of this rank's values, in [0, num_rows).
        value: This rank's values.
        num_rows: Rows in all.

    Returns:
        All rows in index order on rank zero, `None` elsewhere.

    Raises:
        ValueError: On every rank, if a row is missing, repeated or out of range.
    """
    indices, values = _gather_padded(index), _gather_padded(value)
    from_rank_zero(lambda: _check_rows(indices, num_rows))
    if indices is None or values is None:
        return None
    gathered = torch.cat(values)
    return torch.empty_like(gathered).index_copy_(0, torch.cat(indices), gathered)


def _check_rows(indices: list[Tensor] | None, num_rows: int) -> None:
    assert indices is not None
    rows = torch.cat(indices)
    is_seen = torch.zeros(num_rows, dtype=torch.bool, device=rows.device)
    is_inside = (rows >= 0) & (rows < num_rows)
    is_seen[rows[is_inside]] = True
    if len(rows) != num_rows or not bool(is_seen.all()):
        count = torch.bincount(rows.clamp(0, num_rows - 1), minlength=num_rows)
        raise ValueError(
            f"gather_rows: expected each of {num_rows} rows once, got {len(rows)} rows, "
            f"{int((count == 0).sum())} missing and {int((count > 1).sum())} repeated"
        )


def _gather_padded(value: Tensor) -> list[Tensor] | None:
    """All ranks' tensors on rank zero, though their lengths differ."""
    if not is_distributed():
        return [value]
    length = torch.tensor(len(value), device=value.device)
    lengths = [torch.zeros_like(length) for _ in range(world_size())]
    dist.all_gather(lengths, length)
    longest = int(torch.stack(lengths).max())
    padded = value.new_zeros((longest, *value.shape[1:]))
    padded[: len(value)] = value
    parts = [torch.empty_like(padded) for _ in range(world_size())] if rank() == 0 else None
    dist.gather(padded, parts, dst=0)
    if parts is None:
        return None
    return [part[: int(size)] for part, size in zip(parts, lengths, strict=True)]


def from_rank_zero(make: Callable[[], T]) -> T:
    """Run `make` on rank zero and hand its result to all ranks; an exception is raised on all.

    The result is pickled between the ranks of one run; nothing from outside is unpickled.
    """
    if not is_distributed():
        return make()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = make()
        except Exception as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum of every rank's tensor, on every rank; no gradient."""
    if is_distributed():
        value = value.clone()
        dist.all_reduce(value)
    return value


def min_over_ranks(value: Tensor) -> Tensor:
    """Element-wise minimum over ranks, on every rank; no gradient."""
    if is_distributed():
        value = value.clone()
        dist.all_reduce(value, op=dist.ReduceOp.MIN)
    return value


class _MeanOverRanks(torch.autograd.Function):
    """All-reduce whose backward all-reduces too.

    A plain `all_reduce` hides the other ranks from autograd: each rank would see 1 / world_size of
    the gradient of a function of the mean.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        del ctx
        return sum_over_ranks(value) / world_size()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        del ctx
        return sum_over_ranks(grad.contiguous()) / world_size()


def mean_over_ranks(value: Tensor) -> Tensor:
    """Differentiable mean of every rank's tensor, on every rank.

    With gradients averaged over ranks afterwards (DDP), a loss of this mean has the gradient that
    one process with all rows would have.
    """
    if not is_distributed():
        return value
    result: Tensor = _MeanOverRanks.apply(value)
    return result
