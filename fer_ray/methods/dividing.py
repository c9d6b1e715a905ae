"""The first half of a co-divide, and what is built on it beside co-divides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fer_ray.core.bounds import bounded
from fer_ray.core.metrics import share_counts
from fer_ray.core.mixture import (
    Mixture,
    clean_prob_by_class,
    fit_class_mixtures,
    fit_mixture,
    normalize,
    where_peer_agrees,
)
from fer_ray.core.thresholds import keep_at_least
from fer_ray.core.types import Scores
from fer_ray.methods.base import SplitMethod


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
        mixture: One mixture for all losses, or one per label, which needs `Scores.prob`: it counts
            where the answers of the peer speak for it (`where_peer_agrees`); a network alone is its
            own peer.
        shrinkage: In images: how strongly the mixture of a class is drawn towards the global one.
        clip_quantile: Losses above this quantile count as the quantile.
        monotone: Whether a smaller loss may never count as less clean.

    Returns:
        Clean probabilities in [0, 1], and `mixture_memory` of the global mixtures.

    Raises:
        MixtureError: If the losses cannot be divided.
    """
    # Without a copy if all are labelled: there may be many.
    rows = slice(None) if bool(scores.is_labeled.all()) else scores.is_labeled
    label, num_classes = scores.label[rows], len(scores.class_names)
    clean_prob, mixtures = torch.zeros_like(scores.loss), []
    losses = torch.stack([normalize(given[rows], clip_quantile) for given in scores.loss])
    for network, loss in enumerate(losses):
        whole = fit_mixture(loss)
        mixtures.append(whole)
        if mixture == "global":
            clean_prob[network, rows] = whole.clean_prob(loss, monotone=monotone)
            continue
        by_class = fit_class_mixtures(loss, label, num_classes, whole, shrinkage)
        answer = scores.prob[len(scores.prob) - 1 - network, rows].argmax(dim=1)
        by_class = where_peer_agrees(by_class, whole, loss, label, answer == label)
        clean_prob[network, rows] = clean_prob_by_class(by_class, loss, label, monotone=monotone)
    return clean_prob, mixture_memory(mixtures, losses)


def mixture_memory(
    mixtures: Sequence[Mixture], losses: Float[Tensor, "network labeled"]
) -> dict[str, Tensor]:
    """What the picture of the losses shows, one row per scoring network.

    Args:
        mixtures: The fitted components.
        losses: What they were fitted to; counted here, because no one else knows their scale.
    """
    return {
        "mixture_counts": share_counts(losses),
        "mixture_mean": torch.stack([mixture.mean for mixture in mixtures]),
        "mixture_std": torch.stack([mixture.std for mixture in mixtures]),
        "mixture_weight": torch.stack([mixture.weight for mixture in mixtures]),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dividing(SplitMethod):
    """Base of methods in which a clean probability decides whose label is kept.

    Attributes:
        min_class_fraction: Share in [0, 1] of the labels of every class that is kept at least: the
            likeliest ones of a class that would keep less. A class that once has no label is not
            predicted any more, and then never gets one back. 0 leaves all to the threshold.
    """

    min_class_fraction: float = bounded(0.1, "[0, 1]")

    def with_floor(
        self,
        keep: Bool[Tensor, "network sample"],
        clean_prob: Float[Tensor, "network sample"],
        scores: Scores,
    ) -> tuple[Bool[Tensor, "network sample"], dict[str, Tensor]]:
        """Who keeps the label, no class less than the floor.

        Returns:
            Who keeps the label, and as memory `rescued` (network, class): how many labels only the
            floor has kept.
        """
        num_classes = len(scores.class_names)
        kept, rescued = keep.clone(), torch.zeros(len(keep), num_classes, dtype=torch.int64)
        for network, (own, prob) in enumerate(zip(keep, clean_prob, strict=True)):
            floor = self.min_class_fraction
            kept[network] = keep_at_least(own, prob, scores.label, num_classes, floor)
            gained = scores.label[kept[network] & ~own]
            rescued[network] = torch.bincount(gained, minlength=num_classes)
        return kept, {"rescued": rescued}


@dataclass(frozen=True, slots=True, kw_only=True)
class SemiSupervised(Dividing):
    """Base of methods for a small labelled set among images without labels.

    One network, whose moving average sets the labelled set, is validated and tested.

    Attributes:
        labels: `trusted` takes every given label as right, as the papers do; `noisy` lets a mixture
            over the losses decide whose label is kept, as a co-divide does.
        clean_threshold: Clean probability in [0, 1] above which `noisy` keeps a label.
        mixture: One mixture for all losses, or one per label: nothing else keeps the labels of a
            hard class, because a network chooses its own labelled set.
        network_decay: How much of itself the average network keeps a step, in (0, 1); 0.999 in the
            papers.
    """

    labels: Literal["noisy", "trusted"] = "noisy"
    clean_threshold: float = bounded(0.5, "[0, 1]")
    mixture: Literal["global", "class"] = "class"
    network_decay: float = bounded(0.999, "(0, 1)")

    @property
    def average_decay(self) -> float:
        """The average judges."""
        return self.network_decay

    @property
    def covers_unlabeled(self) -> bool:
        """A few labels would make an epoch of a few steps."""
        return True

    def labeled_set(
        self, scores: Scores
    ) -> tuple[Bool[Tensor, "network sample"], Float[Tensor, "network sample"], dict[str, Tensor]]:
        """Who is labelled, clean probabilities in [0, 1], and what to remember.

        The clean probability is 1 for a trusted label, 0 without one.

        Raises:
            MixtureError: If `labels` is `noisy` and the losses cannot be divided.
        """
        if self.labels == "trusted":
            keep = scores.is_labeled.expand(len(scores.loss), -1).clone()
            return keep, keep.float(), {}
        clean_prob, memory = clean_probability(scores, mixture=self.mixture)
        keep = (clean_prob > self.clean_threshold) & scores.is_labeled
        keep, rescued = self.with_floor(keep, clean_prob, scores)
        return keep, clean_prob, memory | rescued
