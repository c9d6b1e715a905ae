"""DivideMix against the paper in loops: split, targets, mixture, loss, gradient."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.mixture import Mixture
from fer_ray.core.types import (
    EmptySplitError,
    Labeled,
    ModelOutput,
    SplitResult,
    StepContext,
    Unlabeled,
)
from fer_ray.methods.dividemix import DivideMix
from fer_ray.training.checkpoint import load_checkpoint, save_checkpoint
from fer_ray.training.state import new_state
from tests import reference
from tests.gloo import GlooRanks
from tests.methods.batches import (
    context,
    labeled_batch,
    numpy_weight,
    reference_clean_prob,
    scores,
    torch_gradient,
    unlabeled_batch,
)
from tests.samples import (
    CPU,
    LinearNetwork,
    faces,
    linear_network,
    make_run,
    same_weights,
    timeless,
    train,
)

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
    of_labeled = [reference.linear_prob(view, own) for view in as_arrays(labeled.weak)]
    weak = [] if unlabeled is None else as_arrays(unlabeled.weak)
    by_own = [reference.linear_prob(view, own) for view in weak]
    by_other = [reference.linear_prob(view, other) for view in weak]
    said = (of_labeled, by_own, by_other)
    return reference_learning(method, student, labeled, unlabeled, seed, *said)


def reference_learning(
    method: DivideMix,
    student: LinearNetwork,
    labeled: Labeled,
    unlabeled: Unlabeled | None,
    seed: int,
    of_labeled: list[reference.Floats],
    by_own: list[reference.Floats],
    by_other: list[reference.Floats],
) -> tuple[float, reference.Floats]:
    """The same, once the student has spoken of labelled images, and it and its peer of others."""
    own, times = numpy_weight(student), method.num_views
    label, clean_prob = labeled.label.numpy(), labeled.clean_prob.double().numpy()
    refined = reference.co_refine(label, clean_prob, of_labeled, method.temperature)
    targets, images = [refined] * times, as_arrays(labeled.strong or labeled.weak)
    if unlabeled is not None:
        targets += [reference.co_guess(by_own, by_other, method.temperature)] * times
        images += as_arrays(unlabeled.strong or unlabeled.weak)
    partner, draw = draws(seed, sum(map(len, images)), method.alpha)
    num_labeled = times * len(labeled.index)
    if method.form == "clothing1m":
        partner = partner[:num_labeled]
    mixed = reference.mixup(np.concatenate(images), partner, draw)
    target = reference.mixup(np.concatenate(targets), partner, draw)
    ramp = reference.linear_ramp(EPOCH, method.num_warmup(12), method.rampup_epochs)

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


def batches(
    method: DivideMix, seed: int, *, has_unlabeled: bool = True
) -> tuple[Labeled, Unlabeled | None]:
    """With the views that the method asks for."""
    views = method.views
    labeled = labeled_batch(seed, views.labeled_weak, views.labeled_strong)
    unlabeled = unlabeled_batch(seed, views.unlabeled_weak, views.unlabeled_strong)
    return labeled, unlabeled if has_unlabeled else None


CASES: list[dict[str, Any]] = [
    {"form": "cifar", "unlabeled_weight": 25.0, "alpha": 4.0},
    {"form": "cifar", "unlabeled_weight": 25.0, "alpha": 4.0, "gradient_views": "weak"},
    {"form": "cifar", "unlabeled_weight": 3.0, "rampup_epochs": 0.0, "temperature": 0.3},
    {"form": "cifar", "unlabeled_weight": 0.0, "penalty_weight": 0.0},
    {"form": "clothing1m"},
    {"form": "clothing1m", "gradient_views": "weak", "penalty_weight": 3.0, "alpha": 2.0},
    {"form": "cifar", "unlabeled_weight": 25.0, "num_views": 1},
    {"form": "clothing1m", "num_views": 1},
    {"form": "clothing1m", "num_views": 3, "gradient_views": "weak"},
]


@pytest.mark.parametrize("fields", CASES, ids=str)
@pytest.mark.parametrize("has_unlabeled", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_whole_step_is_that_of_the_paper(
    fields: dict[str, Any], has_unlabeled: bool, seed: int
) -> None:
    method = DivideMix(warmup_epochs=3, **fields)
    student, peer = linear_network(4, 3, seed), linear_network(4, 3, seed + 50)
    labeled, unlabeled = batches(method, seed, has_unlabeled=has_unlabeled)
    output = method.step(student, peer, labeled, unlabeled, context(seed, EPOCH))
    loss, gradient = reference_step(method, student, peer, labeled, unlabeled, seed)
    assert output.loss.item() == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(torch_gradient(output, student), gradient, rtol=1e-3, atol=2e-5)
    assert peer.weight.grad is None


def test_guesses_come_from_weak_views_of_both_networks_and_refinement_from_the_student() -> None:
    student, peer = linear_network(4, 3, 0), linear_network(4, 3, 1)
    labeled, unlabeled = labeled_batch(0), unlabeled_batch(0)
    DivideMix().step(student, peer, labeled, unlabeled, context())
    assert len(student.predicted) == len(peer.predicted) == 1
    assert torch.equal(student.predicted[0], torch.cat([*labeled.weak, *unlabeled.weak]))
    assert torch.equal(peer.predicted[0], torch.cat(unlabeled.weak))


@pytest.mark.parametrize("num_unlabeled", [5, 3])
def test_one_batched_forward_guesses_like_a_forward_a_view(
    num_unlabeled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The targets handed to the mixing are those of forwards made one by one."""
    student, peer = linear_network(4, 3, 0), linear_network(4, 3, 1)
    labeled, unlabeled = labeled_batch(0), unlabeled_batch(0, batch=num_unlabeled)
    method, handed = DivideMix(temperature=0.7), list[torch.Tensor]()
    original = DivideMix._mix

    def mix(self: DivideMix, images: Any, target: torch.Tensor, *rest: Any) -> Any:
        handed.append(target)
        return original(self, images, target, *rest)

    monkeypatch.setattr(DivideMix, "_mix", mix)
    method.step(student, peer, labeled, unlabeled, context())
    own = [student.predict(view) for view in labeled.weak]
    clean = labeled.clean_prob[:, None]
    refined = clean * torch.eye(3)[labeled.label] + (1 - clean) * (own[0] + own[1]) / 2
    guesses = [net.predict(view) for net in (student, peer) for view in unlabeled.weak]
    guess = sum(guesses[1:], guesses[0]) / 4
    expected = [(prob ** (1 / 0.7)) / (prob ** (1 / 0.7)).sum(1, True) for prob in (refined, guess)]
    whole = torch.cat([expected[0], expected[0], expected[1], expected[1]])
    torch.testing.assert_close(handed[0], whole, rtol=1e-5, atol=1e-6)


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
    split = DivideMix(clean_threshold=0.6, min_class_fraction=0.0).split(given, None, 4)
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
    split = DivideMix(clean_threshold=0.5, min_class_fraction=0.0).split(scores(0), None, 4)
    assert split.is_labeled.sum(dim=1).tolist() == [5, 5]
    with pytest.raises(EmptySplitError):
        DivideMix(clean_threshold=0.75, min_class_fraction=0.0).split(scores(0), None, 4)


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
        DivideMix(clean_threshold=1.0, min_class_fraction=0.0).split(scores(0), None, 9)


