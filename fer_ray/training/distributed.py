"""What crosses ranks. Every function is the identity in a process without a group.

Ranks work all together, or apart in teams: within `Teams.apart` a rank knows only its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

# The team whose ranks are at work; None: all ranks. Not of a thread, for gradients are computed in
# threads of their own.
_team: dist.ProcessGroup | None = None


def is_distributed() -> bool:
    """Whether this process belongs to a group of ranks."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process' number in its team, 0 without a group."""
    return dist.get_rank(_team) if is_distributed() else 0


def world_size() -> int:
    """Number of processes in the team, 1 without a group."""
    return dist.get_world_size(_team) if is_distributed() else 1


def team() -> dist.ProcessGroup | None:
    """The group of the team at work, for those who talk to `torch.distributed` themselves."""
    return _team


class Teams:
    """All ranks in teams of one size, which do different things at the same time.

    Attributes:
        own: Number of the team that this rank belongs to.
        heads: The first rank of every team.
    """

    def __init__(self, num: int) -> None:
        """Divide the ranks into `num` teams of neighbours; on every rank at once."""
        size = world_size() // num
        assert num * size == world_size(), f"{world_size()} ranks in {num} teams"
        self.heads = list(range(0, num * size, size))
        self.own = rank() // size
        # Every rank takes part in the making of all groups.
        groups = [dist.new_group(list(range(head, head + size))) for head in self.heads]
        group = groups[self.own]
        assert isinstance(group, dist.ProcessGroup)
        self._group = group

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within, `rank`, `world_size` and the reductions are those of the own team.

        To gather rows and to hand something on is for all ranks together.
        """
        global _team
        _team = self._group
        try:
            yield
        finally:
            _team = None


def broadcast(tensors: Sequence[Tensor], source: int) -> None:
    """Overwrite every rank's tensors, on their device, with those of rank `source`."""
    for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
        alike = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.flatten() for tensor in alike])
        dist.broadcast(flat, src=source)
        if rank() != source:
            for tensor, part in zip(alike, flat.split([x.numel() for x in alike]), strict=True):
                tensor.copy_(part.view_as(tensor))


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum of every rank's tensor, on every rank; no gradient."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value, group=_team)
    return value


def min_over_ranks(value: Tensor) -> Tensor:
    """Element-wise minimum over ranks, on every rank; no gradient."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value, op=dist.ReduceOp.MIN, group=_team)
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
    if world_size() == 1:
        return value
    result: Tensor = _MeanOverRanks.apply(value)
    return result


def merge_changes(value: Tensor, before: Tensor) -> None:
    """Make `value` the same on all ranks: a row is the mean over the ranks that changed it.

    Args:
        value: [row, number]; each rank has changed some rows of it, in place.
        before: What it was on all ranks.
    """
    change = value - before
    num_changed = sum_over_ranks((change != 0).any(dim=1).float())
    value.copy_(before + sum_over_ranks(change) / num_changed.clamp_min(1)[:, None])
