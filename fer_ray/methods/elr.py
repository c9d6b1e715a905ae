"""Early-learning regularisation: what a network believed early holds it back from memorising."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from fer_ray.methods.base import WarmupMethod
from fer_ray.types import Labeled, Network, StepContext, StepOutput

# Probabilities stay this far from 0 and 1, hence 1 - <p, t> from 0, as in the authors' script.
_SMALLEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyLearning(WarmupMethod):
    """ELR (Liu et al. 2020, https://arxiv.org/abs/2007.00151).

    Every image has a target t, a moving average of the predictions p for it,

        t <- momentum t + (1 - momentum) p,    L = CE + weight * mean log(1 - <p, t>)

    so the gradient of an image that the network once saw otherwise fades. Cost: that of
    cross-entropy, and C numbers an image. With several ranks the targets are brought together after
    every epoch.

    Attributes:
        weight: lambda, at least 0; 3 for CIFAR-10, 7 for CIFAR-100 in the paper.
        momentum: beta, in [0, 1); 0.7 and 0.9 there.
    """

    paper: ClassVar[str] = "ELR (Liu et al. 2020): early targets hold back memorisation"

    name: Literal["elr"] = "elr"
    weight: float = 3.0
    momentum: float = 0.7

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight: at least 0, got {self.weight}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum: in [0, 1), got {self.momentum}")

    def memory_size(self, num_classes: int) -> int:
        """The target of every image."""
        return num_classes

    def warmup_step(self, student: Network, labeled: Labeled, context: StepContext) -> StepOutput:
        """Cross-entropy plus the regularisation; moves the targets of the batch first."""
        assert context.memory is not None
        logits = student(labeled.strong[0]).logits.float()
        prob = logits.softmax(dim=1).clamp(_SMALLEST, 1 - _SMALLEST)
        rows = labeled.index.to(context.memory.device)
        with torch.no_grad():
            seen = prob / prob.sum(dim=1, keepdim=True)
            target = self.momentum * context.memory[rows] + (1 - self.momentum) * seen
            context.memory[rows] = target
        agreement = (prob * target).sum(dim=1)
        regularization = (1 - agreement).log().mean()
        cross_entropy = F.cross_entropy(logits, labeled.label)
        return StepOutput(
            loss=cross_entropy + self.weight * regularization,
            logs={
                "cross_entropy": cross_entropy.detach(),
                "regularization": regularization.detach(),
            },
        )
