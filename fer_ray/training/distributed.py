"""Collectives over ranks. In a process without a process group, every function is the identity.

Ranks work all together or in teams: inside `Teams.apart` a rank sees only the ranks of its team.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

# The team whose ranks are at work; None: all ranks. Not thread-local, because autograd computes
# gradients in threads of its own.
_team: dist.ProcessGroup | None = None


def is_distributed() -> bool:
    """Return whether this process belongs to a process group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return this process's rank in its team; 0 without a process group."""
    return dist.get_rank(_team) if is_distributed() else 0


def world_size() -> int:
    """Return the number of processes in the team; 1 without a process group."""
    return dist.get_world_size(_team) if is_distributed() else 1


def team() -> dist.ProcessGroup | None:
    """Return the team's process group, for calls of `torch.distributed`; `None`: all ranks."""
    return _team


class Teams:
    """All ranks, split into teams of equal size that do different work at the same time.

    Attributes:
        own: Number of the team that this rank belongs to, from 0.
        heads: First rank of every team.
    """

    def __init__(self, num: int) -> None:
        """Split the ranks into `num` teams of neighbours; every rank must call this at once."""
        size = world_size() // num
        assert num * size == world_size(), f"{world_size()} ranks in {num} teams"
        self.heads = list(range(0, num * size, size))
        self.own = rank() // size
        # Every rank must create every group, also those that it does not belong to.
        groups = [dist.new_group(list(range(head, head + size))) for head in self.heads]
        group = groups[self.own]
        assert isinstance(group, dist.ProcessGroup)
        self._group = group

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Limit `rank`, `world_size` and the reductions to this rank's team.

        `gather_rows` and `from_rank` need all ranks and must not be called inside.
        """
        global _team
        _team = self._group
        try:
            yield
        finally:
            _team = None


def broadcast(tensors: Sequence[Tensor], source: int) -> None:
    """Overwrite every rank's tensors in place with those of rank `source`."""
    for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
        alike = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.flatten() for tensor in alike])
        dist.broadcast(flat, src=source)
        if rank() != source:
            for tensor, part in zip(alike, flat.split([x.numel() for x in alike]), strict=True):
                tensor.copy_(part.view_as(tensor))


def sum_over_ranks(value: Tensor) -> Tensor:
    """Return the sum of every rank's tensor, on every rank; without a gradient."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value, group=_team)
    return value


def min_over_ranks(value: Tensor) -> Tensor:
    """Return the element-wise minimum over ranks, on every rank; without a gradient."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value, op=dist.ReduceOp.MIN, group=_team)
    return value


class _MeanOverRanks(torch.autograd.Function):
    """Mean over ranks whose backward pass is a mean over ranks too.

    Autograd does not see the other ranks through a plain `all_reduce`: each rank would get only
    1 / world_size of the gradient of a function of the mean.
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
    """Return the mean of every rank's tensor, on every rank; differentiable.

    If gradients are averaged over ranks afterwards (as DDP does), a loss computed from this mean
    has the same gradient as in one process with all rows.
    """
    if world_size() == 1:
        return value
    result: Tensor = _MeanOverRanks.apply(value)
    return result


def merge_changes(value: Tensor, before: Tensor) -> None:
    """Make `value` the same on all ranks: each row becomes the mean over the ranks that changed it.

    Args:
        value: [row, number]; each rank has changed some of its rows. Overwritten in place.
        before: The common value before the changes, same shape.
    """
    change = value - before
    num_changed = sum_over_ranks((change != 0).any(dim=1).float())
    value.copy_(before + sum_over_ranks(change) / num_changed.clamp_min(1)[:, None])
