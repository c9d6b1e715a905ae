"""Erasing attention consistency against loops: the maps, their mirroring, the gradient."""

import numpy as np
import pytest
import torch

from fer_ray.methods.eac import ErasingAttention
from tests import reference
from tests.methods.batches import context, labeled_batch, numpy_weight, torch_gradient
from tests.samples import faces, linear_network, make_run, train


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_that_of_a_loop(seed: int) -> None:
    student, labeled = linear_network(4, 3, seed), labeled_batch(seed, num_weak=0, num_strong=1)
    output = ErasingAttention(consistency_weight=2.0).warmup_step(student, labeled, context())
    images, label = labeled.strong[0].double().numpy(), labeled.label.numpy()
    weight = numpy_weight(student)
    prob = reference.linear_prob(images, weight)
    maps = reference.activation_maps(images, weight)
    mirrored = reference.activation_maps(reference.mirrored(images), weight)
    expected = reference.soft_cross_entropy(prob, np.eye(3)[label])
    expected += 2.0 * reference.mean_square(maps - reference.mirrored(mirrored))
    assert output.loss.item() == pytest.approx(expected, rel=1e-4)
    assert set(output.logs) == {"cross_entropy", "consistency"}


def test_the_classifier_weights_within_the_maps_get_no_gradient() -> None:
    student, labeled = linear_network(4, 3, 1), labeled_batch(1, num_weak=0, num_strong=1)
    gradients = [
        torch_gradient(
            ErasingAttention(consistency_weight=value).warmup_step(student, labeled, context()),
            student,
        )
        for value in (0.0, 50.0)
    ]
    # Of a linear network's maps nothing else depends on the weights.
    np.testing.assert_allclose(gradients[0], gradients[1])


def test_a_network_learns_to_look_at_the_same_places() -> None:
    def consistency(weight: float) -> float:
        run = make_run("eac", method__consistency_weight=weight, optim__epochs=6)
        return float(train(run, faces())[1][-1]["train/consistency"])

    assert consistency(50.0) < 0.5 * consistency(0.0)


def test_symmetric_faces_cost_nothing_more() -> None:
    student, labeled = linear_network(4, 3, 0), labeled_batch(0, num_weak=0, num_strong=1)
    view = labeled.strong[0]
    view.copy_((view + view.flip(3)) / 2)
    with torch.no_grad():
        pixels = student.weight.view(2, 2, 3)
        pixels.copy_((pixels + pixels.flip(1)) / 2)
    output = ErasingAttention().warmup_step(student, labeled, context())
    assert output.logs["consistency"].item() == pytest.approx(0, abs=1e-10)
    assert output.loss.item() == pytest.approx(output.logs["cross_entropy"].item())


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="consistency_weight: at least 0, got -1"):
        ErasingAttention(consistency_weight=-1.0)