def test_a_rescued_label_counts_as_much_as_the_least_likely_kept_one() -> None:
    given = scores(3, num=200, unlabelled=10)
    method = DivideMix(clean_threshold=1.0, min_class_fraction=0.2)
    split = method.split(given, None, 4)
    low = DivideMix(clean_threshold=0.0, min_class_fraction=0.2).split(given, None, 4)
    for network in (0, 1):
        kept, prob = split.is_labeled[network], low.clean_prob[network]
        for number in range(3):
            own = given.label == number
            least = math.ceil(0.2 * int(own.sum()))
            assert int(kept[own].sum()) == int(split.memory["rescued"][network, number]) == least
            assert prob[own & kept].min() >= prob[own & ~kept].max()
        assert bool((split.clean_prob[network][kept] == 1.0).all())
        assert torch.equal(split.clean_prob[network][~kept], prob[~kept])


def test_rescued_labels_are_counted_for_the_network_that_trains_on_them() -> None:
    given = scores(3, num=200, unlabelled=10)
    free, held = (
        DivideMix(min_class_fraction=fraction).split(given, None, 4) for fraction in (0.0, 0.9)
    )
    gained = held.is_labeled & ~free.is_labeled
    counts = [torch.bincount(given.label[rows], minlength=3) for rows in gained]
    assert torch.equal(held.memory["rescued"], torch.stack(counts))
    assert not torch.equal(counts[0], counts[1])


