"""Results and exceptions of one rank reach all ranks."""

from typing import Any

import pytest
import torch

from fer_ray.core.mixture import MixtureError
from fer_ray.core.types import EmptySplitError
from fer_ray.training.distributed import rank
from fer_ray.training.handover import from_rank, from_rank_zero
from tests.gloo import GlooRanks


def make_tensors() -> dict[str, Any]:
    return {
        "bool": torch.tensor([[True, False, True]]),
        "repeated": torch.arange(5).expand(3, 5),
        "strided": torch.arange(6.0).view(2, 3).T,
        "empty": torch.zeros(2, 0),
        "scalar": torch.tensor(2.5, dtype=torch.bfloat16),
        "nested": [{"short": torch.tensor([-3], dtype=torch.int16)}, "word"],
    }


def broadcast_tensors() -> dict[str, Any]:
    found = from_rank_zero(lambda: make_tensors() if rank() == 0 else {})
    return {**found, "strides": {key: x.stride() for key, x in found.items() if key != "nested"}}


def test_tensors_of_all_kinds_arrive_unchanged(gloo_pair: GlooRanks) -> None:
    expected = make_tensors()
    for found in gloo_pair.run(broadcast_tensors):
        for key in ("bool", "repeated", "strided", "empty", "scalar"):
            assert torch.equal(found[key], expected[key])
            assert found[key].dtype == expected[key].dtype
        assert found["nested"][0]["short"].tolist() == [-3]
        assert found["nested"][1] == "word"
        assert found["strides"]["repeated"] == (0, 1)  # sent and held once


def ask_rank_zero(error: Exception | None) -> list[int]:
    def make() -> list[int]:
        if error is not None:
            raise error
        return [rank(), 7]

    return from_rank_zero(make)


def test_all_ranks_get_rank_zeros_result(gloo_pair: GlooRanks) -> None:
    assert gloo_pair.run(ask_rank_zero, None) == [[0, 7], [0, 7]]


@pytest.mark.parametrize(
    "error", [EmptySplitError("epoch 3: none"), MixtureError("all the same"), KeyError("fear")]
)
def test_an_error_on_rank_zero_is_raised_on_all_ranks(
    error: Exception, gloo_pair: GlooRanks
) -> None:
    for caught in gloo_pair.outcomes(ask_rank_zero, [(error,), (None,)]):
        assert type(caught) is type(error)
        assert isinstance(caught, Exception)
        assert caught.args == error.args


def ask(source: int, failing: int) -> str:
    def make() -> str:
        if rank() == failing:
            raise KeyError("fear")
        return f"of {rank()}"

    return from_rank(source, make)


def test_any_rank_can_be_the_source(gloo_pair: GlooRanks) -> None:
    assert gloo_pair.run(ask, 1, 0) == ["of 1"] * 2
    for error in gloo_pair.outcomes(ask, [(1, 1)] * 2):
        assert isinstance(error, KeyError)
