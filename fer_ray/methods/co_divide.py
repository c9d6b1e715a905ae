"""Co-divide: two networks divide the data for each other, with a threshold per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from fer_ray.losses import prior_penalty
from fer_ray.methods.base import (
    SplitMethod,
    check_prior,
    check_prior_classes,
    class_prior,
    require_labeled,
)
from fer_ray.mixture import Mixture, fit_mixture, normalize
from fer_ray.thresholds import DEFAULT, DEFAULT_THRESHOLD, check_thresholds, threshold_by_class
from fer_ray.types import (
    Labeled,
    Network,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoDivide(SplitMethod):
    """Cross-entropy on the labels the peer believes, plus a penalty on the mean prediction.

    Each epoch a two-component mixture over each network's losses (DivideMix, Li et al. 2020,
    https://arxiv.org/abs/2002.07394, section 3.1) gives every image a clean probability w; its
    label is kept if w > t_c, with a threshold for the class c of the label. Network A learns from
    B's split while B is fixed, then B from A's. The loss is

        L = CE(kept) + penalty_weight * sum_c pi_c log(pi_c / mean p_c)

    with p over the batch of all ranks. Cost per image and epoch, two networks: 2 forwards to score,
    6 forward-equivalents for each label kept.

    Attributes:
        thresholds: Clean probability in [0, 1] that a label of a class must exceed, by class name;
            `default` (0.5 unless given) covers the rest.
        penalty_weight: Weight of the penalty.
        prior: The pi of the penalty: "uniform" or a weight per class name.
        clip_quantile: Losses above this quantile count as the quantile when the mixture is fitted.
        monotone: Whether a smaller loss may never count as less clean.
    """

    paper: ClassVar[str] = "co-divided cross-entropy, thresholds by class, prior penalty"
    num_networks: ClassVar[int] = 2

    name: Literal["co_divide"] = "co_divide"
    thresholds: Mapping[str, float] = field(default_factory=lambda: {DEFAULT: DEFAULT_THRESHOLD})
    penalty_weight: float = 1.0
    prior: str | Mapping[str, float] = "uniform"
    clip_quantile: float = 0.99
    monotone: bool = True

    def __post_init__(self) -> None:
        # Explicit base: `super()` without arguments does not work in dataclasses with slots.
        SplitMethod.__post_init__(self)
        check_thresholds(self.thresholds)
        check_prior(self.prior)
        if self.penalty_weight < 0:
            raise ValueError(f"penalty_weight: at least 0, got {self.penalty_weight}")
        if not 0.5 <= self.clip_quantile <= 1:
            raise ValueError(f"clip_quantile: in [0.5, 1], got {self.clip_quantile}")

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Check the names in `thresholds` and `prior`."""
        threshold_by_class(self.thresholds, class_names)
        check_prior_classes(self.prior, class_names)

    def split(self, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        """Mixture per network, threshold per class, rows swapped: A trains on B's split."""
        del previous
        loss = torch.stack([normalize(row, self.clip_quantile) for row in scores.loss])
        mixtures = [fit_mixture(row) for row in loss]
        clean_prob = torch.stack(
            [
                mixture.clean_prob(row, monotone=self.monotone)
                for mixture, row in zip(mixtures, loss, strict=True)
            ]
        )
        threshold = threshold_by_class(self.thresholds, scores.class_names)
        keep = (clean_prob > threshold[scores.label]) & scores.is_labeled
        split = SplitResult(
            is_labeled=keep.flip(0),
            clean_prob=clean_prob.flip(0),
            label=scores.label.expand_as(keep).clone(),
            threshold=threshold,
            memory=mixture_memory(mixtures),
        )
        return require_labeled(split, scores, epoch)

    def step(
        self,
        student: Network,
        peer: Network | None,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        context: StepContext,
    ) -> StepOutput:
        """Cross-entropy on one strong view of the kept images, plus the penalty."""
        del peer, unlabeled
        logits = student(labeled.strong[0]).logits.float()
        cross_entropy = F.cross_entropy(logits, labeled.label)
        prior = class_prior(self.prior, context.class_names).to(logits.device)
        penalty = prior_penalty(context.mean_over_ranks(logits.softmax(dim=1).mean(dim=0)), prior)
        return StepOutput(
            loss=cross_entropy + self.penalty_weight * penalty,
            logs={"cross_entropy": cross_entropy.detach(), "penalty": penalty.detach()},
        )


def mixture_memory(mixtures: Sequence[Mixture]) -> dict[str, torch.Tensor]:
    """The fitted components, one row per scoring network, for the picture of the losses."""
    return {
        "mixture_mean": torch.stack([mixture.mean for mixture in mixtures]),
        "mixture_std": torch.stack([mixture.std for mixture in mixtures]),
        "mixture_weight": torch.stack([mixture.weight for mixture in mixtures]),
    }
