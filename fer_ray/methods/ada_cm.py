"""Ada-CM: a confidence margin per class decides which unlabelled faces are learnt, and how."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from fer_ray.core.bounds import bounded
from fer_ray.core.losses import confident_cross_entropy, contrast
from fer_ray.core.thresholds import adaptive_margin
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
from fer_ray.methods.base import require_labeled
from fer_ray.methods.dividing import SemiSupervised


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaCM(SemiSupervised):
    """Adaptive confidence margin (Li et al. 2022, https://arxiv.org/abs/2203.12341).

    For two weak views of an unlabelled face p is the mean prediction, c its largest class, T_c the
    margin of that class: how confident the moving average of the network is where it finds labelled
    faces of c, shrunk a little, from 0.8 upwards. Subset I (max p >= T_c) learns c on a strong
    view; subset II keeps its two weak views alike:

        L = labeled_weight CE(labelled) + pseudo_weight CE(I, c) + contrast_weight NT-Xent(II)

    Here the labelled faces are learnt on a strong view too, as in every method of this package, and
    the network has none of the paper's own head (dropout, normalised features). With several ranks
    the contrast is among the faces of a rank.

    Cost per labelled image, with as many unlabelled: 12 forward-equivalents.

    Attributes:
        margin_floor: Smallest margin, in [0, 1]; 0.8 in the paper.
        labeled_weight: Of the labelled faces; 0.5 in the paper.
        pseudo_weight: Of subset I; 1 in the paper.
        contrast_weight: Of subset II; 0.1 in the paper.
        temperature: Of the contrast; 0.07 in the paper.
    """

    paper: ClassVar[str] = "Ada-CM (Li et al. 2022): adaptive confidence margins, two subsets"
    warmup_fields: ClassVar[tuple[str, ...] | None] = ("network_decay",)

    name: Literal["ada_cm"] = "ada_cm"
    margin_floor: float = bounded(0.8, "[0, 1]")
    labeled_weight: float = bounded(0.5, "[0, inf)")
    pseudo_weight: float = bounded(1.0, "[0, inf)")
    contrast_weight: float = bounded(0.1, "[0, inf)")
    temperature: float = bounded(0.07, "(0, inf)")

    @property
    def views(self) -> Views:
        """A strong view of everything, two weak ones of what has no label."""
        return Views(labeled_strong=1, unlabeled_weak=2, unlabeled_strong=1)

    def split(self, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        """The labelled set, and the margins of the classes in it (section 3.2)."""
        del previous
        keep, clean_prob, memory = self.labeled_set(scores)
        prob, label = scores.prob[0][keep[0]], scores.label[keep[0]]
        margin = adaptive_margin(prob, label, epoch, floor=self.margin_floor)
        split = SplitResult(
            is_labeled=keep,
            clean_prob=clean_prob,
            label=scores.label.expand_as(keep).clone(),
            threshold=torch.full((len(scores.class_names),), self.clean_threshold),
            memory={**memory, "margin": margin},
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
        """All views in one forward; the pseudo-label is a constant (section 3.3)."""
        del peer
        if unlabeled is None:
            loss = F.cross_entropy(student(labeled.strong[0]).logits.float(), labeled.label)
            return StepOutput(loss=self.labeled_weight * loss, logs={"labeled_loss": loss.detach()})
        sizes = [len(labeled.index)] + 3 * [len(unlabeled.index)]
        output = student(torch.cat([labeled.strong[0], *unlabeled.weak, unlabeled.strong[0]]))
        known, *weak, strong = output.logits.float().split(sizes)
        _, first, second, _ = output.features.split(sizes)
        prob = torch.stack(weak).softmax(dim=2).mean(dim=0).detach()
        confidence, pseudo_label = prob.max(dim=1)
        assert context.split is not None
        margin = context.split.memory["margin"].to(prob.device)
        is_confident = confidence >= margin[pseudo_label]
        labeled_loss = F.cross_entropy(known, labeled.label)
        pseudo_loss = confident_cross_entropy(strong, pseudo_label, is_confident)
        contrast_loss = contrast(first, second, self.temperature, ~is_confident)
        return StepOutput(
            loss=self.labeled_weight * labeled_loss
            + self.pseudo_weight * pseudo_loss
            + self.contrast_weight * contrast_loss,
            logs={
                "labeled_loss": labeled_loss.detach(),
                "pseudo_loss": pseudo_loss.detach(),
                "contrast_loss": contrast_loss.detach(),
                "confident_fraction": is_confident.float().mean(),
            },
        )
