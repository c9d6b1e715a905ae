"""Co-divide: the split and the step against loops, and who learns from whom."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fer_ray.core.mixture import Mixture
from fer_ray.core.noise_model import NoiseModel, from_predictions
from fer_ray.core.types import EmptySplitError, Scores
from fer_ray.methods.co_divide import CoDivide
from fer_ray.methods.dividemix import DivideMix
from tests import reference
from tests.methods.batches import (
    NAMES,
    context,
    labeled_batch,
    numpy_weight,
    reference_clean_prob,
    scores,
    torch_gradient,
    unlabeled_batch,
)
from tests.samples import linear_network

THRESHOLDS = {"default": 0.4, "fear": 0.95, "anger": 0.05}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("clip_quantile", [1.0, 0.9])
def test_the_split_is_that_of_loops_with_the_rows_swapped(seed: int, clip_quantile: float) -> None:
    given = scores(seed, unlabelled=7)
    method = CoDivide(
        thresholds=THRESHOLDS, clip_quantile=clip_quantile, monotone=False, min_class_fraction=0.0
    )
    split = method.split(given, None, 4)
    clean_prob = reference_clean_prob(given, clip_quantile)
    np.testing.assert_allclose(split.threshold.numpy(), [0.4, 0.95, 0.05], rtol=1e-6)
    for network, scorer in ((0, 1), (1, 0)):
        np.testing.assert_allclose(split.clean_prob[network].numpy(), clean_prob[scorer], atol=1e-4)
        kept = reference.keep_labels(
            split.clean_prob[network].double().numpy(),
            given.label.numpy(),
            split.threshold.double().numpy(),
        )
        assert np.array_equal(split.is_labeled[network].numpy(), kept & given.is_labeled.numpy())
        assert torch.equal(split.label[network], given.label)


def test_each_network_trains_on_what_the_other_believes() -> None:
    loss = torch.tensor([[0.1, 0.12, 0.11, 2.0, 2.1, 2.2], [2.0, 2.1, 2.2, 0.1, 0.12, 0.11]])
    given = scores(0, num=6)
    given = type(given)(
        class_names=NAMES,
        label=torch.zeros(6, dtype=torch.int64),
        is_labeled=given.is_labeled,
        loss=loss,
        prob=given.prob,
    )
    split = CoDivide().split(given, None, 4)
    # Network 0 believes images 0 to 2, so network 1 learns from them; and the other way round.
    assert split.is_labeled.tolist() == [[False] * 3 + [True] * 3, [True] * 3 + [False] * 3]
    assert bool((split.clean_prob[1, :3] > 0.9).all())
    assert bool((split.clean_prob[0, :3] < 0.1).all())


def test_an_image_without_a_label_is_never_kept() -> None:
    given = scores(1, unlabelled=20)
    split = CoDivide(thresholds={"default": 0.0}).split(given, None, 4)
    assert not bool(split.is_labeled[:, 40:].any())
    assert bool(split.is_labeled[:, :40].any())


@pytest.mark.parametrize("value", [0.5, 1.0])
def test_a_label_must_exceed_its_threshold_not_reach_it(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clean_prob(self: Mixture, loss: torch.Tensor, *, monotone: bool = True) -> torch.Tensor:
        return torch.where(torch.arange(len(loss)) < 5, value, value - 0.01).clamp_min(0)

    def method(threshold: float) -> CoDivide:
        return CoDivide(thresholds={"default": threshold}, min_class_fraction=0.0)

    monkeypatch.setattr(Mixture, "clean_prob", clean_prob)
    with pytest.raises(EmptySplitError):
        method(value).split(scores(0), None, 4)
    split = method(value - 0.005).split(scores(0), None, 4)
    assert split.is_labeled.sum(dim=1).tolist() == [5, 5]


def test_monotone_never_calls_a_smaller_loss_less_clean() -> None:
    given = scores(3)
    split = CoDivide().split(given, None, 4)
    for network, scorer in ((0, 1), (1, 0)):
        by_loss = split.clean_prob[network][given.loss[scorer].argsort()]
        assert bool((by_loss.diff() <= 1e-6).all())


def test_the_mixture_is_remembered_for_its_picture() -> None:
    memory = CoDivide().split(scores(0), None, 4).memory
    assert {key: tuple(value.shape) for key, value in memory.items()} == {
        "mixture_counts": tuple(memory["mixture_counts"].shape),
        "mixture_mean": (2, 2),
        "mixture_std": (2, 2),
        "mixture_weight": (2, 2),
        "rescued": (2, 3),
        "prior": (3,),
    }
    assert bool((memory["mixture_mean"][:, 0] < memory["mixture_mean"][:, 1]).all())


def test_a_split_without_labels_names_epoch_thresholds_and_what_there_was() -> None:
    given = scores(0)
    with pytest.raises(EmptySplitError) as caught:
        CoDivide(thresholds={"default": 1.0, "fear": 0.9999}, min_class_fraction=0.0).split(
            given, None, 17
        )
    message = str(caught.value)
    assert message.startswith("epoch 17: 0 images keep their label for network 0.")
    counts = [int((given.label == number).sum()) for number in range(3)]
    for name, threshold, count in zip(NAMES, ("1.00", "1.00", "1.00"), counts, strict=True):
        assert f"{name} {threshold} (largest of {count}: " in message
    assert "Lower method.thresholds or lengthen method.warmup_epochs" in message


@pytest.mark.parametrize("prior", ["uniform", {"fear": 3.0, "anger": 1.0}])
@pytest.mark.parametrize("penalty_weight", [0.0, 2.5])
def test_loss_and_gradient_are_those_of_a_loop(
    prior: str | dict[str, float], penalty_weight: float
) -> None:
    student, labeled = linear_network(4, 3, 1), labeled_batch(2, num_weak=0, num_strong=1)
    method = CoDivide(penalty_weight=penalty_weight, prior=prior)
    split = method.split(scores(0), None, 4)
    output = method.step(student, None, labeled, None, replace(context(), split=split))
    one_hot, images = np.eye(3)[labeled.label.numpy()], labeled.strong[0].double().numpy()
    pi = np.full(3, 1 / 3) if prior == "uniform" else np.array([0.0, 0.75, 0.25])

    def loss(weight: reference.Floats) -> float:
        prob = reference.linear_prob(images, weight)
        penalty = penalty_weight * reference.prior_penalty(prob, pi)
        return reference.soft_cross_entropy(prob, one_hot) + penalty

    weight = numpy_weight(student)
    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-5)
    np.testing.assert_allclose(
        torch_gradient(output, student), reference.numerical_gradient(loss, weight), atol=1e-5
    )
    parts = output.logs["cross_entropy"] + penalty_weight * output.logs["penalty"]
    assert float(parts) == pytest.approx(output.loss.item())
    assert not any(value.requires_grad for value in output.logs.values())


def test_the_penalty_sees_the_mean_over_all_ranks() -> None:
    student, labeled = linear_network(4, 3, 1), labeled_batch(2, 0, 1)
    seen: list[torch.Tensor] = []

    def mean_over_ranks(value: torch.Tensor) -> torch.Tensor:
        seen.append(value)
        return (value + torch.tensor([1.0, 0.0, 0.0])) / 2

    output = CoDivide().step(student, None, labeled, None, context(0, 5.0, mean_over_ranks))
    own = student(labeled.strong[0]).logits.softmax(dim=1).mean(dim=0)
    torch.testing.assert_close(seen[0], own)
    whole = ((own + torch.tensor([1.0, 0.0, 0.0])) / 2).detach().double().numpy()
    expected = reference.prior_penalty(whole[None], np.full(3, 1 / 3))
    assert float(output.logs["penalty"]) == pytest.approx(expected, rel=1e-4)


def test_unlabelled_images_and_the_peer_play_no_part() -> None:
    student, peer, labeled = (
        linear_network(4, 3, 1),
        linear_network(4, 3, 2),
        labeled_batch(2, 0, 1),
    )
    with_both = CoDivide().step(student, peer, labeled, unlabeled_batch(0), context())
    without = CoDivide().step(student, None, labeled, None, context())
    assert torch.equal(with_both.loss, without.loss)
    assert peer.predicted == []


def test_a_sure_and_wrong_network_has_a_finite_loss_and_gradient() -> None:
    student = linear_network(4, 3, 0, spread=1e4)
    output = CoDivide().step(student, None, labeled_batch(0, 0, 1), None, context())
    assert np.isfinite(torch_gradient(output, student)).all()
    assert bool(torch.isfinite(output.loss))


def test_class_names_are_checked_against_the_data() -> None:
    CoDivide(thresholds={"fear": 0.5}, prior={"anger": 1.0}).check_classes(NAMES)
    with pytest.raises(ValueError, match=r"thresholds\.feer: no such class; did you mean fear\?"):
        CoDivide(thresholds={"feer": 0.5}).check_classes(NAMES)
    with pytest.raises(ValueError, match=r"prior\.joy: no such class"):
        CoDivide(prior={"joy": 1.0}).check_classes(NAMES)


def test_warmup_ends_after_its_epochs() -> None:
    method = CoDivide(warmup_epochs=2)
    assert [method.is_warmup(epoch, 9) for epoch in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize(
    ("share", "num_epochs", "warmup"),
    [(0.5, 12, 6), (0.5, 24, 12), (0.3, 12, 4), (0.01, 12, 1), (0.5, 1, 1), (0.99, 10, 10)],
)
def test_a_share_of_warmup_grows_with_the_epochs(
    share: float, num_epochs: int, warmup: int
) -> None:
    method = CoDivide(warmup_epochs=share)
    assert method.num_warmup(num_epochs) == warmup
    epochs = range(1, num_epochs + 1)
    assert [method.is_warmup(epoch, num_epochs) for epoch in epochs].count(True) == warmup


@pytest.mark.parametrize("rule", ["adaptive_margin", "class_mean"])
def test_the_probability_of_the_label_decides_by_the_rules_of_others(rule: Any) -> None:
    given = scores(3, num=200, unlabelled=20)
    label = given.label.numpy()
    method = CoDivide(threshold_rule=rule, margin_floor=0.3, min_class_fraction=0.0)
    split = method.split(given, None, 4)
    for network, scorer in ((0, 1), (1, 0)):
        prob = given.prob[scorer].double().numpy()
        threshold = (
            reference.class_means(prob, label, 3)
            if rule == "class_mean"
            else reference.margins(prob, label, 4, 0.3)
        )
        expected = [y >= 0 and prob[i, y] > threshold[y] for i, y in enumerate(label)]
        assert split.is_labeled[network].tolist() == expected
        labelled = np.flatnonzero(label >= 0)
        np.testing.assert_allclose(
            split.clean_prob[network][labelled].numpy(), prob[labelled, label[labelled]], rtol=1e-5
        )
    assert "mixture_mean" not in split.memory


def test_a_mixture_per_class_judges_by_the_losses_of_the_same_label() -> None:
    """Right labels of a hard class lose as much as wrong ones of an easy class."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 400)
    is_clean = rng.random(800) < 0.6
    mean = np.where(label == 0, np.where(is_clean, 0.2, 1.0), np.where(is_clean, 1.0, 2.0))
    loss = np.abs(rng.normal(mean, 0.08))
    answer = torch.from_numpy(np.where(is_clean, label, 2))
    given = replace(
        scores(0, num=800),
        label=torch.from_numpy(label),
        is_labeled=torch.ones(800, dtype=torch.bool),
        loss=torch.from_numpy(np.stack([loss, loss])).float(),
        prob=F.one_hot(answer, 3).float().expand(2, -1, -1),
    )

    def right(given: Scores = given, **fields: Any) -> float:
        kept = CoDivide(**fields).split(given, None, 4).is_labeled[0].numpy()
        return float((kept == is_clean).mean())

    assert right() < 0.85
    assert right(mixture="class", shrinkage=0.0) > 0.97
    assert right(mixture="class", shrinkage=1e9) == right()
    # Network 1 scores for network 0, so network 0 is the peer that must agree.
    silent = torch.zeros(800, 3).index_fill(1, torch.tensor([2]), 1.0)
    doubted = replace(given, prob=torch.stack([silent, given.prob[1]]))
    assert right(doubted, mixture="class", shrinkage=0.0) == right()
    heard = replace(given, prob=torch.stack([given.prob[0], silent]))
    assert right(heard, mixture="class", shrinkage=0.0) > 0.97


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.5])
def test_a_starved_class_keeps_its_likeliest_labels_of_each_network(fraction: float) -> None:
    given = scores(6, num=200, unlabelled=20)
    fields: dict[str, Any] = {"thresholds": {"default": 0.2, "fear": 1.0}}
    free = CoDivide(**fields, min_class_fraction=0.0).split(given, None, 4)
    split = CoDivide(**fields, min_class_fraction=fraction).split(given, None, 4)
    assert not bool(free.is_labeled[:, given.label == 1].any())
    assert not bool(free.memory["rescued"].any())
    for network in (0, 1):
        fear = torch.nonzero(given.label == 1)[:, 0]
        likeliest = split.clean_prob[network][fear].argsort(descending=True, stable=True)
        least = math.ceil(fraction * len(fear))
        expected = free.is_labeled[network].clone()
        expected[fear[likeliest[:least]]] = True
        assert torch.equal(split.is_labeled[network], expected)
        assert split.memory["rescued"][network].tolist() == [0, least, 0]