def test_one_image_is_not_enough_to_learn_from() -> None:
    given = scores(0)
    order = given.loss.sum(dim=0).argsort()
    only = replace(given, is_labeled=torch.isin(torch.arange(60), order[[0, -1]]))
    with pytest.raises(EmptySplitError, match="epoch 9: 1 images keep"):
        DivideMix(min_class_fraction=0.0).split(only, None, 9)


@pytest.mark.parametrize("num_views", [1, 2, 3])
@pytest.mark.parametrize(
    ("guesses", "gradient_views", "has_weak", "has_strong"),
    [
        ("fresh", "strong", True, True),
        ("fresh", "weak", True, False),
        ("scored", "strong", False, True),
        ("scored", "weak", True, False),
    ],
)
def test_only_views_that_are_looked_at_are_asked_for(
    guesses: Any, gradient_views: Any, has_weak: bool, has_strong: bool, num_views: int
) -> None:
    fields = {"guesses": guesses, "gradient_views": gradient_views, "num_views": num_views}
    views = DivideMix(**fields).views
    assert views.labeled_weak == views.unlabeled_weak == num_views * has_weak
    assert views.labeled_strong == views.unlabeled_strong == num_views * has_strong
    assert views.needs_unlabeled


# --- guesses from the scores ----------------------------------------------------------------------


@dataclass(eq=False)
class BlindNetwork(LinearNetwork):
    """Learns, but must not be asked, and counts the images that it learns from."""

    learnt: int = 0

    def __call__(self, images: torch.Tensor, /) -> ModelOutput:
        self.learnt += len(images)
        return LinearNetwork.__call__(self, images)

    def predict(self, images: torch.Tensor, /) -> torch.Tensor:
        raise AssertionError("a forward without gradient")


def blind_network(seed: int) -> BlindNetwork:
    network = linear_network(4, 3, seed)
    return BlindNetwork(network.weight, network.bias)


def scored_context(seed: int, network: int) -> tuple[StepContext, torch.Tensor]:
    """A context whose split has drawn softmaxes of two networks for 120 images, and these."""
    given = scores(seed, 120)
    split = DivideMix(guesses="scored", prior="uniform").split(given, None, 4)
    return replace(context(seed, EPOCH), split=split, network=network), given.prob


SCORED: list[dict[str, Any]] = [
    {"form": "cifar", "unlabeled_weight": 25.0, "alpha": 4.0},
    {"form": "cifar", "unlabeled_weight": 25.0, "num_views": 1, "gradient_views": "weak"},
    {"form": "clothing1m", "gradient_views": "weak"},
    {"form": "clothing1m", "num_views": 1, "temperature": 0.3},
]


@pytest.mark.parametrize("fields", SCORED, ids=str)
@pytest.mark.parametrize("has_unlabeled", [True, False])
@pytest.mark.parametrize("network", [0, 1])
def test_a_scored_step_is_that_of_the_paper_with_predictions_known_before(
    fields: dict[str, Any], has_unlabeled: bool, network: int
) -> None:
    """The student refines by its own scores, not by its peer's; both guess; nobody is asked."""
    method = DivideMix(warmup_epochs=3, guesses="scored", **fields)
    student, peer = blind_network(7), blind_network(8)
    labeled, unlabeled = batches(method, 2, has_unlabeled=has_unlabeled)
    labeled = replace(labeled, index=torch.tensor([11, 3, 90, 4, 57]))
    given, prob = scored_context(2, network)
    output = method.step(student, peer, labeled, unlabeled, given)
    rows = prob.double().numpy()
    of_labeled = [rows[network, labeled.index.numpy()]]
    by_both = rows[:, [] if unlabeled is None else unlabeled.index.numpy()]
    said = (of_labeled, [by_both[0]], [by_both[1]])
    loss, gradient = reference_learning(method, student, labeled, unlabeled, 2, *said)
    assert output.loss.item() == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(torch_gradient(output, student), gradient, rtol=1e-3, atol=2e-5)
    assert peer.learnt == 0


