"""Per-class thresholds on the clean probability, by class name. Pure."""

import difflib
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Ada-CM's beta and floor (Li et al. 2022, section 3.2); its gamma is e.
_MARGIN, _MARGIN_FLOOR = 0.97, 0.8

DEFAULT = "default"
DEFAULT_THRESHOLD = 0.5


def check_thresholds(thresholds: Mapping[str, float]) -> None:
    """Check ranges; class names can only be checked once the data set is known.

    Raises:
        ValueError: If a threshold lies outside [0, 1].
    """
    for name, value in thresholds.items():
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"thresholds.{name}: a clean probability in [0, 1], got {value}")


def check_class_names(named: Sequence[str], class_names: Sequence[str], place: str) -> None:
    """Refuse names that are no class of the data set.

    Raises:
        ValueError: Naming the place, the unknown class, the nearest one and all known ones.
    """
    for name in named:
        if name not in class_names:
            near = difflib.get_close_matches(name, class_names, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ValueError(
                f"{place}.{name}: no such class{hint} The classes are {', '.join(class_names)}."
            )


def threshold_by_class(
    thresholds: Mapping[str, float], class_names: Sequence[str]
) -> Float[Tensor, " class"]:
    """Thresholds in label order; `default` (0.5 unless given) covers what is not named.

    Raises:
        ValueError: If a name is no class.

    >>> threshold_by_class({"default": 0.5, "fear": 0.75}, ["fear", "anger"])
    tensor([0.7500, 0.5000])
    """
    named = [name for name in thresholds if name != DEFAULT]
    check_class_names(named, class_names, "thresholds")
    rest = thresholds.get(DEFAULT, DEFAULT_THRESHOLD)
    return torch.tensor([thresholds.get(name, rest) for name in class_names])


def keep_at_least(
    keep: Bool[Tensor, " sample"],
    clean_prob: Float[Tensor, " sample"],
    label: Int[Tensor, " sample"],
    num_classes: int,
    share: float,
) -> Bool[Tensor, " sample"]:
    """Who keeps the label if every class keeps at least a share of its labels: its likeliest ones.

    Args:
        keep: Who keeps the label otherwise.
        clean_prob: Probability that the label is right.
        label: Labels as given; below 0 where none was.
        num_classes: How many classes there are.
        share: In [0, 1]; of n labels of a class, at least the share rounded up is kept.

    >>> keep, label = torch.tensor([True, True, False, False]), torch.tensor([0, 0, 1, 1])
    >>> keep_at_least(keep, torch.tensor([0.9, 0.8, 0.1, 0.2]), label, 2, 0.5)
    tensor([ True,  True, False,  True])
    """
    size = torch.bincount(label + 1, minlength=num_classes + 1)[1:]
    kept = torch.bincount(label[keep] + 1, minlength=num_classes + 1)[1:]
    # 1e-9: a product that should be whole may exceed it a little.
    least = torch.ceil(size.double() * share - 1e-9).long()
    result = keep.clone()
    for number in torch.nonzero(kept < least)[:, 0].tolist():
        rows = torch.nonzero((label == number) & ~keep)[:, 0]
        likeliest = clean_prob[rows].argsort(descending=True, stable=True)
        result[rows[likeliest[: int(least[number] - kept[number])]]] = True
    return result


def adaptive_margin(
    prob: Float[Tensor, "sample class"],
    label: Int[Tensor, " sample"],
    epoch: int,
    *,
    floor: float = _MARGIN_FLOOR,
) -> Float[Tensor, " class"]:
    """How confident a network is where it answers as labelled, by class, shrunk a little.

    Ada-CM (Li et al. 2022, https://arxiv.org/abs/2203.12341): T_c is the mean of max p over the
    images of label c that are predicted as c, times 0.97 / (1 + e^-epoch), and no less than
    `floor`; a class that is never found has the floor.

    >>> prob = torch.tensor([[0.95, 0.05], [0.3, 0.7]])
    >>> adaptive_margin(prob, torch.tensor([0, 0]), 9)
    tensor([0.9214, 0.8000])
    """
    confidence, pred = prob.max(dim=1)
    right = pred == label
    margin = torch.full((prob.shape[1],), floor)
    for number in label[right].unique().tolist():
        mean = float(confidence[right & (label == number)].mean())
        margin[number] = max(floor, mean * _MARGIN / (1 + math.exp(-epoch)))
    return margin


def class_mean_confidence(
    prob: Float[Tensor, "sample class"], label: Int[Tensor, " sample"]
) -> Float[Tensor, " class"]:
    """Mean probability of the given label over the images that have it; 1 without images.

    DNFER (Gu et al. 2023) keeps a label whose probability is above that of its class. Labels below
    0 (none given) take no part.

    >>> class_mean_confidence(torch.tensor([[0.9, 0.1], [0.5, 0.5]]), torch.tensor([0, 0]))
    tensor([0.7000, 1.0000])
    """
    threshold = torch.ones(prob.shape[1])
    for number in label[label >= 0].unique().tolist():
        threshold[number] = prob[label == number, number].mean()
    return threshold
