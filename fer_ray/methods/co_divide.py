"""Co-divide: two networks divide the data for each other, with a threshold per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fer_ray.core.bounds import bounded
from fer_ray.core.losses import prior_penalty
from fer_ray.core.thresholds import (
    DEFAULT,
    DEFAULT_THRESHOLD,
    adaptive_margin,
    check_thresholds,
    class_mean_confidence,
    threshold_by_class,
)
from fer_ray.core.types import (
    Labeled,
    Network,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
)
from fer_ray.methods.base import (
    SplitMethod,
    check_prior,
    check_prior_classes,
    class_prior,
    require_labeled,
)
from fer_ray.methods.dividing import class_shares, clean_probability


@dataclass(frozen=True, slots=True, kw_only=True)
class CoDivide(SplitMethod):
    """Cross-entropy on the labels the peer believes, plus a penalty on the mean prediction.

    Each epoch a two-component mixture over each network's losses (DivideMix, Li et al. 2020,
    https://arxiv.org/abs/2002.07394, section 3.1) gives every image a clean probability w; its
    label is kept if w > t_c, with a threshold for the class c of the label. Network A learns from
    B's split while B is fixed, then B from A's. The loss is

        L = CE(kept) + penalty_weight * sum_c pi_c log(pi_c / mean p_c)

    with p over the whole batch. Cost per image and epoch, two networks: 2 forwards to score,
    6 forward-equivalents for each label kept.

    Instead of w, the probability p_y that the scoring network gives to the label may decide, with
    Ada-CM's margins or the mean confidence of a class as thresholds.

    Attributes:
        mixture: `global` fits one mixture to all losses, `class` one per label, for some
            expressions are harder than others when labelled right.
        shrinkage: In images: how strongly the mixture of a class is drawn towards the global one.
        threshold_rule: `fixed` compares w with `thresholds`; `adaptive_margin` and `class_mean`
            compare p_y with thresholds of their own (see `fer_ray.core.thresholds`).
        margin_floor: Smallest threshold of `adaptive_margin`, in [0, 1]; 0.8 in Ada-CM.
        thresholds: Clean probability in [0, 1] that a label of a class must exceed, by class name;
            `default` (0.5 unless given) covers the rest.
        penalty_weight: Weight of the penalty.
        prior: The pi of the penalty: `uniform`, `estimated` (the share of each class among the
            labels kept) or a weight per class name.
        clip_quantile: Losses above this quantile count as the quantile when the mixture is fitted.
        monotone: Whether a smaller loss may never count as less clean.
    """

    paper: ClassVar[str] = "co-divided cross-entropy, thresholds by class, prior penalty"
    num_networks: ClassVar[int] = 2
    warmup_fields: ClassVar[tuple[str, ...] | None] = ()

    name: Literal["co_divide"] = "co_divide"
    mixture: Literal["global", "class"] = "global"
    shrinkage: float = bounded(100.0, "[0, inf)")
    threshold_rule: Literal["fixed", "adaptive_margin", "class_mean"] = "fixed"
    margin_floor: float = bounded(0.8, "[0, 1]")
    thresholds: Mapping[str, float] = field(default_factory=lambda: {DEFAULT: DEFAULT_THRESHOLD})
    penalty_weight: float = bounded(1.0, "[0, inf)")
    prior: str | Mapping[str, float] = "uniform"
    clip_quantile: float = bounded(0.99, "[0.5, 1]")
    monotone: bool = True

    def __post_init__(self) -> None:
        SplitMethod.__post_init__(self)
        check_thresholds(self.thresholds)
        check_prior(self.prior)

    @property
    def reads_prob(self) -> bool:
        """Fixed thresholds are on the clean probability alone."""
        return self.threshold_rule != "fixed"

    @property
    def asks_peer(self) -> bool:
        """The peer has its say in the split, not in a step."""
        return False

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Check the names in `thresholds` and `prior`."""
        threshold_by_class(self.thresholds, class_names)
        check_prior_classes(self.prior, class_names)

    def split(self, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        """Clean probability by each network, threshold per class, rows swapped: A trains on B's."""
        del previous
        memory: dict[str, torch.Tensor] = {}
        if self.threshold_rule == "fixed":
            clean_prob, memory = clean_probability(
                scores,
                mixture=self.mixture,
                shrinkage=self.shrinkage,
                clip_quantile=self.clip_quantile,
                monotone=self.monotone,
            )
        else:
            given = scores.label.clamp_min(0).expand(len(scores.prob), -1)
            clean_prob = scores.prob.gather(2, given[..., None])[..., 0] * scores.is_labeled
        # Swapped: from here on row k is what network k trains on.
        clean_prob, threshold = clean_prob.flip(0), self._thresholds(scores, epoch).flip(0)
        keep = torch.empty_like(clean_prob, dtype=torch.bool)
        for own, prob, bound in zip(keep, clean_prob, threshold, strict=True):
            torch.gt(prob, bound[scores.label], out=own)
            own &= scores.is_labeled
        if self.prior == "estimated":
            kept = scores.label.expand_as(keep)[keep]
            memory["prior"] = class_shares(kept, len(scores.class_names))
        split = SplitResult(
            is_labeled=keep,
            clean_prob=clean_prob,
            label=scores.label.expand_as(keep),
            threshold=threshold.mean(dim=0),
            memory=memory,
        )
        return require_labeled(split, scores, epoch)

    def _thresholds(self, scores: Scores, epoch: int) -> Float[Tensor, "network class"]:
        if self.threshold_rule == "fixed":
            fixed = threshold_by_class(self.thresholds, scores.class_names)
            return fixed.expand(len(scores.loss), -1)
        if self.threshold_rule == "adaptive_margin":
            return torch.stack(
                [
                    adaptive_margin(prob, scores.label, epoch, floor=self.margin_floor)
                    for prob in scores.prob
                ]
            )
        return torch.stack([class_mean_confidence(prob, scores.label) for prob in scores.prob])

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
        prior = self._prior(context).to(logits.device)
        penalty = prior_penalty(context.mean_over_ranks(logits.softmax(dim=1).mean(dim=0)), prior)
        return StepOutput(
            loss=cross_entropy + self.penalty_weight * penalty,
            logs={"cross_entropy": cross_entropy.detach(), "penalty": penalty.detach()},
        )

    def _prior(self, context: StepContext) -> Float[Tensor, " class"]:
        if self.prior == "estimated":
            assert context.split is not None
            return context.split.memory["prior"]
        return class_prior(self.prior, context.class_names)
