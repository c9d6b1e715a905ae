"""DivideMix against the paper in loops: split, targets, mixture, loss, gradient."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fer_ray.methods.dividemix import DivideMix
from fer_ray.mixture import Mixture
from fer_ray.types import EmptySplitError, Labeled, Unlabeled
from tests import reference
from tests.methods.batches import (
    context,
    labeled_batch,
    numpy_weight,
    reference_clean_prob,
    scores,
    torch_gradient,
    unlabeled_batch,
)
from tests.samples import LinearNetwork, linear_network

EPOCH = 7.25


def as_arrays(views: tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    return [view.double().numpy() for view in views]


def draws(seed: int, num_views: int, alpha: float) -> tuple[np.ndarray, float]:
    """Partners and Beta draw of the step's generator, in the order the step takes them."""
    generator = torch.Generator().manual_seed(seed)
    partner = torch.randperm(num_views, generator=generator).numpy()
    beta_seed = int(torch.randint(2**62, (), generator=generator))
    return partner, float(np.random.default_rng(beta_seed).beta(alpha, alpha))


def reference_step(
    method: DivideMix,
    student: LinearNetwork,
    peer: LinearNetwork,
    labeled: Labeled,
    unlabeled: Unlabeled | None,
    seed: int,
) -> tuple[float, reference.Floats]:
    """Loss and gradient of algorithm 1's inner loop."""
    own, other = numpy_weight(student), numpy_weight(peer)
    refined = reference.co_refine(
        labeled.label.numpy(),
        labeled.clean_prob.double().numpy(),
        [reference.linear_prob(view, own) for view in as_arrays(labeled.weak)],
        method.temperature,
    )
    targets, images = [refined, refined], as_arrays(labeled.strong or labeled.weak)
    if unlabeled is not None:
        weak = as_arrays(unlabeled.weak)
        guessed = reference.co_guess(
            [reference.linear_prob(view, own) for view in weak],
            [reference.linear_prob(view, other) for view in weak],
            method.temperature,
        )
        targets += [guessed, guessed]
        images += as_arrays(unlabeled.strong or unlabeled.weak)
    partner, draw = draws(seed, sum(map(len, images)), method.alpha)
    num_labeled = 2 * len(labeled.index)
    if method.form == "clothing1m":
        partner = partner[:num_labeled]
    mixed = reference.mixup(np.concatenate(images), partner, draw)
    target = reference.mixup(np.concatenate(targets), partner, draw)
    ramp = reference.linear_ramp(EPOCH, method.warmup_epochs, method.rampup_epochs)

    def loss(weight: reference.Floats) -> float:
        return reference.dividemix_loss(
            reference.linear_prob(mixed, weight),
            target,
            num_labeled,
            form=method.form,
            unlabeled_weight=method.unlabeled_weight * ramp,
            penalty_weight=method.penalty_weight,
        )

    return loss(own), reference.numerical_gradient(loss, own)


CASES: list[dict[str, Any]] = [
    {"form": "cifar", "unlabeled_weight": 25.0, "alpha": 4.0},
    {"form": "cifar", "unlabeled_weight": 25.0, "alpha": 4.0, "gradient_views": "weak"},
    {"form": "cifar", "unlabeled_weight": 3.0, "rampup_epochs": 0.0, "temperature": 0.3},
    {"form": "cifar", "unlabeled_weight": 0.0, "penalty_weight": 0.0},
    {"form": "clothing1m"},
    {"form": "clothing1m", "gradient_views": "weak", "penalty_weight": 3.0, "alpha": 2.0},
]