def test_row_k_of_the_memory_is_what_network_k_says() -> None:
    given = scores(3)
    split = DivideMix(guesses="scored").split(given, None, 4)
    assert split.memory["soft_target"].shape == (2, 60, 3)
    for network in (0, 1):
        assert torch.equal(split.memory["soft_target"][network], given.prob[network])
    assert "soft_target" not in DivideMix().split(given, None, 4).memory


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_the_memory_is_a_moving_average_that_begins_with_the_first_scores(momentum: float) -> None:
    method, rounds = DivideMix(guesses="scored", guess_momentum=momentum), list[SplitResult]()
    given = [scores(seed) for seed in range(3)]
    for epoch, each in enumerate(given):
        rounds.append(method.split(each, rounds[-1] if rounds else None, 4 + epoch))
    first, second, third = (each.prob.double().numpy() for each in given)
    after_two = momentum * first + (1 - momentum) * second
    after_three = momentum * after_two + (1 - momentum) * third
    for split, expected in zip(rounds, (first, after_two, after_three), strict=True):
        np.testing.assert_allclose(split.memory["soft_target"].numpy(), expected, atol=1e-6)


def test_a_split_without_the_memory_is_no_obstacle() -> None:
    before, given = DivideMix().split(scores(0), None, 4), scores(1)
    split = DivideMix(guesses="scored").split(given, before, 5)
    assert torch.equal(split.memory["soft_target"], given.prob)


@pytest.mark.parametrize("guesses", ["fresh", "scored"])
@pytest.mark.parametrize(("form", "num_halves"), [("cifar", 2), ("clothing1m", 1)])
@pytest.mark.parametrize("num_views", [1, 2])
def test_as_many_views_are_learnt_from(
    form: Any, num_halves: int, num_views: int, guesses: Any
) -> None:
    method = DivideMix(form=form, guesses=guesses, num_views=num_views)
    student, peer = blind_network(7), blind_network(8)
    if guesses == "fresh":
        for network in (student, peer):
            network.predict = linear_network(4, 3, 0).predict  # type: ignore[method-assign]
    given, _ = scored_context(0, 0)
    labeled, unlabeled = batches(method, 0)
    output = method.step(student, peer, labeled, unlabeled, given)
    assert student.learnt == 5 * num_views * num_halves
    assert ("unlabeled_loss" in output.logs) == (form == "cifar")
    assert bool(torch.isfinite(output.loss))


@pytest.mark.parametrize("guesses", ["fresh", "scored"])
def test_a_run_that_scores_is_resumed_and_learns(guesses: str, tmp_path: Path) -> None:
    overrides = {"method__guesses": guesses, "method__num_views": 1, "optim__epochs": 5}
    run, data = make_run("dividemix", **overrides), faces()
    whole, _ = train(run, data)
    half, _ = train(run, data, num_epochs=3)
    save_checkpoint(half, run, tmp_path)
    resumed = new_state(run, data, CPU)
    load_checkpoint(resumed, tmp_path)
    train(run, data, resumed)
    assert same_weights(whole, resumed)
    assert whole.history[-1]["val/accuracy"] > 0.4


def scored_end() -> tuple[torch.Tensor, str]:
    run = make_run("dividemix", method__guesses="scored", optim__epochs=3)
    state, rows = train(run, faces(num_train=91))
    assert state.split is not None
    return state.split.memory["soft_target"], timeless(rows)


def test_all_ranks_look_up_the_same_scores(gloo_pair: GlooRanks) -> None:
    (memory, rows), (other, other_rows) = gloo_pair.run(scored_end)
    assert memory.shape == (2, 91, 4)
    assert torch.equal(memory, other)
    assert rows == other_rows


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"guesses": "stale"}, r"^method\.guesses: .*'scored'"),
        ({"guess_momentum": 1.0}, r"^method\.guess_momentum: in \[0, 1\), got 1\.0"),
        ({"guess_momentum": -0.1}, r"^method\.guess_momentum: in \[0, 1\), got -0\.1"),
        ({"num_views": 0}, r"^method\.num_views: at least 1, got 0"),
        ({"num_views": 1.5}, r"^method\.num_views: "),
    ],
)
def test_a_bad_value_is_named(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        RunConfig.from_dict({"method": {"name": "dividemix", **fields}})
