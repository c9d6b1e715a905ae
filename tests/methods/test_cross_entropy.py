"""The baseline that believes every label."""

from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from fer_ray.core.losses import mixup_coefficient
from fer_ray.methods.cross_entropy import CrossEntropy
from tests import reference
from tests.methods.batches import context, labeled_batch, numpy_weight, torch_gradient
from tests.samples import faces, linear_network, make_run, train


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
    assert all(CrossEntropy().is_warmup(epoch, 2000) for epoch in (1, 2, 1000))


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


def test_smoothing_and_balanced_softmax_are_those_of_loops() -> None:
    student, labeled = linear_network(4, 3, 1), labeled_batch(1, num_weak=0, num_strong=1)
    images, label = labeled.strong[0].double().numpy(), labeled.label.numpy()
    method = CrossEntropy(label_smoothing=0.2, balanced_softmax=True)
    output = method.warmup_step(student, labeled, context())

    def loss(weight: reference.Floats) -> float:
        prob = reference.balanced_prob(reference.linear_prob(images, weight), [60, 30, 6])
        return reference.soft_cross_entropy(prob, reference.smoothed_target(label, 3, 0.2))

    weight = numpy_weight(student)
    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-5)
    expected = reference.numerical_gradient(loss, weight)
    np.testing.assert_allclose(torch_gradient(output, student), expected, atol=1e-5)


def test_balanced_softmax_survives_a_class_that_nobody_has() -> None:
    student, labeled = linear_network(4, 3, 1), labeled_batch(1, num_weak=0, num_strong=1)
    empty = replace(context(), class_count=torch.tensor([5, 0, 0]))
    output = CrossEntropy(balanced_softmax=True).warmup_step(student, labeled, empty)
    assert bool(torch.isfinite(output.loss))


def test_mixup_mixes_images_and_targets_alike() -> None:
    student, labeled = linear_network(4, 3, 1), labeled_batch(1, num_weak=0, num_strong=1)
    method = CrossEntropy(mixup_alpha=2.0)
    output = method.warmup_step(student, labeled, context(seed=3))
    generator = torch.Generator().manual_seed(3)
    partner = torch.randperm(5, generator=generator).numpy()
    share = mixup_coefficient(2.0, generator)
    images = reference.mixup(labeled.strong[0].double().numpy(), partner, share)
    target = reference.mixup(np.eye(3)[labeled.label.numpy()], partner, share)
    prob = reference.linear_prob(images, numpy_weight(student))
    expected = reference.soft_cross_entropy(prob, target)
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)


def test_balanced_draws_take_every_class_equally_often() -> None:
    data = faces(num_train=400, noise=0.0)
    rare = np.flatnonzero(data.train.true_label == 3)[5:]
    kept = np.setdiff1d(np.arange(400), rare)
    train_set = replace(
        data.train,
        images=data.train.images[kept],
        label=data.train.label[kept],
        true_label=data.train.true_label[kept],
        row=data.train.row[kept],
    )
    drawn: list[torch.Tensor] = []
    original = CrossEntropy.warmup_step

    def watch(self: CrossEntropy, student: Any, labeled: Any, context: Any) -> Any:
        drawn.append(labeled.label)
        return original(self, student, labeled, context)

    shares = {}
    for sampling in ("natural", "class_balanced"):
        drawn.clear()
        with mock.patch.object(CrossEntropy, "warmup_step", watch):
            run = make_run("cross_entropy", method__sampling=sampling)
            train(run, replace(data, train=train_set))
        shares[sampling] = torch.bincount(torch.cat(drawn), minlength=4) / len(torch.cat(drawn))
    assert float(shares["natural"][3]) < 0.03
    assert float((shares["class_balanced"] - 0.25).abs().max()) < 0.05


@pytest.mark.parametrize(
    "wrong", [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"mixup_alpha": -1.0}]
)
def test_fields_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CrossEntropy(**wrong)  # type: ignore[arg-type]