@pytest.mark.parametrize("fields", CASES, ids=str)
@pytest.mark.parametrize("has_unlabeled", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_whole_step_is_that_of_the_paper(
    fields: dict[str, Any], has_unlabeled: bool, seed: int
) -> None:
    method = DivideMix(warmup_epochs=3, **fields)
    num_strong = method.views.labeled_strong
    student, peer = linear_network(4, 3, seed), linear_network(4, 3, seed + 50)
    labeled = labeled_batch(seed, 2, num_strong)
    unlabeled = unlabeled_batch(seed, 2, num_strong) if has_unlabeled else None
    output = method.step(student, peer, labeled, unlabeled, context(seed, EPOCH))
    loss, gradient = reference_step(method, student, peer, labeled, unlabeled, seed)
    assert output.loss.item() == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(torch_gradient(output, student), gradient, rtol=1e-3, atol=2e-5)
    assert peer.weight.grad is None


def test_guesses_come_from_weak_views_of_both_networks_and_refinement_from_the_student() -> None:
    student, peer = linear_network(4, 3, 0), linear_network(4, 3, 1)
    labeled, unlabeled = labeled_batch(0), unlabeled_batch(0)
    DivideMix().step(student, peer, labeled, unlabeled, context())
    assert len(student.predicted) == 2
    assert torch.equal(student.predicted[0], torch.cat(labeled.weak))
    assert torch.equal(student.predicted[1], torch.cat(unlabeled.weak))
    assert len(peer.predicted) == 1
    assert torch.equal(peer.predicted[0], torch.cat(unlabeled.weak))


@pytest.mark.parametrize("clean_prob", [0.0, 1.0])
def test_refinement_believes_the_label_as_far_as_it_is_clean(clean_prob: float) -> None:
    student, labeled = linear_network(4, 3, 0), labeled_batch(0, clean_prob=clean_prob)
    method = DivideMix(temperature=1.0, penalty_weight=0.0)
    output = method.step(student, linear_network(4, 3, 1), labeled, None, context())
    own = numpy_weight(student)
    if clean_prob == 1.0:
        refined = np.eye(3)[labeled.label.numpy()]
    else:
        refined = sum(reference.linear_prob(view, own) for view in as_arrays(labeled.weak)) / 2
    partner, draw = draws(0, 10, method.alpha)
    mixed = reference.mixup(np.concatenate(as_arrays(labeled.strong)), partner, draw)
    target = reference.mixup(np.concatenate([refined, refined]), partner, draw)
    expected = reference.soft_cross_entropy(reference.linear_prob(mixed, own), target)
    assert output.loss.item() == pytest.approx(expected, rel=1e-4)


def test_lambda_u_grows_from_nothing_over_the_ramp() -> None:
    method = DivideMix(form="cifar", unlabeled_weight=10.0, warmup_epochs=4, rampup_epochs=8.0)
    student, peer = linear_network(4, 3, 0), linear_network(4, 3, 1)

    def share(epoch: float) -> float:
        output = method.step(student, peer, labeled_batch(0), unlabeled_batch(0), context(0, epoch))
        rest = output.loss - output.logs["labeled_loss"] - output.logs["penalty"]
        return (rest / output.logs["unlabeled_loss"]).item()

    assert [share(epoch) for epoch in (4.0, 5.0, 8.0, 12.0, 30.0)] == pytest.approx(
        [0.0, 1.25, 5.0, 10.0, 10.0], abs=1e-3
    )


def test_the_clothing_form_uses_unlabelled_images_as_partners_only() -> None:
    student, peer = linear_network(4, 3, 0), linear_network(4, 3, 1)
    method = DivideMix(form="clothing1m", unlabeled_weight=100.0)
    output = method.step(student, peer, labeled_batch(0), unlabeled_batch(0), context())
    assert "unlabeled_loss" not in output.logs
    other = method.step(student, peer, labeled_batch(0), unlabeled_batch(9), context())
    assert not torch.equal(output.loss, other.loss)


def test_the_step_draws_from_its_generator_alone() -> None:
    student, peer = linear_network(4, 3, 0), linear_network(4, 3, 1)
    batches = labeled_batch(0), unlabeled_batch(0)
    losses: list[float] = []
    for seed in (3, 3, 4):
        np.random.seed(seed)
        torch.manual_seed(len(losses))
        losses.append(DivideMix().step(student, peer, *batches, context(seed)).loss.item())
    assert losses[0] == losses[1] != losses[2]


def test_a_sure_network_has_a_finite_loss_and_gradient() -> None:
    student, peer = linear_network(4, 3, 0, spread=1e4), linear_network(4, 3, 1, spread=1e4)
    method = DivideMix(form="cifar", unlabeled_weight=25.0, temperature=0.05)
    output = method.step(student, peer, labeled_batch(0), unlabeled_batch(0), context())
    assert bool(torch.isfinite(output.loss))
    assert np.isfinite(torch_gradient(output, student)).all()


@pytest.mark.parametrize("confidence_weight", [0.0, 1.0])
def test_warmup_punishes_confidence(confidence_weight: float) -> None:
    student, labeled = linear_network(4, 3, 0), labeled_batch(0, 0, 1)
    method = DivideMix(confidence_weight=confidence_weight)
    output = method.warmup_step(student, labeled, context())
    images, one_hot = labeled.strong[0].double().numpy(), np.eye(3)[labeled.label.numpy()]

    def loss(weight: reference.Floats) -> float:
        prob = reference.linear_prob(images, weight)
        entropy = confidence_weight * reference.negative_entropy(prob)
        return reference.soft_cross_entropy(prob, one_hot) + entropy

    weight = numpy_weight(student)
    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-5)
    np.testing.assert_allclose(
        torch_gradient(output, student), reference.numerical_gradient(loss, weight), atol=1e-5
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_split_is_that_of_loops_with_the_rows_swapped(seed: int) -> None:
    given = scores(seed, unlabelled=5)
    split = DivideMix(clean_threshold=0.6).split(given, None, 4)
    clean_prob = reference_clean_prob(given)
    for network, scorer in ((0, 1), (1, 0)):
        np.testing.assert_allclose(split.clean_prob[network].numpy(), clean_prob[scorer], atol=1e-4)
        kept = reference.keep_labels(
            split.clean_prob[network].double().numpy(), given.label.numpy(), np.full(3, 0.6)
        )
        assert np.array_equal(split.is_labeled[network].numpy(), kept & given.is_labeled.numpy())
        assert torch.equal(split.label[network], given.label)
    assert not torch.equal(split.is_labeled[0], split.is_labeled[1])
    torch.testing.assert_close(split.threshold, torch.full((3,), 0.6))


def test_a_label_must_exceed_the_threshold_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def clean_prob(self: Mixture, loss: torch.Tensor, *, monotone: bool = True) -> torch.Tensor:
        return torch.where(torch.arange(len(loss)) < 5, 0.75, 0.5)

    monkeypatch.setattr(Mixture, "clean_prob", clean_prob)
    split = DivideMix(clean_threshold=0.5).split(scores(0), None, 4)
    assert split.is_labeled.sum(dim=1).tolist() == [5, 5]
    with pytest.raises(EmptySplitError):
        DivideMix(clean_threshold=0.75).split(scores(0), None, 4)


def test_the_mixture_sees_the_mean_of_the_last_losses() -> None:
    method = DivideMix(loss_history=3)
    rounds = [scores(seed) for seed in range(5)]
    previous = None
    for epoch, given in enumerate(rounds):
        previous = method.split(given, previous, 4 + epoch)
    assert previous is not None
    for network, scorer in ((0, 1), (1, 0)):
        history = [reference.min_max(given.loss[scorer].double().numpy()) for given in rounds[-3:]]
        np.testing.assert_allclose(
            previous.memory["loss_history"][scorer].numpy(), history, atol=1e-6
        )
        expected = reference.co_divide(np.mean(history, axis=0))
        np.testing.assert_allclose(previous.clean_prob[network].numpy(), expected, atol=1e-4)


def test_one_epoch_of_history_forgets_the_past() -> None:
    method, given = DivideMix(), scores(1)
    after = method.split(given, method.split(scores(0), None, 4), 5)
    assert torch.equal(after.clean_prob, method.split(given, None, 5).clean_prob)


def test_a_split_without_labels_names_epoch_and_threshold() -> None:
    with pytest.raises(
        EmptySplitError, match=r"epoch 9: 0 images keep.*neutral 1\.00 \(largest of"
    ):
        DivideMix(clean_threshold=1.0).split(scores(0), None, 9)


def test_one_image_is_not_enough_to_learn_from() -> None:
    given = scores(0)
    order = given.loss.sum(dim=0).argsort()
    only = replace(given, is_labeled=torch.isin(torch.arange(60), order[[0, -1]]))
    with pytest.raises(EmptySplitError, match="epoch 9: 1 images keep"):
        DivideMix().split(only, None, 9)


@pytest.mark.parametrize(("gradient_views", "num_strong"), [("weak", 0), ("strong", 2)])
def test_strong_views_are_asked_for_only_if_learnt_from(
    gradient_views: Any, num_strong: int
) -> None:
    views = DivideMix(gradient_views=gradient_views).views
    assert (views.labeled_weak, views.unlabeled_weak) == (2, 2)
    assert (views.labeled_strong, views.unlabeled_strong) == (num_strong, num_strong)
    assert views.needs_unlabeled
