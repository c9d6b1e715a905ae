"""Peer posterior: its split against plain loops, its targets, its estimate of the noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fer_ray.core.noise_model import NoiseModel, from_predictions
from fer_ray.core.types import Labeled, Scores, SplitResult, StepContext
from fer_ray.data import NOT_VERIFIED, Verified, noise_of
from fer_ray.methods.peer_posterior import PeerPosterior
from tests import reference
from tests.samples import faces, linear_network, make_run, train

NAMES = ("neutral", "fear", "anger")


def make_scores(
    seed: int = 0, num: int = 40, *, num_networks: int = 2, has_noise: bool = True
) -> Scores:
    """Random predictions of networks, labels of which a quarter is missing, random noise."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (num,), generator=generator)
    label[::4] = -1
    prob = torch.randn(num_networks, num, 3, generator=generator).softmax(dim=2)
    transition = (2 * torch.eye(3) + torch.rand(3, 3, generator=generator)).double()
    transition = (transition / transition.sum(dim=1, keepdim=True)).float()
    noise = NoiseModel(transition=transition, prior=torch.tensor([0.5, 0.3, 0.2]))
    return Scores(
        class_names=NAMES,
        label=label,
        is_labeled=label >= 0,
        loss=-prob.gather(2, label.clamp_min(0).expand(num_networks, -1)[..., None])[..., 0].log(),
        prob=prob,
        noise=noise if has_noise else None,
    )


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 99),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    threshold=st.sampled_from([0.0, 0.6, 1.0]),
    temperature=st.sampled_from([0.5, 0.8, 1.0]),
    teacher=st.sampled_from(["peer", "own"]),
    num_networks=st.sampled_from([1, 2]),
)
def test_two_splits_are_those_of_plain_loops(
    seed: int,
    momentum: float,
    threshold: float,
    temperature: float,
    teacher: str,
    num_networks: int,
) -> None:
    method = PeerPosterior(
        num_networks=num_networks,  # type: ignore[arg-type]
        target_momentum=momentum,
        thresholds={"fear": threshold},
        temperature=temperature,
        teacher=teacher,  # type: ignore[arg-type]
    )
    split, target = None, None
    for epoch in range(2):
        scores = make_scores(seed + epoch, num_networks=num_networks)
        scores = replace(scores, label=make_scores(seed).label)
        scores = replace(scores, is_labeled=scores.label >= 0)
        split = method.split(scores, split, epoch)
        assert scores.noise is not None
        target, clean = reference.peer_targets(
            scores.prob.numpy(),
            scores.label.numpy(),
            scores.noise.transition.numpy(),
            target,
            momentum,
            temperature,
            teacher,
        )
        np.testing.assert_allclose(split.memory["target"], target, atol=1e-5)
        np.testing.assert_allclose(split.clean_prob, clean, atol=1e-5)
        bounds = np.array([1.0, threshold, 1.0])
        label = scores.label.numpy()
        expected = (clean > bounds[label]) & (label >= 0)
        np.testing.assert_array_equal(split.is_labeled.numpy(), expected)


def test_each_of_two_networks_learns_what_the_other_says() -> None:
    scores = make_scores()
    changed = replace(scores, prob=torch.stack([scores.prob[0], scores.prob[0].flip(1)]))
    first, second = (PeerPosterior().split(x, None, 3) for x in (scores, changed))
    assert torch.equal(first.clean_prob[1], second.clean_prob[1])
    assert not torch.equal(first.clean_prob[0], second.clean_prob[0])


def test_a_verified_label_is_certain() -> None:
    scores = make_scores()
    is_verified = torch.zeros(len(scores.label), dtype=torch.bool)
    is_verified[[1, 5]] = True
    split = PeerPosterior().split(replace(scores, is_verified=is_verified), None, 3)
    plain = PeerPosterior().split(scores, None, 3)
    assert (split.clean_prob[:, is_verified] == 1).all()
    assert torch.equal(split.clean_prob[:, ~is_verified], plain.clean_prob[:, ~is_verified])


def test_without_verified_labels_the_noise_is_estimated_once() -> None:
    method, scores = PeerPosterior(), make_scores(has_noise=False)
    split = method.split(scores, None, 3)
    rows = scores.is_labeled
    expected = from_predictions(scores.prob.mean(dim=0)[rows], scores.label[rows])
    assert torch.equal(split.memory["transition"], expected.transition)
    later = method.split(make_scores(7, has_noise=False), split, 4)
    assert torch.equal(later.memory["transition"], expected.transition)
    assert torch.equal(later.memory["prior"], expected.prior)


def test_only_what_meets_a_verified_matrix_is_sharpened() -> None:
    soft, sharp = PeerPosterior(temperature=1.0), PeerPosterior(temperature=0.5)
    told, untold = make_scores(), make_scores(has_noise=False)
    assert not torch.equal(
        soft.split(told, None, 3).clean_prob, sharp.split(told, None, 3).clean_prob
    )
    assert torch.equal(
        soft.split(untold, None, 3).clean_prob, sharp.split(untold, None, 3).clean_prob
    )


