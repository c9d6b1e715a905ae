"""Losses that forgive wrong labels: generalised and symmetric cross-entropy."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fer_ray.core.bounds import bounded
from fer_ray.core.types import Labeled, Network, StepContext, StepOutput
from fer_ray.methods.base import Method, WarmupMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustLoss(WarmupMethod):
    """Trains on every label as given, with a loss whose gradient fades where the label is unlikely.

    `gce` is generalised cross-entropy (Zhang and Sabuncu 2018, https://arxiv.org/abs/1805.07836):
    (1 - p_y^q) / q, cross-entropy for q -> 0 and mean absolute error for q = 1. `sce` is
    symmetric cross-entropy (Wang et al. 2019, https://arxiv.org/abs/1908.06112):
    alpha CE + beta RCE, where RCE = -sum_k p_k log y_k with log 0 = `log_zero`.

    Cost: that of cross-entropy.

    Attributes:
        loss: Which of the two.
        q: Of `gce`, in (0, 1]; 0.7 in the paper, for large networks and hundreds of epochs. In
            short runs the fading gradient costs hard classes more than their wrong labels would:
            0.3 is 7 points of macro recall better (docs/methods.md).
        ce_weight: alpha of `sce`, at least 0; 0.1 in the paper for CIFAR-10; 1 is 8 points of macro
            recall better in short runs, likewise.
        rce_weight: beta of `sce`, at least 0; 1 in the paper.
        log_zero: What the logarithm of a label's zero counts as in `sce`; -4 in the paper.
    """

    paper: ClassVar[str] = "GCE (Zhang and Sabuncu 2018) and SCE (Wang et al. 2019): robust losses"

    name: Literal["robust_loss"] = "robust_loss"
    loss: Literal["gce", "sce"] = "gce"
    q: float = bounded(0.3, "(0, 1]")
    ce_weight: float = bounded(1.0, "[0, inf)")
    rce_weight: float = bounded(1.0, "[0, inf)")
    log_zero: float = bounded(-4.0, "(-inf, 0)")

    def __post_init__(self) -> None:
        Method.__post_init__(self)
        if self.ce_weight == self.rce_weight == 0:
            raise ValueError("ce_weight, rce_weight: at least one above 0, got 0 and 0")

    def warmup_step(self, student: Network, labeled: Labeled, context: StepContext) -> StepOutput:
        """The chosen loss on one strong view."""
        del context
        logits = student(labeled.strong[0]).logits.float()
        if self.loss == "gce":
            return StepOutput(loss=generalized_cross_entropy(logits, labeled.label, self.q))
        cross_entropy = F.cross_entropy(logits, labeled.label)
        reverse = reverse_cross_entropy(logits, labeled.label, self.log_zero)
        return StepOutput(
            loss=self.ce_weight * cross_entropy + self.rce_weight * reverse,
            logs={"cross_entropy": cross_entropy.detach(), "reverse": reverse.detach()},
        )


def generalized_cross_entropy(
    logits: Float[Tensor, "batch class"], label: Int[Tensor, " batch"], q: float
) -> Float[Tensor, ""]:
    """Mean of (1 - p_y^q) / q; through log_softmax, so that p_y = 0 has a finite gradient.

    >>> generalized_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), 1.0)
    tensor(0.5000)
    """
    log_prob = F.log_softmax(logits.float(), dim=1).gather(1, label[:, None])
    return (-torch.expm1(q * log_prob) / q).mean()


def reverse_cross_entropy(
    logits: Float[Tensor, "batch class"], label: Int[Tensor, " batch"], log_zero: float
) -> Float[Tensor, ""]:
    """Mean of -sum_k p_k log y_k for one-hot y: -log_zero (1 - p_y).

    >>> reverse_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), -4.0)
    tensor(2.)
    """
    prob = logits.float().softmax(dim=1).gather(1, label[:, None])
    return (-log_zero * (1 - prob)).mean()
