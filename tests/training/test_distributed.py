"""Collectives: the identity in one process, reductions and gradients on two ranks."""

import torch
from torch import Tensor

from fer_ray.core.losses import prior_penalty
from fer_ray.training.distributed import (
    broadcast,
    is_distributed,
    mean_over_ranks,
    min_over_ranks,
    rank,
    sum_over_ranks,
    world_size,
)
from fer_ray.training.handover import from_rank_zero
from tests.gloo import GlooRanks


def test_without_a_group_everything_is_the_identity() -> None:
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    assert (is_distributed(), rank(), world_size()) == (False, 0, 1)
    for function in (sum_over_ranks, min_over_ranks, mean_over_ranks):
        assert function(value) is value
    assert from_rank_zero(lambda: 3) == 3


def reduce(value: float) -> tuple[float, float, float, float]:
    tensor = torch.tensor(value)
    reduced = [float(f(tensor)) for f in (sum_over_ranks, min_over_ranks, mean_over_ranks)]
    return reduced[0], reduced[1], reduced[2], float(tensor)


def test_reductions_do_not_change_their_argument(gloo_pair: GlooRanks) -> None:
    found = gloo_pair.outcomes(reduce, [(1.0,), (4.0,)])
    assert found == [(5.0, 1.0, 2.5, 1.0), (5.0, 1.0, 2.5, 4.0)]


def penalty_gradient(pixels: Tensor, weight: Tensor, how: str) -> Tensor:
    """Gradient of the penalty on the mean prediction, averaged over ranks as DDP does."""
    weight = weight.clone().requires_grad_()
    mean = (pixels @ weight).softmax(dim=1).mean(dim=0)
    if how == "ours":
        mean = mean_over_ranks(mean)
    else:  # as `dist.all_reduce(mean); mean /= world_size` does: other ranks are constants
        others = sum_over_ranks(mean.detach()) - mean.detach()
        mean = (mean + others) / world_size()
    prior_penalty(mean, torch.tensor([0.6, 0.3, 0.1])).backward()
    assert weight.grad is not None
    return sum_over_ranks(weight.grad) / world_size()


def test_the_mean_over_ranks_has_the_gradient_of_one_process(gloo_pair: GlooRanks) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels, weight = torch.randn(8, 5, generator=generator), torch.randn(5, 3, generator=generator)
    alone = penalty_gradient(pixels, weight, "ours")
    assert float(alone.norm()) > 0.03
    halves = pixels[:4], pixels[4:]
    for found in gloo_pair.outcomes(penalty_gradient, [(half, weight, "ours") for half in halves]):
        assert isinstance(found, Tensor)
        torch.testing.assert_close(found, alone)
    for found in gloo_pair.outcomes(penalty_gradient, [(half, weight, "plain") for half in halves]):
        assert isinstance(found, Tensor)
        torch.testing.assert_close(found, alone / 2)  # the error that `mean_over_ranks` avoids


def overwrite() -> list[Tensor]:
    own = float(rank())
    tensors = [torch.full((2, 3), own), torch.full((), int(own)), torch.full((3,), own).half()]
    strided = torch.full((3, 2), own).T
    broadcast([*tensors, strided], 1)
    assert strided.stride() == (1, 2)
    return [*tensors, strided]


def test_broadcast_overwrites_tensors_in_place(gloo_pair: GlooRanks) -> None:
    for tensors in gloo_pair.run(overwrite):
        assert [x.dtype for x in tensors[:3]] == [torch.float32, torch.int64, torch.float16]
        assert all(bool((x == 1).all()) for x in tensors)
