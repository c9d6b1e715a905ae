"""Peer posterior: what was said of an image before, given how labels are wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fer_ray.core.bounds import bounded
from fer_ray.core.losses import prior_penalty, sharpen, soft_cross_entropy
from fer_ray.core.noise_model import NoiseModel
from fer_ray.core.noise_pooling import pooled
from fer_ray.core.thresholds import DEFAULT, check_thresholds, threshold_by_class
from fer_ray.core.types import (
    Labeled,
    Network,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
)
from fer_ray.methods.base import SplitMethod, noise_in


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerPosterior(SplitMethod):
    """A network learns the posterior of the true label in place of the given one.

    The noise is a matrix T[k, y] = P(given y | true k), not a share of wrong labels. With what the
    peer says of image i, p_i, the posterior of its true class is

        gamma_i(k) = q_i(k) T[k, y_i] / sum_l q_i(l) T[l, y_i],    q_i(k) ~ p_i(k)^(1 / temperature)

    and gamma_i(y_i) is the clean probability. An image keeps its given label if that is above t_c,
    with a threshold for the class c of the label. All others learn a moving average of posteriors,
    which starts at the given label: nobody is dropped. The loss is

        L = CE(targets) + penalty_weight * sum_c pi_c log(pi_c / mean p_c)

    T and pi are those of verified labels (`data.verified`); T is pooled, epoch by epoch, with what
    the networks answer for the images that nobody has verified. Where nothing is verified, they are
    estimated once, from the networks' predictions after warm-up (confident learning, Northcutt et
    al. 2021, https://arxiv.org/abs/1911.00068, half way to the identity): much less is known then.
    Networks that learn soft targets from distorted views are less sure than they are right; q_i
    makes up for it, or the posterior would trust the given label too much.
    p_i is a running mean of the predictions that the peer made when it learned from the image, so
    there is no pass to score images: an epoch costs what it costs with cross-entropy. C numbers per
    network and image are kept. Targets change once an epoch.

    One network is its own peer: it learns what it said itself, earlier and of other views. In the
    same time it learns twice as long as each of two, which is worth more than that another network
    speaks (docs/methods.md has both). Two may train at the same time.

    Posterior targets go back to Patrini et al. 2017 (https://arxiv.org/abs/1609.03683) for T,
    MBEM (Khetan et al. 2018, https://arxiv.org/abs/1712.04577) for the posterior, MixMatch
    (Berthelot et al. 2019, https://arxiv.org/abs/1905.02249, eq. 7) for sharpening, and
    self-adaptive training (Huang et al. 2020, https://arxiv.org/abs/2002.10319) for moving targets.

    Attributes:
        num_networks: One, or two that teach each other.
        teacher: Whose predictions make the targets of two networks: those of the `peer`, or each
            network's `own`.
        noise: T of `verified` labels (estimated if there are none), always `estimated`, or `none`:
            the prediction itself is the posterior, whatever the given label.
        pool_noise: Whether T of verified labels takes in what the networks answer for all other
            images, as far as that agrees with what was verified (`core.noise_pooling`).
        temperature: Of the predictions before they meet the T of verified labels, in (0, 1]; 1
            takes them as they are. An estimated T is made of predictions, and meets them as they
            are.
        thresholds: Clean probability in [0, 1] that a label of a class must exceed to be kept, by
            class name; `default` (1, so that nobody keeps the given label, unless given) covers the
            rest.
        target_momentum: Share of itself that a target keeps when it moves.
        prediction_momentum: Share of itself that a running prediction keeps when it moves.
        penalty_weight: Weight of the penalty.
    """

    paper: ClassVar[str] = "our own: the posterior under the noise matrix, for every image"
    warmup_fields: ClassVar[tuple[str, ...] | None] = ("num_networks", "prediction_momentum")

    name: Literal["peer_posterior"] = "peer_posterior"
    num_networks: Literal[1, 2] = 1
    # Redefined: posteriors are usable long before losses can be divided.
    warmup_epochs: int | float = bounded(0.2, "(0, inf)")
    teacher: Literal["peer", "own"] = "peer"
    noise: Literal["verified", "estimated", "none"] = "verified"
    pool_noise: bool = True
    temperature: float = bounded(0.7, "(0, 1]")
    thresholds: Mapping[str, float] = field(default_factory=lambda: {DEFAULT: 1.0})
    target_momentum: float = bounded(0.9, "[0, 1)")
    prediction_momentum: float = bounded(0.5, "[0, 1)")
    penalty_weight: float = bounded(0.3, "[0, inf)")

    def __post_init__(self) -> None:
        SplitMethod.__post_init__(self)
        check_thresholds(self.thresholds)

    @property
    def asks_peer(self) -> bool:
        """The peer speaks through the split alone."""
        return False

    @property
    def scores_drawn(self) -> bool:
        """The running predictions are the scores."""
        return True

    @property
    def trains_on_all(self) -> bool:
        """Who loses the given label learns the posterior."""
        return True

    def memory_size(self, num_classes: int) -> int:
        """The running prediction of every image."""
        return num_classes

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Check the names in `thresholds`."""
        threshold_by_class(self.thresholds, class_names)

    def warmup_step(self, student: Network, labeled: Labeled, context: StepContext) -> StepOutput:
        """Cross-entropy on the given labels; predictions are remembered."""
        logits = student(labeled.strong[0]).logits.float()
        self._remember(logits, labeled, context)
        return StepOutput(loss=F.cross_entropy(logits, labeled.label))

    def split(self, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        """Posteriors by the teachers, thresholds per class; row k is what network k learns."""
        del epoch
        noise = self._noise_model(scores, previous)
        prob = scores.prob.flip(0) if self.teacher == "peer" else scores.prob
        if self.noise == "verified" and scores.noise is not None:
            prob = torch.stack([sharpen(own, self.temperature) for own in prob])
        label = scores.label.expand(len(prob), -1)
        posterior = self._posterior(prob, label, scores, noise)
        given = _one_hot(label, prob.shape[2])
        start = torch.where(scores.is_labeled[:, None], given, posterior)
        target = start if previous is None else previous.memory["target"]
        clean_prob = (posterior * given).sum(dim=2)
        threshold = threshold_by_class({DEFAULT: 1.0, **self.thresholds}, scores.class_names)
        return SplitResult(
            is_labeled=(clean_prob > threshold[label.clamp_min(0)]) & scores.is_labeled,
            clean_prob=clean_prob,
            label=label,
            threshold=threshold,
            memory={
                "target": torch.lerp(posterior, target, self.target_momentum),
                "transition": noise.transition,
                "prior": noise.prior,
                "noise_error": torch.tensor(noise.row_error),
            },
        )

    def step(
        self,
        student: Network,
        peer: Network | None,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        context: StepContext,
    ) -> StepOutput:
        """Cross-entropy against the targets on one strong view, plus the penalty."""
        del peer, unlabeled
        assert context.split is not None
        logits = student(labeled.strong[0]).logits.float()
        self._remember(logits, labeled, context)
        target = _targets(labeled, context.split, context.network).to(logits)
        cross_entropy = soft_cross_entropy(logits, target)
        prior = context.split.memory["prior"].to(logits)
        penalty = prior_penalty(context.mean_over_ranks(logits.softmax(dim=1).mean(dim=0)), prior)
        return StepOutput(
            loss=cross_entropy + self.penalty_weight * penalty,
            logs={"cross_entropy": cross_entropy.detach(), "penalty": penalty.detach()},
        )

    def _remember(
        self, logits: Float[Tensor, "batch class"], labeled: Labeled, context: StepContext
    ) -> None:
        """Let the running predictions of the batch's images take in what is said of them now."""
        assert context.memory is not None
        rows = labeled.index.to(context.memory.device)
        prob, known = logits.detach().softmax(dim=1), context.memory[rows]
        is_known = known.sum(dim=1, keepdim=True) > 0
        mean = torch.lerp(prob, known, self.prediction_momentum)
        context.memory[rows] = torch.where(is_known, mean, prob)

    def _noise_model(self, scores: Scores, previous: SplitResult | None) -> NoiseModel:
        """T and pi: of the verified labels, pooled; else estimated at the first split and kept."""
        if self.noise == "estimated":
            scores = replace(scores, noise=None)
        if scores.noise is None and previous is not None:
            memory = previous.memory
            return NoiseModel(
                transition=memory["transition"],
                prior=memory["prior"],
                row_error=float(memory["noise_error"]),
            )
        noise = noise_in(scores)
        if not self.pool_noise:
            return noise
        rows = scores.is_labeled
        if scores.is_verified is not None:
            rows = rows & ~scores.is_verified
        return pooled(noise, scores.prob.mean(dim=0)[rows].argmax(dim=1), scores.label[rows])

    def _posterior(
        self,
        prob: Float[Tensor, "network sample class"],
        label: Int[Tensor, "network sample"],
        scores: Scores,
        noise: NoiseModel,
    ) -> Float[Tensor, "network sample class"]:
        """Posterior of every image; certain for a verified one, `prob` where no label is given."""
        posterior = prob
        if self.noise != "none":
            told = noise.posterior(prob, label.clamp_min(0))
            posterior = torch.where(scores.is_labeled[:, None], told, prob)
        if scores.is_verified is None:
            return posterior
        return torch.where(scores.is_verified[:, None], _one_hot(label, prob.shape[2]), posterior)


def _one_hot(label: Int[Tensor, "*image"], num_classes: int) -> Float[Tensor, "*image class"]:
    """Certainty of every label; zeros where there is none."""
    return F.one_hot(label.clamp_min(0), num_classes) * (label >= 0)[..., None].float()


def _targets(labeled: Labeled, split: SplitResult, network: int) -> Float[Tensor, "batch class"]:
    """What the images of a batch are taught: the kept label, else the moving posterior."""
    rows = labeled.index.cpu()
    target = split.memory["target"][network][rows]
    keeps = split.is_labeled[network][rows]
    return torch.where(
        keeps[:, None], _one_hot(split.label[network][rows], target.shape[1]), target
    )
