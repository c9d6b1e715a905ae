"""Batches, contexts and scores for testing methods without a loop."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fer_ray.core.types import (
    Labeled,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
)
from tests import reference
from tests.samples import LinearNetwork

NAMES = ("neutral", "fear", "anger")


def _views(num: int, batch: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    return tuple(torch.randn(batch, 1, 2, 2, generator=generator) for _ in range(num))


def labeled_batch(
    seed: int,
    num_weak: int = 2,
    num_strong: int = 2,
    *,
    batch: int = 5,
    clean_prob: float | None = None,
) -> Labeled:
    """Random views of 2x2 pixels and labels of three classes."""
    generator = torch.Generator().manual_seed(seed)
    weak, strong = _views(num_weak, batch, generator), _views(num_strong, batch, generator)
    drawn = torch.rand(batch, generator=generator)
    return Labeled(
        weak=weak,
        strong=strong,
        index=torch.arange(batch),
        label=torch.randint(0, 3, (batch,), generator=generator),
        clean_prob=drawn if clean_prob is None else torch.full((batch,), clean_prob),
    )


def unlabeled_batch(
    seed: int, num_weak: int = 2, num_strong: int = 2, *, batch: int = 5
) -> Unlabeled:
    """Random views of 2x2 pixels."""
    generator = torch.Generator().manual_seed(seed + 1000)
    return Unlabeled(
        weak=_views(num_weak, batch, generator),
        strong=_views(num_strong, batch, generator),
        index=torch.arange(batch) + 100,
    )


def context(
    seed: int = 0,
    epoch: float = 5.0,
    mean_over_ranks: Callable[[Tensor], Tensor] | None = None,
    memory: Tensor | None = None,
    prior: Sequence[float] = (1 / 3, 1 / 3, 1 / 3),
) -> StepContext:
    """The context of a step in one process; its split has nothing but a prior."""
    nobody = torch.zeros(2, 0)
    split = SplitResult(
        is_labeled=nobody.bool(),
        clean_prob=nobody,
        label=nobody.long(),
        threshold=torch.zeros(3),
        memory={"prior": torch.tensor(prior)},
    )
    return StepContext(
        class_names=NAMES,
        class_count=torch.tensor([60, 30, 6]),
        split=split,
        network=0,
        epoch=epoch,
        num_epochs=12,
        memory=memory,
        generator=torch.Generator().manual_seed(seed),
        mean_over_ranks=mean_over_ranks or (lambda value: value),
    )


def reference_clean_prob(
    given: Scores, clip_quantile: float = 1.0, *, monotone: bool = False
) -> reference.Floats:
    """What each network's mixture over the labelled images says; 0 for the others."""
    rows = given.is_labeled.numpy()
    clean_prob = np.zeros(given.loss.shape)
    for network, loss in enumerate(given.loss.double().numpy()):
        scaled = reference.min_max(loss[rows], clip_quantile)
        clean_prob[network, rows] = reference.co_divide(scaled, monotone=monotone)
    return clean_prob


def numpy_weight(network: LinearNetwork) -> reference.Floats:
    """Weight and, in the last row, bias."""
    return torch.cat([network.weight, network.bias[None]]).detach().double().numpy()


def torch_gradient(output: StepOutput, network: LinearNetwork) -> reference.Floats:
    """Gradient of a step's loss, laid out as `numpy_weight`."""
    network.weight.grad = network.bias.grad = None
    output.loss.backward()
    assert network.weight.grad is not None
    assert network.bias.grad is not None
    return torch.cat([network.weight.grad, network.bias.grad[None]]).double().numpy()


def scores(seed: int, num: int = 60, *, unlabelled: int = 0) -> Scores:
    """Losses of two networks that disagree; the last `unlabelled` images came without a label."""
    rng = np.random.default_rng(seed)
    noisy = rng.random((2, num)) < 0.4
    loss = np.where(noisy, rng.normal(2.0, 0.5, (2, num)), rng.normal(0.3, 0.1, (2, num)))
    prob = rng.dirichlet(np.ones(3), (2, num))
    label = rng.integers(0, 3, num)
    is_labeled = np.arange(num) < num - unlabelled
    return Scores(
        class_names=NAMES,
        label=torch.from_numpy(np.where(is_labeled, label, -1)),
        is_labeled=torch.from_numpy(is_labeled),
        loss=torch.from_numpy(np.abs(loss)).float(),
        prob=torch.from_numpy(prob).float(),
    )
