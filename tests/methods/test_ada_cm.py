"""Ada-CM against loops: margins, subsets, loss and gradient; its two sources of labels."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fer_ray.core.types import SplitResult
from fer_ray.methods.ada_cm import AdaCM
from fer_ray.methods.dividing import clean_probability
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
from tests.samples import faces, linear_network, make_run, train


def one_network(seed: int, **options: Any) -> Any:
    given = scores(seed, **options)
    return replace(given, loss=given.loss[:1], prob=given.prob[:1])


def split_with(margin: list[float]) -> SplitResult:
    split = AdaCM().split(one_network(0), None, 4)
    return replace(split, memory={**split.memory, "margin": torch.tensor(margin)})


@pytest.mark.parametrize("seed", range(3))
def test_noisy_labels_are_kept_by_the_mixture_and_margins_are_of_the_kept(seed: int) -> None:
    given = one_network(seed, num=200, unlabelled=20)
    split = AdaCM(
        mixture="global", clean_threshold=0.6, margin_floor=0.3, min_class_fraction=0.0
    ).split(given, None, 4)
    clean_prob = reference_clean_prob(given, 0.99, monotone=True)[0]
    np.testing.assert_allclose(split.clean_prob[0].numpy(), clean_prob, atol=1e-5)
    label = given.label.numpy()
    kept = np.array([w > 0.6 and y >= 0 for w, y in zip(clean_prob, label, strict=True)])
    assert np.array_equal(split.is_labeled[0].numpy(), kept)
    expected = reference.margins(given.prob[0].double().numpy()[kept], label[kept], 4, 0.3)
    np.testing.assert_allclose(split.memory["margin"].numpy(), expected, rtol=1e-5)


def test_one_mixture_per_label_if_so_asked() -> None:
    given = one_network(2, num=200, unlabelled=20)
    by_class, whole = (
        AdaCM(mixture=kind).split(given, None, 4).clean_prob for kind in ("class", "global")
    )
    assert torch.equal(by_class, clean_probability(given, mixture="class")[0])
    assert not torch.equal(by_class, whole)


def test_trusted_labels_are_all_kept() -> None:
    given = one_network(1, num=60, unlabelled=40)
    split = AdaCM(labels="trusted").split(given, None, 4)
    assert torch.equal(split.is_labeled[0], given.is_labeled)
    assert torch.equal(split.clean_prob[0], given.is_labeled.float())
    assert not split.reset_networks


@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradient_are_those_of_a_loop(seed: int) -> None:
    student = linear_network(4, 3, seed, spread=2.0)
    labeled, unlabeled = labeled_batch(seed, 0, 1), unlabeled_batch(seed, 2, 1, batch=7)
    known, *weak, strong = (
        view.double().numpy() for view in (labeled.strong[0], *unlabeled.weak, unlabeled.strong[0])
    )
    weight = numpy_weight(student)
    guesses = [reference.linear_prob(view, weight) for view in weak]
    mean = (guesses[0] + guesses[1]) / 2
    answer = mean.argmax(axis=1)
    # The margin of the class most often answered lies among its answers; those of others, below.
    most = int(np.bincount(answer).argmax())
    margin = [0.1, 0.1, 0.1]
    margin[most] = float(np.sort(mean.max(axis=1)[answer == most])[1:3].mean())
    first = np.array([max(row) >= margin[c] for row, c in zip(mean, answer, strict=True)])
    assert first.sum() == 5  # two are left: the contrast of one face alone is 0
    method = AdaCM(labeled_weight=0.7, pseudo_weight=1.3, contrast_weight=0.4, temperature=0.5)
    output = method.step(
        student, None, labeled, unlabeled, replace(context(), split=split_with(margin))
    )
    # Of a linear network the features are the pixels, which no weight changes.
    second = [view.reshape(7, -1)[~first] for view in weak]
    contrast = reference.nt_xent(second[0], second[1], 0.5)

    def loss(weight: reference.Floats) -> float:  # the pseudo-labels are constants
        prob = reference.linear_prob(known, weight)
        labeled_loss = reference.soft_cross_entropy(prob, np.eye(3)[labeled.label.numpy()])
        pseudo = reference.confident_cross_entropy(
            reference.linear_prob(strong, weight), answer, first
        )
        return 0.7 * labeled_loss + 1.3 * pseudo + 0.4 * contrast

    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-5)
    np.testing.assert_allclose(
        torch_gradient(output, student), reference.numerical_gradient(loss, weight), atol=1e-5
    )
    assert output.logs["confident_fraction"].item() == pytest.approx(first.mean())


def test_a_confidence_at_the_margin_is_enough() -> None:
    student = linear_network(4, 3, 0, spread=0.0)  # answers 1/3 throughout
    for value, expected in ((float(torch.full((3,), 1.0).softmax(0)[0]), 1.0), (0.34, 0.0)):
        output = AdaCM().step(
            student,
            None,
            labeled_batch(0, 0, 1),
            unlabeled_batch(0, 2, 1),
            replace(context(), split=split_with([value] * 3)),
        )
        assert output.logs["confident_fraction"].item() == expected


def test_without_unlabelled_images_the_labelled_ones_are_learnt() -> None:
    student, labeled = linear_network(4, 3, 0), labeled_batch(0, 0, 1)
    output = AdaCM(labeled_weight=0.5).step(student, None, labeled, None, context())
    plain = torch.nn.functional.cross_entropy(student(labeled.strong[0]).logits, labeled.label)
    assert output.loss.item() == pytest.approx(0.5 * plain.item())


def test_a_run_on_a_trusted_subset_learns_from_the_rest() -> None:
    data = faces(noise=0.0)
    label = data.train.label.copy()
    label[12:] = -1  # three labels of each class
    data = replace(data, train=replace(data.train, label=label))
    run = make_run("ada_cm", method__labels="trusted", optim__epochs=6)
    state, rows = train(run, data)
    assert rows[-1]["train/confident_fraction"] > 0
    assert rows[-1]["split/labeled_fraction"] == pytest.approx(12 / 96)
    assert state.split is not None
    assert int(state.split.is_labeled.sum()) == 12


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": "some"},
        {"clean_threshold": 1.1},
        {"margin_floor": -0.1},
        {"labeled_weight": -1.0},
        {"temperature": 0.0},
        {"network_decay": 0.0},
    ],
)
def test_fields_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    key, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=rf"method\.{key}|{key}:"):
        make_run("ada_cm", **{f"method__{key}": value})
