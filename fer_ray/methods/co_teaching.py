"""Co-teaching: each network learns from the images that the other finds easy."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F

from fer_ray.core.bounds import bounded
from fer_ray.core.losses import linear_rampup
from fer_ray.core.types import Labeled, Network, StepContext, StepOutput, Unlabeled
from fer_ray.methods.base import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class CoTeaching(Method):
    """Co-teaching (Han et al. 2018, https://arxiv.org/abs/1804.06872), algorithm 1.

    Of every batch, a network learns from the share R(T) = 1 - min(T^c / T_k tau, tau) with the
    smallest loss *of its peer*, which is fixed meanwhile: here for an epoch, as in every method of
    two networks, where the paper lets both step in turn. The peer judges in evaluation mode, so its
    BatchNorm statistics do not move. With several ranks each takes its share of its own rows.

    Cost per image, two networks: 2 forwards to judge, 6 forward-equivalents for each one kept.

    Attributes:
        forget_rate: tau in [0, 1): the share of every batch that is left out in the end. In the
            paper it is the noise rate, which a user can only guess.
        rampup_epochs: T_k: epochs until so much is left out; 10 in the paper.
        exponent: c of T^c, above 0; 1 in the paper.
    """

    paper: ClassVar[str] = "Co-teaching (Han et al. 2018): small-loss images exchanged"
    num_networks: ClassVar[int] = 2
    divides: ClassVar[bool] = False

    name: Literal["co_teaching"] = "co_teaching"
    forget_rate: float = bounded(0.2, "[0, 1)")
    rampup_epochs: float = bounded(10.0, "[0, inf)")
    exponent: float = bounded(1.0, "(0, inf)")

    def is_warmup(self, epoch: int, num_epochs: int) -> bool:
        """Never: R(T) starts at 1."""
        del epoch, num_epochs
        return False

    def keep_share(self, epoch: float) -> float:
        """R(T), T in epochs done."""
        return 1 - self.forget_rate * linear_rampup(epoch**self.exponent, self.rampup_epochs)

    def step(
        self,
        student: Network,
        peer: Network | None,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        context: StepContext,
    ) -> StepOutput:
        """Cross-entropy on the images that the peer finds easiest."""
        del unlabeled
        assert peer is not None
        images, label = labeled.strong[0], labeled.label
        # The smallest loss is the largest probability of the given label.
        believed = peer.predict(images).gather(1, label[:, None])[:, 0]
        share = self.keep_share(context.epoch)
        num_kept = max(2, round(share * len(label)))  # BatchNorm needs two
        kept = believed.argsort(descending=True, stable=True)[:num_kept]
        loss = F.cross_entropy(student(images[kept]).logits.float(), label[kept])
        return StepOutput(loss=loss, logs={"kept": loss.new_tensor(len(kept) / len(label))})
