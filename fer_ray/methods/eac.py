"""Erasing attention consistency: a face and its mirror image must be judged by the same places."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from fer_ray.core.bounds import bounded
from fer_ray.core.types import Labeled, Network, StepContext, StepOutput
from fer_ray.methods.base import WarmupMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasingAttention(WarmupMethod):
    """EAC (Zhang et al. 2022, https://arxiv.org/abs/2207.10299).

    With M_c(x) the class activation map of class c for image x, and f the mirroring of a map,

        L = CE(x) + consistency_weight * mean (M(x) - f(M(f(x))))^2

    To remember a wrong label a network leans on some accidental place, which is then not the same
    in the mirror image. Erasing, the second half of the idea, is that of `augment.strong`. The
    weights within M get no gradient, and only the image itself is classified, as in the authors'
    script. Cost: two times that of cross-entropy.

    Attributes:
        consistency_weight: lambda, at least 0; 5 in the paper, on ResNets.
            With the tiny network 5 costs half of the accuracy and 0.2 none (docs/methods.md).
    """

    paper: ClassVar[str] = "EAC (Zhang et al. 2022): attention of an erased face and its mirror"

    name: Literal["eac"] = "eac"
    consistency_weight: float = bounded(0.2, "[0, inf)")

    def warmup_step(self, student: Network, labeled: Labeled, context: StepContext) -> StepOutput:
        """Cross-entropy on one strong view; consistency with its mirror image."""
        del context
        view = labeled.strong[0]
        output = student(torch.cat([view, view.flip(3)]))
        logits, _ = output.logits.float().chunk(2)
        attention, mirrored = output.attention.float().chunk(2)
        cross_entropy = F.cross_entropy(logits, labeled.label)
        consistency = F.mse_loss(attention, mirrored.flip(3))
        return StepOutput(
            loss=cross_entropy + self.consistency_weight * consistency,
            logs={"cross_entropy": cross_entropy.detach(), "consistency": consistency.detach()},
        )
