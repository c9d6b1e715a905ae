"""Early-learning regularisation against loops; its targets over epochs, ranks and checkpoints."""

import numpy as np
import pytest
import torch

from fer_ray.core.losses import mixup_coefficient
from fer_ray.methods.elr import EarlyLearning
from tests import reference
from tests.gloo import GlooRanks
from tests.methods.batches import context, labeled_batch, numpy_weight, torch_gradient
from tests.samples import faces, linear_network, make_run, train


@pytest.mark.parametrize("seed", range(3))
def test_loss_gradient_and_targets_are_those_of_a_loop(seed: int) -> None:
    student, labeled = linear_network(4, 3, seed), labeled_batch(seed, num_weak=0, num_strong=1)
    memory = torch.rand(9, 3, generator=torch.Generator().manual_seed(seed)) / 3
    before = memory.double().numpy().copy()
    method = EarlyLearning(weight=2.0, momentum=0.6)
    output = method.step(student, None, labeled, None, context(memory=memory))
    images, label = labeled.strong[0].double().numpy(), labeled.label.numpy()
    weight = numpy_weight(student)
    target = before.copy()
    target[:5] = 0.6 * before[:5] + 0.4 * reference.linear_prob(images, weight)
    np.testing.assert_allclose(memory.numpy(), target, atol=1e-4)

    def loss(weight: reference.Floats) -> float:  # the target is no function of the weight
        prob = reference.linear_prob(images, weight)
        cross_entropy = reference.soft_cross_entropy(prob, np.eye(3)[label])
        return cross_entropy + 2.0 * reference.early_learning(prob, target[:5])

    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-3)
    expected = reference.numerical_gradient(loss, weight)
    np.testing.assert_allclose(torch_gradient(output, student), expected, atol=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_elr_plus_mixes_images_labels_and_the_targets_of_the_peer(seed: int) -> None:
    student, peer = linear_network(4, 3, seed), linear_network(4, 3, seed + 10)
    labeled = labeled_batch(seed, num_weak=0, num_strong=1)
    memory = torch.rand(9, 3, generator=torch.Generator().manual_seed(seed)) / 3
    before = memory.double().numpy().copy()
    method = EarlyLearning(variant="elr+", weight=2.0, momentum=0.6, alpha=0.8)
    output = method.step(student, peer, labeled, None, context(seed, memory=memory))
    images, label = labeled.strong[0].double().numpy(), labeled.label.numpy()

    target = 0.6 * before[:5] + 0.4 * reference.linear_prob(images, numpy_weight(peer))
    np.testing.assert_allclose(memory[:5].numpy(), target, atol=1e-4)
    np.testing.assert_array_equal(memory[5:].numpy(), before[5:].astype(np.float32))

    generator = torch.Generator().manual_seed(seed)
    share = mixup_coefficient(0.8, generator)
    partner = torch.randperm(5, generator=generator).numpy()
    mixed = reference.mixup(images, partner, share)
    given = reference.mixup(np.eye(3)[label], partner, share)
    mixed_target = reference.mixup(target, partner, share)

    def loss(weight: reference.Floats) -> float:
        prob = reference.linear_prob(mixed, weight)
        cross_entropy = reference.soft_cross_entropy(prob, given)
        return cross_entropy + 2.0 * reference.early_learning(prob, mixed_target)

    weight = numpy_weight(student)
    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-3)
    expected = reference.numerical_gradient(loss, weight)
    np.testing.assert_allclose(torch_gradient(output, student), expected, atol=2e-3)


def test_without_alpha_nothing_is_mixed() -> None:
    student, labeled = linear_network(4, 3, 1), labeled_batch(1, 0, 1)
    outputs = [
        EarlyLearning(variant=variant, alpha=0.0).step(  # type: ignore[arg-type]
            student, student, labeled, None, context(memory=torch.zeros(5, 3))
        )
        for variant in ("elr", "elr+")
    ]
    assert outputs[0].loss.item() == pytest.approx(outputs[1].loss.item(), rel=1e-6)


def test_elr_plus_is_two_networks_and_two_averages() -> None:
    state, rows = train(make_run("elr", method__variant="elr+"), faces())
    assert len(state.networks) == len(state.averages) == len(state.memory) == 2
    assert not torch.equal(state.memory[0], state.memory[1])
    assert rows[-1]["val/macro_recall"] > 0.3


def test_a_target_takes_in_answers_that_add_up_to_one() -> None:
    sure, memory = linear_network(4, 3, 0, spread=1e4), torch.zeros(5, 3)
    method = EarlyLearning(momentum=0.75)
    method.step(sure, None, labeled_batch(0, 0, 1), None, context(memory=memory))
    # Clipped at 1e-4 and 1 - 1e-4, a certain answer of three classes adds up to 1.0001.
    torch.testing.assert_close(memory.sum(dim=1), torch.full((5,), 0.25), rtol=1e-6, atol=0)


def test_a_sure_network_has_a_finite_loss_and_gradient() -> None:
    student = linear_network(4, 3, 0, spread=1e4)
    labeled, memory = labeled_batch(0, 0, 1), torch.zeros(5, 3)
    for _ in range(20):
        output = EarlyLearning().step(student, None, labeled, None, context(memory=memory))
    assert bool(torch.isfinite(output.loss))
    assert np.isfinite(torch_gradient(output, student)).all()


def targets() -> torch.Tensor:
    state, _ = train(make_run("elr", optim__epochs=2), faces())
    return state.memory[0]


def test_ranks_share_their_targets(gloo_pair: GlooRanks) -> None:
    first, second = gloo_pair.run(targets)
    assert torch.equal(first, second)
    # After e epochs of predictions that sum to 1, a target sums to 1 - momentum^e.
    total = 1 - 0.7**2
    assert bool(torch.isclose(first.sum(dim=1), torch.tensor(total), atol=1e-3).all())
    torch.testing.assert_close(targets().sum(dim=1), first.sum(dim=1), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"weight": -1.0}, {"momentum": 1.0}, {"alpha": -0.5}, {"network_decay": 1.0}]
)
def test_fields_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EarlyLearning(**wrong)  # type: ignore[arg-type]
