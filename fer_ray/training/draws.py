"""Which rows an epoch draws, in which order: functions of a generator."""

import torch
from jaxtyping import Int
from torch import Tensor


def shuffled_rows(
    rows: Int[Tensor, " row"],
    label: Int[Tensor, " sample"],
    num: int,
    generator: torch.Generator,
) -> Int[Tensor, " num"]:
    """`num` rows from as many fresh permutations as needed; none of none.

    Args:
        rows: What may be drawn.
        label: Of every training image; plays no part here.
        num: How many are drawn.
        generator: On the CPU.
    """
    del label
    if len(rows) == 0:
        return rows
    laps = [
        rows[torch.randperm(len(rows), generator=generator)] for _ in range(-(-num // len(rows)))
    ]
    return torch.cat(laps)[:num]


def balanced_rows(
    rows: Int[Tensor, " row"],
    label: Int[Tensor, " sample"],
    num: int,
    generator: torch.Generator,
) -> Int[Tensor, " num"]:
    """`num` rows with repetition, every class of them equally likely; see `shuffled_rows`."""
    own = label[rows]
    weight = torch.bincount(own).double().reciprocal()[own]
    return rows[torch.multinomial(weight, num, replacement=True, generator=generator)]
