"""What one network trains on in one epoch."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.types import EmptySplitError, SplitResult, Views
from fer_ray.training.distributed import world_size
from fer_ray.training.learner import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePlan:
    """What one network trains on in one epoch.

    Attributes:
        network: Which one.
        epoch: 1-based.
        is_warmup: Whether the steps are those of the warm-up.
        views: Views that a step asks for.
        split: The current split; `None` without one.
        label: Label of every training image, as given or as the split says.
        labeled: Rows of the training set that are learnt with their label.
        unlabeled: Rows without a label; empty if none are drawn.
        share: Labelled images a step, over all ranks.
        num_steps: Steps of the epoch, the same on every rank.
    """

    network: int
    epoch: int
    is_warmup: bool
    views: Views
    split: SplitResult | None
    label: Int[Tensor, " sample"]
    labeled: Int[Tensor, " labeled"]
    unlabeled: Int[Tensor, " unlabeled"]
    share: int
    num_steps: int

    @property
    def num_images(self) -> int:
        """Images drawn in the epoch, over all ranks."""
        return self.num_steps * self.share * (2 if len(self.unlabeled) else 1)


def plan_phase(
    run: RunConfig, images: Images, network: int, split: SplitResult | None, epoch: int
) -> PhasePlan:
    """What a network trains on.

    An epoch is a pass over the labelled images, or over the unlabelled ones where the method wants
    that and they are more. A rest that fills no batch is left out (the order is new every epoch); a
    set smaller than a batch is one smaller step.

    Raises:
        EmptySplitError: If there are fewer than two labelled images per rank.
    """
    method, world = run.method, world_size()
    is_warmup = method.is_warmup(epoch)
    views = Views(labeled_strong=1) if is_warmup else method.views
    every = torch.arange(len(images))
    kept = images.label >= 0 if split is None else split.is_labeled[network]
    num_labeled = int(kept.sum())
    share = min(run.optim.batch_size, num_labeled - num_labeled % world)
    if share < 2 * world:
        raise EmptySplitError(
            f"epoch {epoch}: {num_labeled} labelled images for {world} workers; at least "
            f"{2 * world} are needed. Lower method.thresholds or lengthen method.warmup_epochs."
        )
    num_rest = len(every) - num_labeled
    num_images = max(num_labeled, num_rest) if method.covers_unlabeled else num_labeled
    draws_rest = split is not None and views.needs_unlabeled
    return PhasePlan(
        network=network,
        epoch=epoch,
        is_warmup=is_warmup,
        views=views,
        split=split,
        label=images.label if split is None else split.label[network],
        labeled=every[kept],
        unlabeled=every[~kept] if draws_rest else every[:0],
        share=share,
        num_steps=num_images // share,
    )
