"""Gathering rows: in one process and on two ranks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fer_ray.training.gather import gather_rows
from tests.gloo import GlooRanks


@given(order=st.permutations(range(7)))
def test_rows_are_put_at_their_index(order: list[int]) -> None:
    index = torch.tensor(order)
    value = torch.stack([10.0 * index, -1.0 * index], dim=1)
    gathered = gather_rows(index, value, 7)
    assert gathered is not None
    assert torch.equal(gathered[:, 0], 10.0 * torch.arange(7))


BAD_ROWS = [
    ([0, 1, 3], "expected each of 4 rows once, got 3 rows, 1 missing and 0 repeated"),
    ([0, 1, 1, 3], "got 4 rows, 1 missing and 1 repeated"),
    ([0, 1, 2, 3, 3], "got 5 rows, 0 missing and 1 repeated"),
    ([0, 1, 2, 4], "got 4 rows"),
    ([-1, 1, 2, 3], "got 4 rows"),
    ([], "got 0 rows, 4 missing"),
]


@pytest.mark.parametrize(("rows", "message"), BAD_ROWS)
def test_a_missing_or_repeated_row_is_an_error(rows: list[int], message: str) -> None:
    index = torch.tensor(rows, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        gather_rows(index, torch.zeros(len(rows)), 4)


def gather(rows: list[int], num_rows: int) -> Tensor | None:
    index = torch.tensor(rows, dtype=torch.int64)
    value = torch.stack([index.float(), index.float() + 0.5], dim=1)
    return gather_rows(index, value, num_rows)


@pytest.mark.parametrize(
    ("first", "second"),
    [([4, 0, 2], [3, 1]), ([1], [0, 4, 3, 2]), ([], [0, 1, 2, 3, 4]), ([3, 2, 1, 0, 4], [])],
)
def test_ranks_may_hold_different_numbers_of_rows(
    first: list[int], second: list[int], gloo_pair: GlooRanks
) -> None:
    on_zero, on_one = gloo_pair.outcomes(gather, [(first, 5), (second, 5)])
    assert on_one is None
    assert isinstance(on_zero, Tensor)
    assert torch.equal(on_zero, torch.arange(5)[:, None] + torch.tensor([0.0, 0.5]))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([0, 2], [1], "3 rows, 1 missing and 0 repeated"),
        ([0, 1, 2], [2, 3], "5 rows, 0 missing and 1 repeated"),
        ([0, 1], [1, 3], "4 rows, 1 missing and 1 repeated"),
    ],
)
def test_a_bad_row_is_an_error_on_every_rank(
    first: list[int], second: list[int], message: str, gloo_pair: GlooRanks
) -> None:
    for error in gloo_pair.outcomes(gather, [(first, 4), (second, 4)]):
        assert isinstance(error, ValueError)
        assert message in str(error)


def gather_columns(rows: list[int], num_rows: int) -> Tensor | None:
    index = torch.tensor(rows, dtype=torch.int64)
    return gather_rows(index, torch.stack([index, -index])[:, :, None], num_rows, dim=1)


def test_rows_may_lie_along_another_dimension(gloo_pair: GlooRanks) -> None:
    on_zero, on_one = gloo_pair.outcomes(gather_columns, [([3, 1], 4), ([0, 2], 4)])
    assert on_one is None
    assert isinstance(on_zero, Tensor)
    assert on_zero[..., 0].tolist() == [[0, 1, 2, 3], [0, -1, -2, -3]]
