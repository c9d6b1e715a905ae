"""Counts and ratios against loops, and where a class has no image."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_ray.core.metrics import (
    SHARE_BINS,
    UNKNOWN_TRUTH,
    UNLABELED,
    auroc,
    class_recall,
    confusion_matrix,
    epoch_metrics,
    selection_metrics,
    share_counts,
)
from tests import reference

NAMES = ("neutral", "happiness", "fear")
answers = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


@given(pairs=answers)
def test_recall_and_accuracy_are_those_of_a_loop(pairs: list[tuple[int, int]]) -> None:
    label, pred = (np.array(column) for column in zip(*pairs, strict=True))
    confusion = confusion_matrix(torch.from_numpy(label), torch.from_numpy(pred), 3)
    assert int(confusion.sum()) == len(pairs)
    metrics = epoch_metrics(confusion, NAMES)
    assert metrics["accuracy"] == pytest.approx(reference.accuracy(label, pred))
    assert metrics["macro_recall"] == pytest.approx(reference.macro_recall(label, pred, 3))
    recall = [metrics[f"recall/{name}"] for name in NAMES]
    np.testing.assert_allclose(recall, reference.recall_per_class(label, pred, 3))


def test_rows_are_true_classes() -> None:
    confusion = confusion_matrix(torch.tensor([0, 0, 0, 2]), torch.tensor([0, 1, 1, 2]), 3)
    assert confusion.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]
    assert class_recall(confusion)[0] == pytest.approx(1 / 3)


def test_a_class_without_images_is_nan_and_no_part_of_the_macro_recall() -> None:
    metrics = epoch_metrics(torch.tensor([[3, 1, 0], [0, 0, 0], [0, 1, 1]]), NAMES)
    assert math.isnan(metrics["recall/happiness"])
    assert metrics["macro_recall"] == pytest.approx((0.75 + 0.5) / 2)


def test_no_image_at_all_is_no_error() -> None:
    metrics = epoch_metrics(torch.zeros(3, 3, dtype=torch.int64), NAMES)
    assert metrics["accuracy"] == 0
    assert math.isnan(metrics["macro_recall"])


def test_accuracy_is_exact_for_many_images() -> None:
    confusion = torch.tensor([[2**26 + 1, 0, 0], [1, 0, 0], [0, 0, 0]])
    assert epoch_metrics(confusion, NAMES)["accuracy"] == (2**26 + 1) / (2**26 + 2)


def selection(seed: int, num: int = 30) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    # A coarse grid of probabilities, so that there are ties.
    clean_prob = torch.randint(0, 8, (2, num), generator=generator) / 7
    label = torch.randint(0, 3, (num,), generator=generator)
    true_label = torch.randint(0, 3, (num,), generator=generator)
    true_label[0], true_label[1] = label[0], (label[1] + 1) % 3
    return clean_prob > 0.4, clean_prob, label, true_label


@pytest.mark.parametrize("seed", range(5))
def test_selection_quality_is_that_of_loops(seed: int) -> None:
    kept, clean_prob, label, true_label = selection(seed)
    metrics = selection_metrics(kept, label.expand(2, -1), clean_prob, label, true_label, NAMES)
    clean = (label == true_label).numpy()
    pairs = [reference.selection_quality(row.numpy(), clean) for row in kept]
    precision, recall = np.mean(pairs, axis=0)
    aurocs = [reference.auroc(row.double().numpy(), clean) for row in clean_prob]
    assert metrics["precision"] == pytest.approx(precision)
    assert metrics["recall"] == pytest.approx(recall)
    assert metrics["auroc"] == pytest.approx(np.mean(aurocs))
    assert metrics["labeled_fraction"] == pytest.approx(float(kept.double().mean()))
    for number, name in enumerate(NAMES):
        expected = float(kept[:, label == number].double().mean())
        assert metrics[f"labeled_fraction/{name}"] == pytest.approx(expected)
    shares = [row[label == number].double().mean() for row in kept for number in range(len(NAMES))]
    assert metrics["min_class_fraction"] == pytest.approx(float(min(shares)))


def test_images_of_unknown_truth_take_no_part_in_quality() -> None:
    kept, clean_prob, label, true_label = selection(0)
    known = torch.arange(30) < 20
    hidden = torch.where(known, true_label, UNKNOWN_TRUTH)
    trained = label.expand(2, -1)
    whole = selection_metrics(kept, trained, clean_prob, label, hidden, NAMES)
    part = selection_metrics(
        kept[:, known],
        trained[:, known],
        clean_prob[:, known],
        label[known],
        true_label[known],
        NAMES,
    )
    for key in ("precision", "recall", "auroc"):
        assert whole[key] == pytest.approx(part[key])


@pytest.mark.parametrize("truth", ["unknown", "all right", "all wrong"])
def test_no_quality_is_reported_where_there_is_nothing_to_tell_apart(truth: str) -> None:
    kept, clean_prob, label, _ = selection(0)
    true_label = {
        "unknown": torch.full_like(label, UNLABELED),
        "all right": label,
        "all wrong": (label + 1) % 3,
    }[truth]
    metrics = selection_metrics(kept, label.expand(2, -1), clean_prob, label, true_label, NAMES)
    assert set(metrics) == {
        "labeled_fraction",
        "min_class_fraction",
        *(f"labeled_fraction/{name}" for name in NAMES),
    }


@pytest.mark.parametrize("is_positive", [True, False])
def test_there_is_no_curve_of_one_kind_only(is_positive: bool) -> None:
    assert math.isnan(auroc(torch.tensor([is_positive] * 3), torch.rand(3)))


def test_images_without_a_label_are_no_wrong_labels() -> None:
    kept = torch.tensor([[True, True, False, False]])
    label, truth = torch.tensor([0, 1, 0, -1]), torch.tensor([0, 0, 0, 0])
    clean_prob = torch.tensor([[0.9, 0.2, 0.8, 0.0]])
    figures = selection_metrics(kept, label[None], clean_prob, label, truth, ("a", "b"))
    assert figures["precision"] == figures["recall"] == 0.5
    assert figures["auroc"] == 1.0
    wrong = selection_metrics(kept, label[None], clean_prob, label, label, ("a", "b"))
    assert "auroc" not in wrong


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_are_trained_on_are_judged_not_those_that_were_given(seed: int) -> None:
    kept, clean_prob, label, true_label = selection(seed)
    label[20:] = UNLABELED
    trained = torch.where(torch.arange(30) % 3 == 0, true_label, label).expand(2, -1)
    kept = kept & (trained >= 0)
    metrics = selection_metrics(kept, trained, clean_prob, label, true_label, NAMES)
    precision, recall = [], []
    for row, own in zip(kept.tolist(), trained.tolist(), strict=True):
        learnt = [i for i in range(30) if row[i]]
        precision.append(sum(own[i] == true_label[i] for i in learnt) / len(learnt))
        right = [i for i in range(20) if label[i] == true_label[i]]
        recall.append(sum(row[i] and own[i] == label[i] for i in right) / len(right))
    assert metrics["precision"] == pytest.approx(np.mean(precision))
    assert metrics["recall"] == pytest.approx(np.mean(recall))
    for number, name in enumerate(NAMES):
        own_class = label == number
        share = (kept & (trained == label))[:, own_class].double().mean()
        assert metrics[f"labeled_fraction/{name}"] == pytest.approx(float(share))


def test_right_pseudo_labels_are_right_even_if_every_given_label_was_wrong() -> None:
    truth = torch.tensor([0, 1, 0, 1])
    given = torch.tensor([0, 0, 1, 0])
    everyone = torch.ones(1, 4, dtype=torch.bool)
    prob = torch.tensor([[0.9, 0.1, 0.2, 0.3]])
    figures = selection_metrics(everyone, truth[None], prob, given, truth, ("a", "b"))
    assert (figures["precision"], figures["recall"]) == (1.0, 1.0)
    assert figures["labeled_fraction"] == 1.0
    assert figures["min_class_fraction"] == 0.0  # the only label "b" became an "a"


def test_pseudo_labels_are_judged_where_all_given_labels_are_right() -> None:
    truth, given = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1, -1, -1])
    trained, everyone = torch.tensor([[0, 1, 0, 0]]), torch.ones(1, 4, dtype=torch.bool)
    prob = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    figures = selection_metrics(everyone, trained, prob, given, truth, ("a", "b"))
    assert figures["precision"] == 0.75
    assert "auroc" not in figures


def test_shares_are_counted_in_bins_of_equal_width() -> None:
    share = torch.rand(2, 500, generator=torch.Generator().manual_seed(0))
    share[0, :3] = torch.tensor([0.0, 1.0, 1.0])
    edges = np.linspace(0, 1, SHARE_BINS + 1)
    expected = [np.histogram(row, edges)[0].tolist() for row in share.double().numpy()]
    assert share_counts(share).tolist() == expected