@pytest.mark.parametrize(("noise", "is_known"), [("verified", True), ("estimated", False)])
def test_which_noise_is_used(noise: str, is_known: bool) -> None:
    scores = make_scores()
    assert scores.noise is not None
    split = PeerPosterior(noise=noise).split(scores, None, 3)  # type: ignore[arg-type]
    assert torch.equal(split.memory["transition"], scores.noise.transition) == is_known


def test_without_a_noise_matrix_the_prediction_is_the_target() -> None:
    scores = make_scores()
    split = PeerPosterior(noise="none", target_momentum=0.0).split(scores, None, 3)
    torch.testing.assert_close(split.memory["target"], scores.prob.flip(0))


def step_context(split: SplitResult | None, memory: Tensor) -> StepContext:
    return StepContext(
        class_names=NAMES,
        class_count=torch.ones(3, dtype=torch.int64),
        split=split,
        network=1,
        epoch=3.0,
        num_epochs=12,
        memory=memory,
        generator=torch.Generator(),
        mean_over_ranks=lambda value: value,
    )


def make_batch(index: list[int], scores: Scores) -> Labeled:
    images = torch.randn(len(index), 1, 2, 2, generator=torch.Generator().manual_seed(1))
    rows = torch.tensor(index)
    return Labeled(
        weak=(),
        strong=(images,),
        index=rows,
        label=scores.label[rows].clamp_min(0),
        clean_prob=torch.ones(len(index)),
    )


def test_a_step_is_cross_entropy_against_the_targets_plus_the_penalty() -> None:
    scores, network = make_scores(), linear_network(4, 3, seed=2)
    method = PeerPosterior(thresholds={"default": 0.6}, penalty_weight=0.7)
    split = method.split(scores, None, 3)
    assert scores.noise is not None
    rows = [1, 2, 3, 5, 6, 7]
    kept = split.is_labeled[1][rows]
    assert kept.any()
    assert not kept.all()
    batch, memory = make_batch(rows, scores), torch.zeros(40, 3)
    output = method.step(network, None, batch, None, step_context(split, memory))
    prob = network(batch.strong[0]).logits.softmax(dim=1).detach().numpy()
    target = split.memory["target"][1].numpy()
    total = 0.0
    for place, row in enumerate(rows):
        one_hot = np.eye(3)[int(scores.label[row])]
        taught = one_hot if bool(kept[place]) else target[row]
        total -= float((taught * np.log(prob[place])).sum())
    prior = scores.noise.prior.numpy()
    penalty = float((prior * np.log(prior / prob.mean(axis=0))).sum())
    assert float(output.loss.detach()) == pytest.approx(total / len(rows) + 0.7 * penalty, abs=1e-5)
    torch.testing.assert_close(memory[rows], torch.from_numpy(prob), atol=1e-6, rtol=0)


def test_running_predictions_move_towards_the_new_ones() -> None:
    scores, method = make_scores(), PeerPosterior(prediction_momentum=0.75)
    memory = torch.zeros(40, 3)
    batch = make_batch([1, 2], scores)
    first, second = linear_network(4, 3, seed=2), linear_network(4, 3, seed=3)
    for network in (first, second):
        method.warmup_step(network, batch, step_context(None, memory))
    images = batch.strong[0]
    expected = 0.75 * first.predict(images) + 0.25 * second.predict(images)
    torch.testing.assert_close(memory[[1, 2]], expected)
    assert not memory[3:].any()


@pytest.mark.parametrize("num_networks", [1, 2])
def test_nobody_is_dropped(num_networks: int) -> None:
    """An epoch draws every labelled image, whoever keeps the given label."""
    run = make_run("peer_posterior", method__num_networks=num_networks)
    data = faces()
    state, _ = train(run, data)
    assert len(state.memory) == num_networks
    assert state.split is not None
    assert not state.split.is_labeled.any()
    assert all((memory.sum(dim=1) > 0).all() for memory in state.memory)


@pytest.mark.parametrize(("use_verified", "pool_noise"), [(True, False), (False, True)])
def test_verified_labels_reach_the_split(use_verified: bool, pool_noise: bool) -> None:
    plain = faces(num_train=160, noise=0.3)
    is_seen = np.arange(160) % 4 == 0
    verified = Verified(
        label=np.where(is_seen, plain.train.true_label, NOT_VERIFIED),
        is_random=np.ones(160, dtype=bool),
        given=plain.train.label,
    )
    label = np.where(is_seen & use_verified, plain.train.true_label, plain.train.label)
    data = replace(plain, train=replace(plain.train, label=label), verified=verified)
    run = make_run("peer_posterior", data__use_verified=use_verified, method__pool_noise=pool_noise)
    state, _ = train(run, data)
    assert state.split is not None
    noise = noise_of(data)
    assert noise is not None
    assert torch.equal(state.split.memory["prior"], noise.prior)
    found = state.split.memory["transition"]
    assert torch.equal(found, noise.transition) != pool_noise
    is_certain = state.split.clean_prob[:, torch.from_numpy(is_seen)] == 1
    assert bool(is_certain.all()) == use_verified


def test_wrong_labels_are_found() -> None:
    """On easy images the clean probability tells right labels from wrong ones."""
    run = make_run("peer_posterior", optim__epochs=8, method__warmup_epochs=3)
    _, rows = train(run, faces(num_train=256, noise=0.3))
    assert rows[-1]["split/auroc"] > 0.9