@pytest.mark.parametrize("verified", [True, False])
def test_the_posterior_of_the_label_under_the_noise_decides(verified: bool) -> None:
    given = scores(7, num=200, unlabelled=20)
    rows, label = given.is_labeled, given.label
    transition = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.0, 0.3, 0.7]])
    noise = NoiseModel(transition=transition, prior=torch.tensor([0.2, 0.5, 0.3]), num_verified=9)
    if verified:
        given = replace(given, noise=noise)
    else:
        noise = from_predictions(given.prob.mean(dim=0)[rows], label[rows])
    method = CoDivide(clean_prob="posterior", prior="verified", thresholds={"fear": 0.7})
    assert method.reads_prob
    split = method.split(given, None, 4)
    matrix = noise.transition.double().numpy()
    for network, scorer in ((0, 1), (1, 0)):
        for row in torch.nonzero(rows)[:, 0].tolist():
            y, prob = int(label[row]), given.prob[scorer, row].double().numpy()
            clean = prob[y] * matrix[y, y] / (prob @ matrix[:, y])
            assert float(split.clean_prob[network, row]) == pytest.approx(clean, rel=1e-4)
            assert bool(split.is_labeled[network, row]) == (clean > (0.7 if y == 1 else 0.5))
        assert not bool(split.clean_prob[network, ~rows].any())
    torch.testing.assert_close(split.memory["prior"], noise.prior)
    assert "mixture_mean" not in split.memory


