"""Clean probability of every image by every network: the first half of a co-divide."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fer_ray.mixture import Mixture, fit_class_mixtures, fit_mixture, normalize
from fer_ray.types import Scores

Labels = Literal["noisy", "trusted"]
"""Where a semi-supervised method has its labelled set from: a co-divide, or all labels given."""


def clean_probability(
    scores: Scores,
    *,
    mixture: Literal["global", "class"] = "global",
    shrinkage: float = 100.0,
    clip_quantile: float = 0.99,
    monotone: bool = True,
) -> tuple[Float[Tensor, "network sample"], dict[str, Tensor]]:
    """Fit a mixture to each network's losses (DivideMix, section 3.1).

    Row k is what network k says; a co-divide swaps the rows afterwards. Images without a label take
    no part and have 0.

    Args:
        scores: What the networks say.
        mixture: One mixture for all losses, or one per label.
        shrinkage: In images: how strongly the mixture of a class is drawn towards the global one.
        clip_quantile: Losses above this quantile count as the quantile.
        monotone: Whether a smaller loss may never count as less clean.

    Returns:
        Clean probabilities in [0, 1], and `mixture_memory` of the global mixtures.

    Raises:
        MixtureError: If the losses cannot be divided.
    """
    rows = scores.is_labeled
    label, num_classes = scores.label[rows], len(scores.class_names)
    clean_prob, mixtures = torch.zeros_like(scores.loss), []
    for network, given in enumerate(scores.loss[:, rows]):
        loss = normalize(given, clip_quantile)
        whole = fit_mixture(loss)
        mixtures.append(whole)
        if mixture == "global":
            clean_prob[network, rows] = whole.clean_prob(loss, monotone=monotone)
            continue
        prob = torch.zeros_like(loss)
        by_class = fit_class_mixtures(loss, label, num_classes, whole, shrinkage)
        for number, own in enumerate(by_class):
            prob[label == number] = own.clean_prob(loss[label == number], monotone=monotone)
        clean_prob[network, rows] = prob
    return clean_prob, mixture_memory(mixtures)


def mixture_memory(mixtures: Sequence[Mixture]) -> dict[str, Tensor]:
    """The fitted components, one row per scoring network, for the picture of the losses."""
    return {
        "mixture_mean": torch.stack([mixture.mean for mixture in mixtures]),
        "mixture_std": torch.stack([mixture.std for mixture in mixtures]),
        "mixture_weight": torch.stack([mixture.weight for mixture in mixtures]),
    }


def class_shares(label: Int[Tensor, " image"], num_classes: int) -> Float[Tensor, " class"]:
    """Share of every class among labels; one image more each, so none is 0."""
    count = torch.bincount(label, minlength=num_classes).float() + 1
    return count / count.sum()


def labeled_set(
    scores: Scores,
    labels: Labels,
    clean_threshold: float,
    mixture: Literal["global", "class"] = "global",
) -> tuple[Bool[Tensor, "network sample"], Float[Tensor, "network sample"], dict[str, Tensor]]:
    """The labelled set of a semi-supervised method: what is trusted, or what a mixture believes.

    Each network keeps what it believes itself; such methods have one.

    Returns:
        Who is labelled, clean probabilities in [0, 1] (1 for trusted labels, 0 without a label),
        and what to remember.

    Raises:
        MixtureError: If `labels` is `noisy` and the losses cannot be divided.
    """
    if labels == "trusted":
        keep = scores.is_labeled.expand(len(scores.loss), -1).clone()
        return keep, keep.float(), {}
    clean_prob, memory = clean_probability(scores, mixture=mixture)
    return (clean_prob > clean_threshold) & scores.is_labeled, clean_prob, memory
