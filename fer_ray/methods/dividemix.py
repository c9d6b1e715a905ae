"""DivideMix: unlabelled images learn too, by MixMatch with co-refined and co-guessed targets.

Longer than other files, because a method is one file and this one has two published forms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fer_ray.core.bounds import bounded
from fer_ray.core.losses import (
    linear_rampup,
    mixup,
    mixup_coefficient,
    negative_entropy,
    prior_penalty,
    sharpen,
    soft_cross_entropy,
)
from fer_ray.core.mixture import fit_mixture, normalize
from fer_ray.core.types import (
    Labeled,
    Network,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
    Views,
)
from fer_ray.methods.base import (
    SplitMethod,
    check_prior,
    check_prior_classes,
    class_prior,
    require_labeled,
)
from fer_ray.methods.dividing import Dividing, mixture_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class DivideMix(Dividing):
    """DivideMix (Li, Socher and Hoi 2020, https://arxiv.org/abs/2002.07394), algorithm 1.

    Two forms are known: the CIFAR form trains on all 4B mixed views and adds a squared error on the
    unlabelled half; the Clothing1M form trains on the first 2B only, unlabelled images serving as
    partners of the mixing. Guesses come from weak views; `gradient_views="strong"` takes the
    gradient from strong ones (AugDesc, Nishi et al. 2021, https://arxiv.org/abs/2103.02130).

    Cost in forward-equivalents (a no-grad forward 1, a gradient of a view 3) per label kept and
    network, with M views:

        cifar, fresh          9M: 3M guesses, 6M gradient   18 with M = 2
        clothing1m, fresh     6M: 3M guesses, 3M gradient   12
        cifar, scored         6M                            12
        clothing1m, scored    3M                             6, and 3 with M = 1

    Scoring adds 2 per image and epoch, one for each network, to all of them.

    Attributes:
        form: Which of the authors' scripts is followed.
        clean_threshold: Clean probability in [0, 1] above which a label is kept.
        temperature: Of the sharpening, eq. 4.
        alpha: Of the Beta distribution of mixup; 4 for CIFAR, 0.5 for Clothing1M.
        unlabeled_weight: lambda_u of eq. 12; used by the CIFAR form only.
        rampup_epochs: Epochs after warm-up over which lambda_u grows from 0.
        penalty_weight: Weight of the penalty of eq. 11 (1 in the paper).
        prior: The prior of the penalty: `given` (share of each class among the labels as given),
            `uniform` as in the paper, whose data sets are balanced, or as in `co_divide`.
        confidence_weight: Weight of the confidence penalty in warm-up, eq. 2 (0 or 1 in the paper).
        loss_history: The mixture sees the mean loss of this many last epochs (5 at 90 % noise).
        gradient_views: Kind of view that is learnt from.
        num_views: M of algorithm 1, at least 1: views of an image that gradients are taken from
            and, if `fresh`, predictions averaged over.
        guesses: What refines and guesses. `fresh`, as published: predictions of M weak views, made
            in the step. `scored`: what the scoring that divides the data said of the plain image,
            averaged over epochs (temporal ensembling, Laine and Aila 2017,
            https://arxiv.org/abs/1610.02242), so no forward is made for it.
        guess_momentum: Of that average, in [0, 1): t <- momentum t + (1 - momentum) p. It begins
            with the first scores, so it needs no correction for a start from 0.
    """

    paper: ClassVar[str] = "DivideMix (Li et al. 2020): co-refinement, co-guessing, MixMatch"
    num_networks: ClassVar[int] = 2
    warmup_fields: ClassVar[tuple[str, ...] | None] = ("confidence_weight",)

    name: Literal["dividemix"] = "dividemix"
    form: Literal["cifar", "clothing1m"] = "clothing1m"
    clean_threshold: float = bounded(0.5, "[0, 1]")
    temperature: float = bounded(0.5, "(0, inf)")
    alpha: float = bounded(0.5, "(0, inf)")
    unlabeled_weight: float = bounded(0.0, "[0, inf)")
    rampup_epochs: float = bounded(16.0, "[0, inf)")
    penalty_weight: float = bounded(1.0, "[0, inf)")
    prior: str | Mapping[str, float] = "given"
    confidence_weight: float = bounded(0.0, "[0, inf)")
    loss_history: int = bounded(1, "[1, inf)")
    gradient_views: Literal["weak", "strong"] = "strong"
    num_views: int = bounded(2, "[1, inf)")
    guesses: Literal["fresh", "scored"] = "fresh"
    guess_momentum: float = bounded(0.6, "[0, 1)")

    def __post_init__(self) -> None:
        SplitMethod.__post_init__(self)
        check_prior(self.prior)

    @property
    def views(self) -> Views:
        """M weak views of everything for fresh guesses, and M views to learn from."""
        learns_weak = self.gradient_views == "weak"
        weak = self.num_views if learns_weak or self.guesses == "fresh" else 0
        strong = 0 if learns_weak else self.num_views
        return Views(
            labeled_weak=weak, unlabeled_weak=weak, labeled_strong=strong, unlabeled_strong=strong
        )

    @property
    def asks_peer(self) -> bool:
        """Only fresh guesses are the peer's too."""
        return self.guesses == "fresh"

    @property
    def reads_prob(self) -> bool:
        """The scores become guesses or a noise model, or only their losses are looked at."""
        return self.guesses == "scored" or self.prior == "verified"

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Check the names in `prior`."""
        check_prior_classes(self.prior, class_names)

    def warmup_step(self, student: Network, labeled: Labeled, context: StepContext) -> StepOutput:
        """Cross-entropy plus the confidence penalty (eq. 2)."""
        del context
        logits = student(labeled.strong[0]).logits.float()
        loss = F.cross_entropy(logits, labeled.label)
        return StepOutput(loss=loss + self.confidence_weight * negative_entropy(logits))

    def split(self, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        """Mixture over each network's (averaged) losses; rows swapped: co-divide.

        With `scored` guesses, row k of `memory["soft_target"]` (network, sample, class) is what
        network k itself says: not swapped.
        """
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
        keep, rescued = self.with_floor(keep, clean_prob, scores)
        # The label of a rescued image counts in its target as the least likely kept one would.
        clean_prob = torch.where(keep, clean_prob.clamp_min(self.clean_threshold), clean_prob)
        memory = mixture_memory(mixtures, loss[:, rows]) | {"loss_history": history}
        memory["rescued"] = rescued["rescued"].flip(0)
        memory["prior"] = class_prior(self.prior, scores, keep)
        if self.guesses == "scored":
            memory["soft_target"] = self._soft_target(scores, previous)
        split = SplitResult(
            is_labeled=keep.flip(0),
            clean_prob=clean_prob.flip(0),
            label=scores.label.expand_as(keep).clone(),
            threshold=torch.full((len(scores.class_names),), self.clean_threshold),
            memory=memory,
        )
        return require_labeled(split, scores, epoch)

    def _soft_target(
        self, scores: Scores, previous: SplitResult | None
    ) -> Float[Tensor, "network sample class"]:
        """Moving average over epochs of each network's softmax."""
        if previous is None or "soft_target" not in previous.memory:
            return scores.prob
        return torch.lerp(scores.prob, previous.memory["soft_target"], self.guess_momentum)

    def step(
        self,
        student: Network,
        peer: Network | None,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        context: StepContext,
    ) -> StepOutput:
        """Eq. 3-12: refine, guess, sharpen, mix, and learn from the mixture."""
        if self.guesses == "scored":
            probs = self._scored(labeled, unlabeled, context)
        else:
            probs = self._fresh(student, peer, labeled, unlabeled)
        targets = [self._refine(probs[0], labeled)]
        targets += [sharpen(prob, self.temperature) for prob in probs[1:]]
        batches = [labeled] if unlabeled is None else [labeled, unlabeled]
        images = torch.cat([view for batch in batches for view in batch.strong or batch.weak])
        target = torch.cat([part for part in targets for _ in range(self.num_views)])
        num_labeled = self.num_views * len(labeled.index)
        rows = num_labeled if self.form == "clothing1m" else len(target)
        mixed, mixed_target = self._mix(images, target, rows, context.generator)
        logits = student(mixed).logits.float()
        return self._loss(logits, mixed_target, num_labeled, context)

    def _fresh(
        self, student: Network, peer: Network | None, labeled: Labeled, unlabeled: Unlabeled | None
    ) -> list[Float[Tensor, "batch class"]]:
        """Mean softmax over weak views: the student's of labelled images, both's of the others.

        One batched forward of each network.
        """
        assert peer is not None
        num_labeled = self.num_views * len(labeled.index)
        views = labeled.weak if unlabeled is None else labeled.weak + unlabeled.weak
        own = student.predict(torch.cat(views))
        probs = [own[:num_labeled]]
        if unlabeled is not None:
            other = peer.predict(torch.cat(unlabeled.weak))
            probs.append(torch.stack([own[num_labeled:], other]).mean(dim=0))
        return [prob.unflatten(0, (self.num_views, -1)).mean(dim=0) for prob in probs]

    def _scored(
        self, labeled: Labeled, unlabeled: Unlabeled | None, context: StepContext
    ) -> list[Float[Tensor, "batch class"]]:
        """As `_fresh`, but looked up in what the split remembers of the scores."""
        assert context.split is not None
        soft_target = context.split.memory["soft_target"]
        probs = [soft_target[context.network, labeled.index]]
        if unlabeled is not None:
            probs.append(soft_target[:, unlabeled.index].mean(dim=0))
        return [prob.to(labeled.label.device, non_blocking=True) for prob in probs]

    def _refine(
        self, prob: Float[Tensor, "batch class"], labeled: Labeled
    ) -> Float[Tensor, "batch class"]:
        """Co-refinement, eq. 3, and sharpening, eq. 4."""
        clean_prob = labeled.clean_prob[:, None]
        given = F.one_hot(labeled.label, prob.shape[1]).to(prob.dtype)
        return sharpen(clean_prob * given + (1 - clean_prob) * prob, self.temperature)

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
        assert context.split is not None
        prior = context.split.memory["prior"].to(logits.device)
        penalty = prior_penalty(context.mean_over_ranks(prob.mean(dim=0)), prior)
        loss = labeled_loss + self.penalty_weight * penalty
        logs = {"labeled_loss": labeled_loss.detach(), "penalty": penalty.detach()}
        if len(logits) > num_labeled:
            unlabeled_loss = (prob[num_labeled:] - target[num_labeled:]).square().mean()
            ramp = linear_rampup(
                context.epoch - self.num_warmup(context.num_epochs), self.rampup_epochs
            )
            loss = loss + self.unlabeled_weight * ramp * unlabeled_loss
            logs["unlabeled_loss"] = unlabeled_loss.detach()
        return StepOutput(loss=loss, logs=logs)
