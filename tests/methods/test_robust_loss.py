"""Generalised and symmetric cross-entropy against loops."""

import math

import numpy as np
import pytest
import torch

from fer_ray.methods.robust_loss import RobustLoss, generalized_cross_entropy
from tests import reference
from tests.methods.batches import context, labeled_batch, numpy_weight, torch_gradient
from tests.samples import linear_network


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "method",
    [
        RobustLoss(q=0.7),
        RobustLoss(q=1.0),
        RobustLoss(loss="sce"),
        RobustLoss(loss="sce", ce_weight=6.0, rce_weight=0.5, log_zero=-2.0),
    ],
)
def test_loss_and_gradient_are_those_of_a_loop(method: RobustLoss, seed: int) -> None:
    student, labeled = linear_network(4, 3, seed), labeled_batch(seed, num_weak=0, num_strong=1)
    output = method.warmup_step(student, labeled, context())
    images, label = labeled.strong[0].double().numpy(), labeled.label.numpy()

    def loss(weight: reference.Floats) -> float:
        prob = reference.linear_prob(images, weight)
        if method.loss == "gce":
            return reference.generalized_cross_entropy(prob, label, method.q)
        cross_entropy = reference.soft_cross_entropy(prob, np.eye(3)[label])
        reverse = reference.reverse_cross_entropy(prob, label, method.log_zero)
        return method.ce_weight * cross_entropy + method.rce_weight * reverse

    weight = numpy_weight(student)
    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-5)
    expected = reference.numerical_gradient(loss, weight)
    np.testing.assert_allclose(torch_gradient(output, student), expected, atol=1e-5)


def test_small_q_is_cross_entropy_and_one_is_mean_absolute_error() -> None:
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    ce = torch.nn.functional.cross_entropy(logits, label)
    torch.testing.assert_close(
        generalized_cross_entropy(logits, label, 1e-4), ce, rtol=1e-3, atol=0
    )
    mae = (1 - logits.softmax(1).gather(1, label[:, None])).mean()
    torch.testing.assert_close(generalized_cross_entropy(logits, label, 1.0), mae)


@pytest.mark.parametrize("loss", ["gce", "sce"])
def test_a_sure_and_wrong_network_has_a_finite_loss_and_gradient(loss: str) -> None:
    student = linear_network(4, 3, 0, spread=1e4)
    method = RobustLoss(loss=loss)  # type: ignore[arg-type]
    output = method.warmup_step(student, labeled_batch(0, 0, 1), context())
    assert math.isfinite(output.loss.item())
    assert np.isfinite(torch_gradient(output, student)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"q": 0.0},
        {"q": 1.1},
        {"ce_weight": -1.0},
        {"ce_weight": 0.0, "rce_weight": 0.0},
        {"log_zero": 0.0},
    ],
)
def test_fields_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RobustLoss(**wrong)  # type: ignore[arg-type]


def test_every_epoch_trains_on_everything() -> None:
    assert all(RobustLoss().is_warmup(epoch, 50) for epoch in (1, 50))
