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
    noise_in,
    require_labeled,
)
from fer_ray.methods.dividing import Dividing, clean_probability


@dataclass(frozen=True, slots=True, kw_only=True)
class CoDivide(Dividing):
    """Cross-entropy on the labels the peer believes, plus a penalty on the mean prediction.

    Each epoch a two-component mixture over each network's losses (DivideMix, Li et al. 2020,
    https://arxiv.org/abs/2002.07394, section 3.1) gives every image a clean probability w; its
    label is kept if w > t_c, with a threshold for the class c of the label. Network A learns from
    B's split while B is fixed, then B from A's. The loss is

        L = CE(kept) + penalty_weight * sum_c pi_c log(pi_c / mean p_c)

    with p over the whole batch. Cost per image and epoch, two networks: 2 forwards to score,
    6 forward-equivalents for each label kept.

    With `clean_prob: posterior`, w is P(true y | p, y), proportional to p_y T[y, y], of the scoring
    network's prediction p for the image and the noise T of the labels: a face that is hard for all
    networks has a large loss even if its label is right, but no other class explains its label.

    Instead of w, the probability p_y that the scoring network gives to the label may decide, with
    Ada-CM's margins or the mean confidence of a class as thresholds.

    Attributes:
        clean_prob: What w is with `fixed` thresholds: `mixture` of the losses, as in the paper, or
            `posterior` of the label; T comes from verified labels, else from the predictions.
        mixture: `global` fits one mixture to all losses, `class` one per label, for some
            expressions are harder than others when labelled right. A class whose own mixture the
            peer does not support has the global one.
        shrinkage: In images: how strongly the mixture of a class is drawn towards the global one.
        threshold_rule: `fixed` compares w with `thresholds`; `adaptive_margin` and `class_mean`
            compare p_y with thresholds of their own (see `fer_ray.core.thresholds`).
        margin_floor: Smallest threshold of `adaptive_margin`, in [0, 1]; 0.8 in Ada-CM.
        thresholds: Clean probability in [0, 1] that a label of a class must exceed, by class name;
            `default` (0.5 unless given) covers the rest.
        penalty_weight: Weight of the penalty.
        prior: The pi of the penalty: `given` (share of each class among the labels as given),
            `estimated` (among the labels kept), `verified` (of the noise model: among verified
            labels; without any, as the predictions suggest), `uniform` or a weight per class name.
            A uniform one pushes towards rare classes, and so away from a test set like the
            training set.
        clip_quantile: Losses above this quantile count as the quantile when the mixture is fitted.
        monotone: Whether a smaller loss may never count as less clean.
    """

    paper: ClassVar[str] = "co-divided cross-entropy, thresholds by class, prior penalty"
    num_networks: ClassVar[int] = 2
    warmup_fields: ClassVar[tuple[str, ...] | None] = ()

    name: Literal["co_divide"] = "co_divide"
    clean_prob: Literal["mixture", "posterior"] = "mixture"
    mixture: Literal["global", "class"] = "global"
    shrinkage: float = bounded(100.0, "[0, inf)")
    threshold_rule: Literal["fixed", "adaptive_margin", "class_mean"] = "fixed"
    margin_floor: float = bounded(0.8, "[0, 1]")
    thresholds: Mapping[str, float] = field(default_factory=lambda: {DEFAULT: DEFAULT_THRESHOLD})
    penalty_weight: float = bounded(1.0, "[0, inf)")
    prior: str | Mapping[str, float] = "given"
    clip_quantile: float = bounded(0.99, "[0.5, 1]")
    monotone: bool = True

    def __post_init__(self) -> None:
        SplitMethod.__post_init__(self)
        check_thresholds(self.thresholds)
        check_prior(self.prior)

    @property
    def reads_prob(self) -> bool:
        """Fixed thresholds on one mixture of the losses need nothing else."""
        return (
            self.threshold_rule != "fixed"
            or self.clean_prob == "posterior"
            or self.mixture == "class"
            or self.prior == "verified"
        )

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
        clean_prob, memory = self._clean_prob(scores)
        # Swapped: from here on row k is what network k trains on.
        clean_prob, threshold = clean_prob.flip(0), self._thresholds(scores, epoch).flip(0)
        keep = torch.empty_like(clean_prob, dtype=torch.bool)
        for own, prob, bound in zip(keep, clean_prob, threshold, strict=True):
            torch.gt(prob, bound[scores.label], out=own)
            own &= scores.is_labeled
        keep, rescued = self.with_floor(keep, clean_prob, scores)
        memory |= rescued | {"prior": class_prior(self.prior, scores, keep)}
        split = SplitResult(
            is_labeled=keep,
            clean_prob=clean_prob,
            label=scores.label.expand_as(keep),
            threshold=threshold.mean(dim=0),
            memory=memory,
        )
        return require_labeled(split, scores, epoch)

    def _clean_prob(
        self, scores: Scores
    ) -> tuple[Float[Tensor, "network sample"], dict[str, Tensor]]:
        """What thresholds are compared with, by scoring network, and the mixtures if any."""
        given = scores.label.clamp_min(0).expand(len(scores.loss), -1)
        if self.threshold_rule != "fixed":
            return scores.prob.gather(2, given[..., None])[..., 0] * scores.is_labeled, {}
        if self.clean_prob == "posterior":
            return noise_in(scores).clean_prob(scores.prob, given) * scores.is_labeled, {}
        return clean_probability(
            scores,
            mixture=self.mixture,
            shrinkage=self.shrinkage,
            clip_quantile=self.clip_quantile,
            monotone=self.monotone,
        )

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
        assert context.split is not None
        prior = context.split.memory["prior"].to(logits.device)
        penalty = prior_penalty(context.mean_over_ranks(logits.softmax(dim=1).mean(dim=0)), prior)
        return StepOutput(
            loss=cross_entropy + self.penalty_weight * penalty,
            logs={"cross_entropy": cross_entropy.detach(), "penalty": penalty.detach()},
        )
