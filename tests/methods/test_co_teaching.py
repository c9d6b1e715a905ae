"""Co-teaching: who is kept, by whose loss, and how many."""

import numpy as np
import pytest
import torch

from fer_ray.methods.co_teaching import CoTeaching
from tests import reference
from tests.methods.batches import (
    context,
    labeled_batch,
    numpy_weight,
    torch_gradient,
    unlabeled_batch,
)
from tests.samples import linear_network


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("forget_rate", [0.0, 0.3, 0.6])
def test_the_student_learns_from_the_peers_smallest_losses(seed: int, forget_rate: float) -> None:
    student, peer = linear_network(4, 3, seed), linear_network(4, 3, seed + 50)
    labeled = labeled_batch(seed, num_weak=0, num_strong=1, batch=10)
    method = CoTeaching(forget_rate=forget_rate)
    output = method.step(student, peer, labeled, None, context(epoch=10.0))
    images, label = labeled.strong[0].double().numpy(), labeled.label.numpy()
    num_kept = round((1 - forget_rate) * 10)
    kept = reference.small_loss(reference.linear_prob(images, numpy_weight(peer)), label, num_kept)

    def loss(weight: reference.Floats) -> float:
        prob = reference.linear_prob(images[kept], weight)
        return reference.soft_cross_entropy(prob, np.eye(3)[label[kept]])

    weight = numpy_weight(student)
    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-5)
    expected = reference.numerical_gradient(loss, weight)
    np.testing.assert_allclose(torch_gradient(output, student), expected, atol=1e-5)
    assert float(output.logs["kept"]) == pytest.approx(num_kept / 10)
    assert peer.weight.grad is None


def test_the_share_falls_to_its_end_and_stays() -> None:
    method = CoTeaching(forget_rate=0.4, rampup_epochs=10.0)
    assert [round(method.keep_share(epoch), 6) for epoch in (0.0, 5.0, 10.0, 50.0)] == [
        1,
        0.8,
        0.6,
        0.6,
    ]
    squared = CoTeaching(forget_rate=0.4, rampup_epochs=10.0, exponent=2.0)
    assert squared.keep_share(2.0) == pytest.approx(1 - 0.4 * 4 / 10)


def test_unlabelled_images_play_no_part_and_nothing_is_divided() -> None:
    student, peer = linear_network(4, 3, 1), linear_network(4, 3, 2)
    labeled, method = labeled_batch(2, 0, 1), CoTeaching()
    first = method.step(student, peer, labeled, unlabeled_batch(0), context())
    second = method.step(student, peer, labeled, None, context())
    assert torch.equal(first.loss, second.loss)
    assert not method.divides
    assert not method.is_warmup(1, 9)


@pytest.mark.parametrize(
    "wrong", [{"forget_rate": 1.0}, {"rampup_epochs": -1.0}, {"exponent": 0.0}]
)
def test_fields_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CoTeaching(**wrong)  # type: ignore[arg-type]
