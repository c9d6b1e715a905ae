"""Cross-entropy on the labels as given: the baseline that believes everything."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from fer_ray.core.bounds import bounded
from fer_ray.core.losses import mixup, mixup_coefficient
from fer_ray.core.types import Labeled, Network, StepContext, StepOutput
from fer_ray.methods.base import WarmupMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy(WarmupMethod):
    """One network, a warm-up that never ends: 3 forward-equivalents per image and epoch.

    With its fields, the usual remedies against noise (smoothing, mixup) and imbalance (balanced
    draws or softmax), each off by default.

    Attributes:
        label_smoothing: Share of the target, in [0, 1), that goes to all classes alike (Szegedy et
            al. 2016, https://arxiv.org/abs/1512.00567, section 7).
        mixup_alpha: Of the Beta distribution that mixes pairs of images and targets; 0 mixes none
            (Zhang et al. 2018, https://arxiv.org/abs/1710.09412).
        sampling: `class_balanced` draws every class equally often, with repetition.
        balanced_softmax: Whether logits are shifted by the log of the class counts while learning,
            so that the bare logits answer for balanced classes (Ren et al. 2020,
            https://arxiv.org/abs/2007.10740).
    """

    paper: ClassVar[str] = "baseline: trains on every label as given"

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = bounded(0.0, "[0, 1)")
    mixup_alpha: float = bounded(0.0, "[0, inf)")
    sampling: Literal["natural", "class_balanced"] = "natural"
    balanced_softmax: bool = False

    @property
    def balances_classes(self) -> bool:
        """Whether every class is drawn equally often."""
        return self.sampling == "class_balanced"

    def warmup_step(self, student: Network, labeled: Labeled, context: StepContext) -> StepOutput:
        """Cross-entropy on one strong view, with what the fields add."""
        images, target = labeled.strong[0], labeled.label
        if self.mixup_alpha > 0:
            partner = torch.randperm(len(images), generator=context.generator).to(images.device)
            share = mixup_coefficient(self.mixup_alpha, context.generator)
            target = F.one_hot(target, len(context.class_names)).float()
            images = mixup(images, images[partner], share)
            target = mixup(target, target[partner], share)
        logits = student(images).logits.float()
        if self.balanced_softmax:
            logits = logits + context.class_count.to(logits.device).clamp_min(1).log()
        loss = F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        return StepOutput(loss=loss)
