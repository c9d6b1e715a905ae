"""The baseline that believes every label."""

import numpy as np
import pytest
import torch

from fer_ray.methods.cross_entropy import CrossEntropy
from tests import reference
from tests.methods.batches import context, labeled_batch, numpy_weight, torch_gradient
from tests.samples import linear_network


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_are_those_of_a_loop(seed: int) -> None:
    student, labeled = linear_network(4, 3, seed), labeled_batch(seed, num_weak=0, num_strong=1)
    output = CrossEntropy().warmup_step(student, labeled, context())
    one_hot = np.eye(3)[labeled.label.numpy()]
    images = labeled.strong[0].double().numpy()

    def loss(weight: reference.Floats) -> float:
        return reference.soft_cross_entropy(reference.linear_prob(images, weight), one_hot)

    weight = numpy_weight(student)
    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-5)
    expected = reference.numerical_gradient(loss, weight)
    np.testing.assert_allclose(torch_gradient(output, student), expected, atol=1e-5)
    assert student.predicted == []


def test_warmup_never_ends() -> None:
    assert all(CrossEntropy().is_warmup(epoch) for epoch in (1, 2, 1000))


def test_it_asks_for_one_network_and_one_strong_view() -> None:
    method = CrossEntropy()
    views = method.views
    assert method.num_networks == 1
    assert (views.labeled_weak, views.labeled_strong) == (0, 1)
    assert not views.needs_unlabeled
    method.check_classes(["fear"])


def test_the_clean_probability_plays_no_part() -> None:
    student = linear_network(4, 3, 0)
    batches = [labeled_batch(0, 0, 1, clean_prob=value) for value in (0.0, 1.0)]
    first, second = (CrossEntropy().warmup_step(student, each, context()).loss for each in batches)
    assert torch.equal(first, second)
