"""Draws the rows that an epoch trains on, and their order, from a generator."""

import torch
from jaxtyping import Int
from torch import Tensor


def shuffled_rows(
    rows: Int[Tensor, " row"],
    label: Int[Tensor, " sample"],
    num: int,
    generator: torch.Generator,
) -> Int[Tensor, " num"]:
    """Draw `num` rows from as many new permutations as needed; no rows if `rows` is empty.

    Args:
        rows: Rows to draw from.
        label: Label of every training image; unused, so that both functions take the same.
        num: Number of rows to draw.
        generator: A CPU generator.
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
    """Draw `num` rows with replacement, every class equally likely; see `shuffled_rows`."""
    own = label[rows]
    weight = torch.bincount(own).double().reciprocal()[own]
    return rows[torch.multinomial(weight, num, replacement=True, generator=generator)]
