"""CReST: generations of networks, each trained on more pseudo-labels of the rare classes."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fer_ray.core.bounds import bounded
from fer_ray.core.losses import confident_cross_entropy
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
from fer_ray.methods.base import class_shares, require_labeled
from fer_ray.methods.dividing import SemiSupervised

_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class CReST(SemiSupervised):
    """CReST and CReST+ (Wei et al. 2021, https://arxiv.org/abs/2102.09559) on FixMatch.

    A generation trains on a labelled set and, where a weak view is answered with confidence, on
    pseudo-labels of the rest (FixMatch, Sohn et al. 2020, https://arxiv.org/abs/2001.07685):

        L = CE(labelled) + pseudo_weight mean 1[max q >= confidence] CE(strong view, argmax q)

    At its end the moving average of the network answers for the rest, and of each predicted class
    the most confident share mu joins the labelled set, more of the rare ones (section 3.3): by rank
    of frequency, mu of the r-th most frequent of C is (N_{C+1-r} / N_1)^power. A new network begins
    the next generation, with its own cosine of the learning rate; the last lasts to the end.

    Progressive distribution alignment (CReST+, section 3.4): q is p * target^t / (mean p),
    normalised, with target the share of each class in the first labelled set and t falling from 1
    to `alignment_end` over the generations. The mean is over the last answer for every image
    without a label, where the authors' script has the last 128 batches.

    The first generation goes on with the network of the warm-up. What joined the labelled set is no
    longer drawn as unlabelled. Cost per labelled image, with as many unlabelled: 7
    forward-equivalents, times all generations.

    Attributes:
        num_generations: G, at least 1.
        generation_epochs: Epochs of a generation, warm-up apart; at least 1.
        power: Exponent of the admitted share, above 0; 1/3 in the paper.
        confidence: Smallest probability of a pseudo-label in [0, 1]; 0.95 in FixMatch.
        pseudo_weight: Of the unlabelled half; 1 in FixMatch.
        alignment: `progressive` is CReST+, `none` CReST.
        alignment_end: t of the last generation, in [0, 1]; 0.5 in the paper.
    """

    paper: ClassVar[str] = "CReST+ (Wei et al. 2021): generations, rare classes admitted first"
    warmup_fields: ClassVar[tuple[str, ...] | None] = (
        "network_decay",
        "alignment",
        # The first cosine of the learning rate lasts to the end of the first generation.
        "warmup_epochs",
        "num_generations",
        "generation_epochs",
    )

    name: Literal["crest"] = "crest"
    num_generations: int = bounded(3, "[1, inf)")
    generation_epochs: int = bounded(8, "[1, inf)")
    power: float = bounded(1 / 3, "(0, inf)")
    confidence: float = bounded(0.95, "[0, 1]")
    pseudo_weight: float = bounded(1.0, "[0, inf)")
    alignment: Literal["progressive", "none"] = "progressive"
    alignment_end: float = bounded(0.5, "[0, 1]")

    @property
    def views(self) -> Views:
        """A strong view of everything, a weak one of what has no label."""
        return Views(labeled_strong=1, unlabeled_weak=1, unlabeled_strong=1)

    def memory_size(self, num_classes: int) -> int:
        """The last answer for every image, if answers are aligned."""
        return num_classes if self.alignment == "progressive" else 0

    def generation(self, epoch: int, num_epochs: int) -> int:
        """Generation of an epoch (1-based), from 0; that of the warm-up is the first."""
        done = max(0, epoch - 1 - self.num_warmup(num_epochs))
        return min(done // self.generation_epochs, self.num_generations - 1)

    def cycle(self, epoch: int, num_epochs: int) -> tuple[int, int]:
        """A generation; warm-up belongs to the first, what is left over to the last."""
        number = self.generation(epoch, num_epochs)
        begin = self.num_warmup(num_epochs) + number * self.generation_epochs
        is_last = number == self.num_generations - 1
        last = num_epochs if is_last else min(begin + self.generation_epochs, num_epochs)
        return (1 if number == 0 else begin + 1), last

    def temper(self, generation: int) -> float:
        """Exponent t of a generation's target (section 3.4)."""
        if self.num_generations == 1:
            return 1.0
        share = generation / (self.num_generations - 1)
        return 1 - share + share * self.alignment_end

    def split(self, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        """That of the generation, drawn up at its first epoch."""
        generation = 0
        if previous is not None:
            number, since = (int(previous.memory[key]) for key in ("generation", "since"))
            if number == self.num_generations - 1 or epoch < since + self.generation_epochs:
                return replace(previous, reset_networks=False)
            generation = number + 1
        keep, clean_prob, memory = self.labeled_set(scores)
        label, num_classes = scores.label.clone(), len(scores.class_names)
        count = torch.bincount(label[keep[0]], minlength=num_classes)
        target = class_shares(label[keep[0]], num_classes)
        if previous is not None:
            target = previous.memory["target"]
            admitted, answer = admit(scores.prob[0], keep[0], count, self.power)
            label[admitted] = answer[admitted]
            keep = keep | admitted
        split = SplitResult(
            is_labeled=keep,
            clean_prob=clean_prob,
            label=label[None],
            threshold=torch.full((num_classes,), self.clean_threshold),
            reset_networks=previous is not None,
            memory={
                **memory,
                "generation": torch.tensor(generation),
                "since": torch.tensor(epoch),
                "target": target,
            },
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
        """FixMatch; labelled and strong views in one forward."""
        del peer
        if unlabeled is None:
            loss = F.cross_entropy(student(labeled.strong[0]).logits.float(), labeled.label)
            return StepOutput(loss=loss, logs={"labeled_loss": loss.detach()})
        prob = self._align(student.predict(unlabeled.weak[0]), unlabeled, context)
        certainty, pseudo_label = prob.max(dim=1)
        is_confident = certainty >= self.confidence
        logits = student(torch.cat([labeled.strong[0], unlabeled.strong[0]])).logits.float()
        known, strong = logits.split([len(labeled.index), len(unlabeled.index)])
        labeled_loss = F.cross_entropy(known, labeled.label)
        pseudo_loss = confident_cross_entropy(strong, pseudo_label, is_confident)
        return StepOutput(
            loss=labeled_loss + self.pseudo_weight * pseudo_loss,
            logs={
                "labeled_loss": labeled_loss.detach(),
                "pseudo_loss": pseudo_loss.detach(),
                "confident_fraction": is_confident.float().mean(),
            },
        )

    def _align(
        self, prob: Float[Tensor, "batch class"], unlabeled: Unlabeled, context: StepContext
    ) -> Float[Tensor, "batch class"]:
        """Answers drawn towards the tempered target (section 3.4); remembers them as they were."""
        if self.alignment == "none":
            return prob
        assert context.memory is not None
        assert context.split is not None
        context.memory[unlabeled.index.to(prob.device)] = prob
        mean = context.mean_over_ranks(context.memory.sum(dim=0))
        temper = self.temper(int(context.split.memory["generation"]))
        target = context.split.memory["target"].to(prob.device).pow(temper)
        ratio = (target / target.sum()) / (mean / mean.sum()).clamp_min(_SMALLEST)
        aligned = prob * ratio
        return aligned / aligned.sum(dim=1, keepdim=True)


def admit(
    prob: Float[Tensor, "sample class"],
    is_labeled: Bool[Tensor, " sample"],
    count: Int[Tensor, " class"],
    power: float,
) -> tuple[Bool[Tensor, " sample"], Int[Tensor, " sample"]]:
    """Who joins the labelled set, and everyone's pseudo-label (CReST, section 3.3).

    Of the n unlabelled images answered with a class, the floor(mu n) most confident are admitted.
    Classes are ranked by their number of labelled images; their labels have no order.

    Args:
        prob: Answers.
        is_labeled: Who is in the labelled set already.
        count: Labelled images of every class.
        power: Exponent of mu.
    """
    confidence, answer = prob.max(dim=1)
    order = count.argsort(descending=True, stable=True)
    ranked = count[order].double()
    share = torch.empty(len(count), dtype=torch.float64)
    share[order] = (ranked.flip(0) / ranked[0].clamp_min(1)) ** power
    admitted = torch.zeros_like(is_labeled)
    for number, portion in enumerate(share.tolist()):
        rows = torch.nonzero((answer == number) & ~is_labeled)[:, 0]
        best = confidence[rows].argsort(descending=True, stable=True)
        # 1e-9: a third root that should give a whole number may fall just short of it.
        admitted[rows[best[: math.floor(portion * len(rows) + 1e-9)]]] = True
    return admitted, answer
