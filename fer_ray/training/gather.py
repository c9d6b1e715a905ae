"""Gathers rows that different ranks computed, and puts them in index order."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Int, Shaped
from torch import Tensor

from fer_ray.training.distributed import rank, world_size
from fer_ray.training.handover import from_rank_zero


def gather_rows(
    index: Int[Tensor, " part"], value: Shaped[Tensor, "..."], num_rows: int, *, dim: int = 0
) -> Shaped[Tensor, "..."] | None:
    """Gather the rows of all ranks on rank zero, in index order.

    Ranks may hold different numbers of rows. This is the only gather of the package: nothing
    depends on the order of batches. Rank zero receives the rows of one rank at a time, so it never
    holds more than the result and one rank's share.

    Args:
        index: Row numbers of this rank's values, in [0, num_rows).
        value: This rank's values, as many along `dim` as `index` has entries.
        num_rows: Number of rows over all ranks.
        dim: Dimension of `value` along which the rows lie.

    Returns:
        All rows in index order along `dim` on rank zero; `None` on the other ranks.

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
        if not bool(is_inside.all()):  # an error below, because another row is missing then
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
    """Return every rank's number of rows, on every rank."""
    if world_size() == 1:
        return [size]
    own = torch.tensor(size, device=device)
    sizes = [torch.zeros_like(own) for _ in range(world_size())]
    dist.all_gather(sizes, own)
    return [int(number) for number in sizes]


def _from_rank(source: int, value: Tensor, shape: Sequence[int]) -> Tensor | None:
    """Return rank `source`'s `value`, of this shape, on rank zero; `None` on the other ranks."""
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
