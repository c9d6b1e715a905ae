"""Counts and what derives from them. Pure: counts are summed over ranks before they come here."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

UNLABELED = UNKNOWN_TRUTH = -1


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
    clean_prob: Float[Tensor, "network sample"],
    label: Int[Tensor, " sample"],
    true_label: Int[Tensor, " sample"],
    class_names: Sequence[str],
) -> dict[str, float]:
    """How the split divides, and, where the truth is known, how well (mean over networks).

    Args:
        is_labeled: Who keeps the label.
        clean_prob: Probability that the given label is right.
        label: Labels as given; -1 where none was.
        true_label: True labels; `UNKNOWN_TRUTH` (-1) if not known.
        class_names: Names of the classes, in label order.

    Returns:
        `labeled_fraction`, `labeled_fraction/<class>` (by given label), `min_class_fraction` (the
        smallest of these of any network) and, if any truth is known,
        `precision` (share of kept labels that are right), `recall` (share of right labels that are
        kept) and `auroc` (of the clean probability).
    """
    kept = is_labeled.double().mean(dim=0)
    metrics = {"labeled_fraction": float(kept.mean())}
    for number, name in enumerate(class_names):
        metrics[f"labeled_fraction/{name}"] = float(kept[label == number].mean())
    given = [number for number in range(len(class_names)) if bool((label == number).any())]
    shares = [is_labeled[:, label == number].double().mean(dim=1) for number in given]
    metrics["min_class_fraction"] = float(torch.stack(shares).min())
    known = (true_label != UNKNOWN_TRUTH) & (label != UNLABELED)
    clean = (label == true_label)[known]
    if not bool(clean.any()) or bool(clean.all()):
        return metrics
    picked = is_labeled[:, known].double()
    hits = (picked * clean).sum(dim=1)
    aurocs = [auroc(clean, row[known]) for row in clean_prob]
    return metrics | {
        "precision": float((hits / picked.sum(dim=1)).mean()),
        "recall": float((hits / clean.sum()).mean()),
        "auroc": sum(aurocs) / len(aurocs),
    }


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
