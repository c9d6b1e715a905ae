"""Counts and what derives from them. Pure: counts are summed over ranks before they come here."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

UNLABELED = UNKNOWN_TRUTH = -1

SHARE_BINS = 50
"""Bins that [0, 1] is cut into for the histograms of a row."""


def share_counts(share: Float[Tensor, "network value"]) -> Int[Tensor, "network bin"]:
    """How many values of every network lie in each of `SHARE_BINS` equal bins of [0, 1].

    >>> share_counts(torch.tensor([[0.0, 0.019, 1.0]]))[0, [0, 49]].tolist()
    [2, 1]
    """
    return torch.stack([torch.histc(row, SHARE_BINS, 0, 1) for row in share.float()]).int()


def confusion_matrix(
    label: Int[Tensor, " sample"], pred: Int[Tensor, " sample"], num_classes: int
) -> Int[Tensor, "class class"]:
    """Counts with true classes in rows and predicted classes in columns.

    >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    cell = label * num_classes + pred
    return torch.bincount(cell, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_recall(confusion: Real[Tensor, "class class"]) -> Float[Tensor, " class"]:
    """Share of every class that is found; NaN for a class without images."""
    return confusion.diagonal().double() / confusion.sum(dim=1).double()


def epoch_metrics(
    confusion: Real[Tensor, "class class"], class_names: Sequence[str]
) -> dict[str, float]:
    """Accuracy (WAR), macro recall (UAR, over classes with images) and recall per class."""
    recall = class_recall(confusion)
    metrics = {
        "accuracy": float(confusion.diagonal().sum().double() / confusion.sum().clamp_min(1)),
        "macro_recall": float(recall.nanmean()),
    }
    named = zip(class_names, recall.tolist(), strict=True)
    return metrics | {f"recall/{name}": value for name, value in named}


def selection_metrics(
    is_labeled: Bool[Tensor, "network sample"],
    trained_label: Int[Tensor, "network sample"],
    clean_prob: Float[Tensor, "network sample"],
    label: Int[Tensor, " sample"],
    true_label: Int[Tensor, " sample"],
    class_names: Sequence[str],
) -> dict[str, float]:
    """How the split divides, and, where the truth is known, how well (mean over networks).

    Args:
        is_labeled: Who is trained on with a label.
        trained_label: With which: the given one, or a pseudo-label; counts where `is_labeled`.
        clean_prob: Probability that the given label is right.
        label: Labels as given; -1 where none was.
        true_label: True labels; `UNKNOWN_TRUTH` (-1) if not known.
        class_names: Names of the classes, in label order.

    Returns:
        `labeled_fraction` (of all images), `labeled_fraction/<class>` (of those with the given
        label, how many keep it), `min_class_fraction` (the smallest of these of any network) and,
        if any truth is known, `precision` (share of the labels trained on that are right), `recall`
        (share of the right given labels that are kept) and `auroc` (of the clean probability).
    """
    is_kept = is_labeled & (trained_label == label)
    kept = is_kept.double().mean(dim=0)
    metrics = {"labeled_fraction": float(is_labeled.double().mean())}
    for number, name in enumerate(class_names):
        metrics[f"labeled_fraction/{name}"] = float(kept[label == number].mean())
    given = [number for number in range(len(class_names)) if bool((label == number).any())]
    shares = [is_kept[:, label == number].double().mean(dim=1) for number in given]
    metrics["min_class_fraction"] = float(torch.stack(shares).min())
    is_known = true_label != UNKNOWN_TRUTH
    judged = is_known & (label != UNLABELED)
    clean = (label == true_label)[judged]
    can_fail = bool((is_labeled & ~is_kept & is_known).any()) or not bool(clean.all())
    if not bool(clean.any()) or not can_fail:
        return metrics
    trained = is_labeled & is_known
    hits = (trained & (trained_label == true_label)).sum(dim=1)
    metrics["precision"] = float((hits / trained.sum(dim=1)).double().mean())
    metrics["recall"] = float((is_kept[:, judged] & clean).sum(dim=1).double().mean() / clean.sum())
    if not bool(clean.all()):
        aurocs = [auroc(clean, row[judged]) for row in clean_prob]
        metrics["auroc"] = sum(aurocs) / len(aurocs)
    return metrics


def auroc(is_positive: Bool[Tensor, " sample"], score: Float[Tensor, " sample"]) -> float:
    """Area under the ROC curve: how often a positive scores higher than a negative.

    Ties count half (Mann & Whitney 1947). NaN without a positive or without a negative.
    """
    _, place, count = score.unique(return_inverse=True, return_counts=True)
    # Ranks from 1; equal scores share the mean of theirs.
    rank = (count.cumsum(0) - (count.double() - 1) / 2)[place]
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    wins = float(rank[is_positive].sum()) - positives * (positives + 1) / 2
    return wins / (positives * negatives) if positives and negatives else math.nan
