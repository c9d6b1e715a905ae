"""The lower bound of an epoch's time: its passes through the networks, on views made before.

No image is read, augmented or shuffled, and nothing is split, drawn or logged. Any time beyond this
is the overhead of the loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.data import FaceData
from fer_ray.methods.dividemix import DivideMix
from fer_ray.training.checkpoint import TrainState
from fer_ray.training.learner import Learner, resolve_compute


@dataclass(frozen=True, slots=True)
class NetworkPasses:
    """All forward passes, backward passes and optimizer steps of one epoch with validation.

    Attributes:
        run: Method, batch size and arithmetic.
        data: The data set, of which only the sizes are used.
        learners: The networks.
        optimizers: One per network, with learning rate 0, because there is nothing to learn.
        num_labeled: Number of images that kept their label, per network; `None` in warm-up.
        images: Random views, as many as the largest batch.
    """

    run: RunConfig
    data: FaceData
    learners: Sequence[Learner]
    optimizers: Sequence[torch.optim.Optimizer]
    num_labeled: Sequence[int] | None
    images: Tensor

    @classmethod
    def of(
        cls,
        run: RunConfig,
        data: FaceData,
        device: torch.device,
        state: TrainState,
        num_labeled: Sequence[int] | None,
    ) -> "NetworkPasses":
        """Prepare the passes of the epoch after `state`."""
        bf16, channels_last = resolve_compute(run.compute, device)
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 0.0
        num = max(2 * _num_views(run) * run.optim.batch_size, run.compute.eval_batch_size)
        return cls(
            run=run,
            data=data,
            learners=[Learner(x, bf16=bf16, channels_last=channels_last) for x in state.networks],
            optimizers=state.optimizers,
            num_labeled=num_labeled,
            images=torch.randn(num, data.num_channels, *data.image_size, device=device),
        )

    def epoch(self) -> None:
        """Score, train every network, validate."""
        kept = self.num_labeled or [len(self.data.train)] * len(self.learners)
        if self.num_labeled is not None:
            self.look(len(self.data.train), views=1)
        for network, num_images in enumerate(kept):
            share = min(self.run.optim.batch_size, num_images)
            for _ in range(num_images // share):
                self.step(network, share)
        self.look(len(self.data.val), views=2 if self.run.flip_average else 1)

    def look(self, num_images: int, views: int) -> None:
        """Run forward passes of every network without gradients."""
        size = self.run.compute.eval_batch_size
        for start in range(0, num_images, size):
            images = self.images[: min(size, num_images - start)]
            for learner in self.learners:
                for _ in range(views):
                    learner.logits(images)

    def step(self, network: int, share: int) -> None:
        """Run one gradient step, with the predictions that DivideMix makes before it."""
        student, method = self.learners[network], self.run.method
        if self.num_labeled is not None and isinstance(method, DivideMix):
            share *= method.num_views
            if method.guesses == "fresh":
                student.predict(self.images[: 2 * share])
                self.learners[1 - network].predict(self.images[:share])
        logits = student(self.images[:share]).logits
        loss = F.cross_entropy(logits, torch.zeros(share, dtype=torch.long, device=logits.device))
        self.optimizers[network].zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.module.parameters(), self.run.optim.clip_norm)
        self.optimizers[network].step()


def _num_views(run: RunConfig) -> int:
    """Return the number of views per image in one forward pass."""
    return run.method.num_views if isinstance(run.method, DivideMix) else 1
