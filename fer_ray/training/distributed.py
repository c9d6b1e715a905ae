"""What crosses ranks. Every function is the identity in a process without a group.

Ranks work all together, or apart in teams: within `Teams.apart` a rank knows only its own.
"""

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Int, Shaped
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


def gather_rows(
    index: Int[Tensor, " part"], value: Shaped[Tensor, "..."], num_rows: int, *, dim: int = 0
) -> Shaped[Tensor, "..."] | None:
    """Gather rows that ranks computed and put each where its index says, on rank zero.

    Ranks may hold different numbers of rows. This is the only gather: nothing in this package is
    keyed by batch order. Rank zero takes one rank's rows at a time, so it never holds more than the
    result and one share of it.

    Args:
        index: Rows of this rank's values, in [0, num_rows).
        value: This rank's values, as many as `index` along `dim`.
        num_rows: Rows in all.
        dim: The dimension of `value` that the rows are.

    Returns:
        All rows in index order along `dim` on rank zero, `None` elsewhere.

    Raises:
        ValueError: On every rank, if a row is missing, repeated or out of range.
    """
    sizes = _all_sizes(len(index), index.device)
    shape, is_first = list(value.shape), rank() == 0
    shape[dim] = num_rows
    result = value.new_empty(shape) if is_first else None
    count = torch.zeros(num_rows if is_first else 0, dtype=torch.uint8, device=index.device)
    for source, size in enumerate(sizes):
        shape[dim] = size
        rows, part = _from_rank(source, index, [size]), _from_rank(source, value, shape)
        if result is None or rows is None or part is None:
            continue
        is_inside = (rows >= 0) & (rows < num_rows)
        if not bool(is_inside.all()):  # refused below, for another row is missing then
            rows, part = rows[is_inside], part.index_select(dim, is_inside.nonzero()[:, 0])
        result.index_copy_(dim, rows, part)
        count.index_add_(0, rows, torch.ones_like(rows, dtype=torch.uint8))
    from_rank_zero(lambda: _check_rows(count, sum(sizes), num_rows))
    return result


def _check_rows(count: Tensor, num_given: int, num_rows: int) -> None:
    if num_given != num_rows or not bool((count == 1).all()):
        raise ValueError(
            f"gather_rows: expected each of {num_rows} rows once, got {num_given} rows, "
            f"{int((count == 0).sum())} missing and {int((count > 1).sum())} repeated"
        )


def _all_sizes(size: int, device: torch.device) -> list[int]:
    """Every rank's number of rows, on every rank."""
    if world_size() == 1:
        return [size]
    own = torch.tensor(size, device=device)
    sizes = [torch.zeros_like(own) for _ in range(world_size())]
    dist.all_gather(sizes, own)
    return [int(number) for number in sizes]


def _from_rank(source: int, value: Tensor, shape: Sequence[int]) -> Tensor | None:
    """On rank zero the `value` of rank `source`, which has this shape; `None` elsewhere."""
    if source == 0:
        return value if rank() == 0 else None
    if rank() == source and value.numel():
        dist.send(value.contiguous(), dst=0)
    if rank() != 0:
        return None
    part = value.new_empty(shape)
    if part.numel():
        dist.recv(part, src=source)
    return part


class _TensorPickler(pickle.Pickler):
    """Leaves tensors out, for them to travel without a copy."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []

    def persistent_id(self, value: Any) -> int | None:
        """The number of a tensor."""
        if not isinstance(value, Tensor):
            return None
        self.tensors.append(value)
        return len(self.tensors) - 1


class _TensorUnpickler(pickle.Unpickler):
    """Puts tensors that came separately in their places."""

    def __init__(self, file: io.BytesIO, tensors: Sequence[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, number: Any) -> Tensor:
        """The tensor of a number."""
        tensor: Tensor = self._tensors[int(number)]
        return tensor


def from_rank_zero(make: Callable[[], T]) -> T:
    """Run `make` on rank zero and hand its result to all ranks; an exception is raised on all."""
    return from_rank(0, make)


def from_rank(source: int, make: Callable[[], T]) -> T:
    """Run `make` on rank `source` and hand its result to all ranks; an exception is raised on all.

    The result is pickled between the ranks of one run; nothing from outside is unpickled. CPU
    tensors in it travel by themselves, without a copy in between. Not for teams at work.
    """
    assert _team is None
    if not is_distributed():
        return make()
    head: list[Any] = [b"", [], None]
    tensors: list[Tensor | None] = []
    if rank() == source:
        try:
            result = make()
            head[0], found = _without_tensors(result)
            head[1] = [_Layout.of(tensor) for tensor in found]
            tensors = list(found)
        except Exception as error:
            head[2] = error
    dist.broadcast_object_list(head, src=source)
    content, layouts, failure = head
    if failure is not None:
        raise failure
    if rank() != source:
        tensors = [None] * len(layouts)
    received = [layout.broadcast(x, source) for layout, x in zip(layouts, tensors, strict=True)]
    return result if rank() == source else _with_tensors(content, received)


def broadcast(tensors: Sequence[Tensor], source: int) -> None:
    """Overwrite every rank's tensors, on their device, with those of rank `source`."""
    for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
        alike = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.flatten() for tensor in alike])
        dist.broadcast(flat, src=source)
        if rank() != source:
            for tensor, part in zip(alike, flat.split([x.numel() for x in alike]), strict=True):
                tensor.copy_(part.view_as(tensor))


def _without_tensors(value: Any) -> tuple[bytes, list[Tensor]]:
    """Pickle `value`, its tensors apart."""
    file = io.BytesIO()
    pickler = _TensorPickler(file)
    pickler.dump(value)
    return file.getvalue(), pickler.tensors


def _with_tensors(content: bytes, tensors: Sequence[Tensor]) -> Any:
    """Undo `_without_tensors`."""
    return _TensorUnpickler(io.BytesIO(content), tensors).load()


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a rank must know of a tensor to take it; `is_repeated`: all slices are the first."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_repeated: bool

    @classmethod
    def of(cls, tensor: Tensor) -> "_Layout":
        """Describe a tensor."""
        repeated = tensor.ndim > 1 and tensor.shape[0] > 1 and tensor.stride(0) == 0
        return cls(tuple(tensor.shape), tensor.dtype, repeated)

    def broadcast(self, tensor: Tensor | None, source: int) -> Tensor:
        """The tensor of rank `source`, given there only, on every rank's CPU."""
        shape = self.shape[1:] if self.is_repeated else self.shape
        if tensor is None:
            body = torch.empty(shape, dtype=self.dtype)
        else:
            body = (tensor[0] if self.is_repeated else tensor).contiguous()
        if body.numel():
            # As bytes, for not every backend knows every type.
            data = body.view(-1).view(torch.uint8)
            sent = data
            if dist.get_backend() == "nccl":
                sent = data.to(torch.device("cuda", torch.cuda.current_device()))
            dist.broadcast(sent, src=source)
            if sent is not data and tensor is None:
                data.copy_(sent)
        return body.expand(self.shape) if self.is_repeated else body


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