@pytest.mark.parametrize("kind", [CoDivide, DivideMix])
def test_the_given_prior_is_the_share_of_all_given_labels(kind: Any) -> None:
    given = scores(5, num=90, unlabelled=30)
    prior = kind().split(given, None, 4).memory["prior"]
    count = np.bincount(given.label.numpy()[:60], minlength=3) + 1
    np.testing.assert_allclose(prior.numpy(), count / count.sum(), rtol=1e-6)
    uniform = kind(prior="uniform").split(given, None, 4).memory["prior"]
    np.testing.assert_allclose(uniform.numpy(), np.full(3, 1 / 3), rtol=1e-6)
    weighted = kind(prior={"fear": 3.0, "anger": 1.0}).split(given, None, 4).memory["prior"]
    assert weighted.tolist() == [0.0, 0.75, 0.25]


@pytest.mark.parametrize(
    ("fields", "reads"),
    [
        ({}, False),
        ({"mixture": "class"}, True),
        ({"clean_prob": "posterior"}, True),
        ({"prior": "verified"}, True),
        ({"threshold_rule": "class_mean"}, True),
    ],
)
def test_predictions_are_gathered_only_if_they_are_read(
    fields: dict[str, Any], reads: bool
) -> None:
    method = CoDivide(**fields)
    assert method.reads_prob == reads
    given = scores(4)
    if not reads:
        method.split(replace(given, prob=given.prob[:, :0]), None, 4)


def test_an_estimated_prior_is_the_share_of_the_labels_kept() -> None:
    given = scores(5)
    method = CoDivide(prior="estimated", penalty_weight=2.0)
    split = method.split(given, None, 4)
    count = np.ones(3)
    for kept in split.is_labeled.numpy():
        for number in given.label.numpy()[kept]:
            count[number] += 1
    np.testing.assert_allclose(split.memory["prior"].numpy(), count / count.sum(), rtol=1e-6)

    student, labeled = linear_network(4, 3, 1), labeled_batch(2, 0, 1)
    output = method.step(student, None, labeled, None, replace(context(), split=split))
    prob = reference.linear_prob(labeled.strong[0].double().numpy(), numpy_weight(student))
    expected = reference.prior_penalty(prob, count / count.sum())
    assert float(output.logs["penalty"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [{"shrinkage": -1.0}, {"margin_floor": 1.5}, {"prior": "guessed"}, {"min_class_fraction": 1.1}],
)
def test_fields_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CoDivide(**wrong)
