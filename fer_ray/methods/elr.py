"""Early-learning regularisation: what was believed early holds a network back from memorising."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fer_ray.core.bounds import bounded
from fer_ray.core.losses import mixup, mixup_coefficient, soft_cross_entropy
from fer_ray.core.types import Labeled, Network, StepContext, StepOutput, Unlabeled, Views
from fer_ray.methods.base import Method

# Probabilities stay this far from 0 and 1, so 1 - <p, t> stays above 0, as in the authors' script.
_SMALLEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyLearning(Method):
    """ELR and ELR+ (Liu et al. 2020, https://arxiv.org/abs/2007.00151).

    Every image has a target t, a moving average of predictions p for it,

        t <- momentum t + (1 - momentum) p,    L = CE + weight * mean log(1 - <p, t>)

    so the gradient of an image that was once seen otherwise fades. In `elr` one network believes
    itself. In `elr+` there are two, each with a moving average of its weights: the predictions in
    the target of one are those of the other's average, images are learnt in mixed pairs (mixup),
    labels and targets mixed alike, and the averages are what is validated and tested.

    Cost per image: that of cross-entropy, and with `elr+` two times that and 2 forwards; C numbers
    of memory for each network. With several ranks the targets are brought together after an epoch.

    Attributes:
        variant: Which of the two.
        weight: lambda, at least 0; 3 for CIFAR-10, 7 for CIFAR-100 in the paper, which are
            balanced. On imbalanced faces targets of rare classes come late, and 3 holds them back:
            1 is 6 points of macro recall better in `elr+` (docs/methods.md).
        momentum: beta, in [0, 1); 0.7 and 0.9 there.
        alpha: Of the Beta distribution of mixup in `elr+`, at least 0; 1 in the paper, 0 for none.
        network_decay: How much of itself an average network keeps a step in `elr+`, in (0, 1);
            0.997 in the paper.
    """

    paper: ClassVar[str] = "ELR, ELR+ (Liu et al. 2020): early targets hold back memorisation"
    divides: ClassVar[bool] = False

    name: Literal["elr"] = "elr"
    variant: Literal["elr", "elr+"] = "elr"
    weight: float = bounded(1.0, "[0, inf)")
    momentum: float = bounded(0.7, "[0, 1)")
    alpha: float = bounded(1.0, "[0, inf)")
    network_decay: float = bounded(0.997, "(0, 1)")

    @property
    def num_networks(self) -> int:
        """Two in `elr+`."""
        return 2 if self.variant == "elr+" else 1

    @property
    def average_decay(self) -> float:
        """Of the averages in `elr+`."""
        return self.network_decay if self.variant == "elr+" else 0.0

    @property
    def views(self) -> Views:
        """One strong view; the targets are of the same one."""
        return Views(labeled_strong=1)

    def is_warmup(self, epoch: int, num_epochs: int) -> bool:
        """Never: the targets themselves are late at first."""
        del epoch, num_epochs
        return False

    def memory_size(self, num_classes: int) -> int:
        """The target of every image."""
        return num_classes

    def step(
        self,
        student: Network,
        peer: Network | None,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        context: StepContext,
    ) -> StepOutput:
        """Cross-entropy plus the regularisation; the targets of the batch move first."""
        del unlabeled
        images = labeled.strong[0]
        given = F.one_hot(labeled.label, len(context.class_names)).to(images.dtype)
        if self.variant == "elr":
            logits = student(images).logits.float()
            target = self._move_targets(logits.detach().softmax(dim=1), labeled, context)
            return self._loss(logits, given, target)
        assert peer is not None
        target = self._move_targets(peer.predict(images), labeled, context)
        if self.alpha:
            share = mixup_coefficient(self.alpha, context.generator)
            partner = torch.randperm(len(images), generator=context.generator).to(images.device)
            images, given, target = (
                mixup(rows, rows[partner], share) for rows in (images, given, target)
            )
        return self._loss(student(images).logits.float(), given, target)

    def _move_targets(
        self, prob: Float[Tensor, "batch class"], labeled: Labeled, context: StepContext
    ) -> Float[Tensor, "batch class"]:
        """Targets of the batch's images after they have taken in `prob`."""
        assert context.memory is not None
        rows = labeled.index.to(context.memory.device)
        seen = prob.clamp(_SMALLEST, 1 - _SMALLEST)
        seen = seen / seen.sum(dim=1, keepdim=True)
        context.memory[rows] = self.momentum * context.memory[rows] + (1 - self.momentum) * seen
        return context.memory[rows]

    def _loss(
        self,
        logits: Float[Tensor, "batch class"],
        given: Float[Tensor, "batch class"],
        target: Float[Tensor, "batch class"],
    ) -> StepOutput:
        prob = logits.softmax(dim=1).clamp(_SMALLEST, 1 - _SMALLEST)
        cross_entropy = soft_cross_entropy(logits, given)
        regularization = (1 - (prob * target).sum(dim=1)).log().mean()
        return StepOutput(
            loss=cross_entropy + self.weight * regularization,
            logs={
                "cross_entropy": cross_entropy.detach(),
                "regularization": regularization.detach(),
            },
        )
