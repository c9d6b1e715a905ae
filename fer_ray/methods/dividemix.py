"""DivideMix: unlabelled images learn too, by MixMatch with co-refined and co-guessed targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fer_ray.losses import (
    linear_rampup,
    mixup,
    mixup_coefficient,
    negative_entropy,
    prior_penalty,
    sharpen,
    soft_cross_entropy,
)
from fer_ray.methods.base import (
    SplitMethod,
    check_range,
    class_prior,
    require_labeled,
)
from fer_ray.methods.dividing import mixture_memory
from fer_ray.mixture import fit_mixture, normalize
from fer_ray.types import (
    Labeled,
    Network,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
    Views,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DivideMix(SplitMethod):
    """DivideMix (Li, Socher and Hoi 2020, https://arxiv.org/abs/2002.07394), algorithm 1.

    Two forms are known: the CIFAR form trains on all 4B mixed views and adds a squared error on the
    unlabelled half; the Clothing1M form trains on the first 2B only, unlabelled images serving as
    partners of the mixing. Guesses come from weak views; `gradient_views="strong"` takes the
    gradient from strong ones (AugDesc, Nishi et al. 2021, https://arxiv.org/abs/2103.02130).

    Cost per label kept and network: 6 no-grad forwards plus 12 (CIFAR) or 6 (Clothing1M)
    forward-equivalents; 2 forwards per image and epoch to score.

    Attributes:
        form: Which of the authors' scripts is followed.
        clean_threshold: Clean probability in [0, 1] above which a label is kept.
        temperature: Of the sharpening, eq. 4.
        alpha: Of the Beta distribution of mixup; 4 for CIFAR, 0.5 for Clothing1M.
        unlabeled_weight: lambda_u of eq. 12; used by the CIFAR form only.
        rampup_epochs: Epochs after warm-up over which lambda_u grows from 0.
        penalty_weight: Weight of the penalty of eq. 11 (1 in the paper).
        confidence_weight: Weight of the confidence penalty in warm-up, eq. 2 (0 or 1 in the paper).
        loss_history: The mixture sees the mean loss of this many last epochs (5 at 90 % noise).
        gradient_views: Kind of view that is learnt from.
    """

    paper: ClassVar[str] = "DivideMix (Li et al. 2020): co-refinement, co-guessing, MixMatch"
    num_networks: ClassVar[int] = 2

    name: Literal["dividemix"] = "dividemix"
    form: Literal["cifar", "clothing1m"] = "clothing1m"
    clean_threshold: float = 0.5
    temperature: float = 0.5
    alpha: float = 0.5
    unlabeled_weight: float = 0.0
    rampup_epochs: float = 16.0
    penalty_weight: float = 1.0
    confidence_weight: float = 0.0
    loss_history: int = 1
    gradient_views: Literal["weak", "strong"] = "strong"

    def __post_init__(self) -> None:
        SplitMethod.__post_init__(self)
        check_range(self, "[0, 1]", "clean_threshold")
        check_range(self, "(0, inf)", "temperature", "alpha")
        weights = ("unlabeled_weight", "penalty_weight", "confidence_weight")
        check_range(self, "[0, inf)", *weights, "rampup_epochs")
        check_range(self, "[1, inf)", "loss_history")

    @property
    def views(self) -> Views:
        """Two weak views of everything, and two strong ones if those are learnt from."""
        strong = 2 if self.gradient_views == "strong" else 0
        return Views(
            labeled_weak=2, unlabeled_weak=2, labeled_strong=strong, unlabeled_strong=strong
        )

    def warmup_step(self, student: Network, labeled: Labeled, context: StepContext) -> StepOutput:
        """Cross-entropy plus the confidence penalty (eq. 2)."""
        del context
        logits = student(labeled.strong[0]).logits.float()
        loss = F.cross_entropy(logits, labeled.label)
        return StepOutput(loss=loss + self.confidence_weight * negative_entropy(logits))

    def split(self, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        """Mixture over each network's (averaged) losses; rows swapped: co-divide."""
        rows = scores.is_labeled
        history = torch.zeros_like(scores.loss)[:, None]
        history[:, 0, rows] = torch.stack([normalize(row) for row in scores.loss[:, rows]])
        if previous is not None and "loss_history" in previous.memory:
            history = torch.cat([previous.memory["loss_history"], history], dim=1)
        history = history[:, -self.loss_history :]
        loss = history.mean(dim=1)
        mixtures = [fit_mixture(row) for row in loss[:, rows]]
        clean_prob = torch.zeros_like(loss)
        for mixture, row, prob in zip(mixtures, loss, clean_prob, strict=True):
            prob[rows] = mixture.clean_prob(row[rows], monotone=False)
        keep = (clean_prob > self.clean_threshold) & scores.is_labeled
        split = SplitResult(
            is_labeled=keep.flip(0),
            clean_prob=clean_prob.flip(0),
            label=scores.label.expand_as(keep).clone(),
            threshold=torch.full((len(scores.class_names),), self.clean_threshold),
            memory=mixture_memory(mixtures) | {"loss_history": history},
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
        """Eq. 3-12: refine, guess, sharpen, mix, and learn from the mixture."""
        assert peer is not None
        num_classes = len(context.class_names)
        targets = [self._refine(student, labeled, num_classes)]
        images = list(labeled.strong or labeled.weak)
        if unlabeled is not None:
            targets.append(self._guess(student, peer, unlabeled))
            images += unlabeled.strong or unlabeled.weak
        target = torch.cat([part for part in targets for _ in range(2)])
        num_labeled = 2 * len(labeled.index)
        rows = num_labeled if self.form == "clothing1m" else len(target)
        mixed, mixed_target = self._mix(torch.cat(images), target, rows, context.generator)
        logits = student(mixed).logits.float()
        return self._loss(logits, mixed_target, num_labeled, context)

    def _refine(
        self, student: Network, labeled: Labeled, num_classes: int
    ) -> Float[Tensor, "batch class"]:
        """Co-refinement, eq. 3, and sharpening, eq. 4."""
        prob = _mean_prediction([student], labeled.weak)
        clean_prob = labeled.clean_prob[:, None]
        given = F.one_hot(labeled.label, num_classes).to(prob.dtype)
        return sharpen(clean_prob * given + (1 - clean_prob) * prob, self.temperature)

    def _guess(
        self, student: Network, peer: Network, unlabeled: Unlabeled
    ) -> Float[Tensor, "batch class"]:
        """Co-guessing: both networks, both views, sharpened."""
        return sharpen(_mean_prediction([student, peer], unlabeled.weak), self.temperature)

    def _mix(
        self,
        images: Float[Tensor, "all channel height width"],
        target: Float[Tensor, "all class"],
        rows: int,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "rows channel height width"], Float[Tensor, "rows class"]]:
        """Mix the first `rows` views with partners drawn from all."""
        partner = torch.randperm(len(images), generator=generator)[:rows].to(images.device)
        share = mixup_coefficient(self.alpha, generator)
        return (
            mixup(images[:rows], images[partner], share),
            mixup(target[:rows], target[partner], share),
        )

    def _loss(
        self,
        logits: Float[Tensor, "rows class"],
        target: Float[Tensor, "rows class"],
        num_labeled: int,
        context: StepContext,
    ) -> StepOutput:
        """Eq. 9-12: cross-entropy, squared error, penalty."""
        prob = logits.softmax(dim=1)
        labeled_loss = soft_cross_entropy(logits[:num_labeled], target[:num_labeled])
        prior = class_prior("uniform", context.class_names).to(logits.device)
        penalty = prior_penalty(context.mean_over_ranks(prob.mean(dim=0)), prior)
        loss = labeled_loss + self.penalty_weight * penalty
        logs = {"labeled_loss": labeled_loss.detach(), "penalty": penalty.detach()}
        if len(logits) > num_labeled:
            unlabeled_loss = (prob[num_labeled:] - target[num_labeled:]).square().mean()
            ramp = linear_rampup(context.epoch - self.warmup_epochs, self.rampup_epochs)
            loss = loss + self.unlabeled_weight * ramp * unlabeled_loss
            logs["unlabeled_loss"] = unlabeled_loss.detach()
        return StepOutput(loss=loss, logs=logs)


def _mean_prediction(
    networks: Sequence[Network], views: Sequence[Float[Tensor, "batch channel height width"]]
) -> Float[Tensor, "batch class"]:
    """Mean softmax of all networks over all views: one batched forward per network."""
    stacked = torch.cat(list(views))
    prob = torch.stack([network.predict(stacked) for network in networks]).mean(dim=0)
    return prob.reshape(len(views), -1, prob.shape[-1]).mean(dim=0)
