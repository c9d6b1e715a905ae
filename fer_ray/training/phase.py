"""Trains one network for one epoch while everything else stays fixed.

A little longer than other files, because the plan of an epoch and its steps are read together.
"""

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.augment import draw_views, make_several
from fer_ray.core.types import (
    EmptySplitError,
    Labeled,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
    Views,
)
from fer_ray.training.checkpoint import TrainState
from fer_ray.training.distributed import (
    mean_over_ranks,
    merge_changes,
    min_over_ranks,
    rank,
    sum_over_ranks,
    world_size,
)
from fer_ray.training.draws import balanced_rows, shuffled_rows
from fer_ray.training.learner import (
    METHOD_STREAM,
    ORDER_STREAM,
    Images,
    Learners,
    generator_for,
    move_average,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePlan:
    """The plan of one network's epoch: its rows, their labels, and the number of steps.

    Attributes:
        network: Number of the network, from 0.
        epoch: Number of the epoch, from 1.
        is_warmup: Whether the epoch belongs to the warm-up.
        views: How many views a step needs.
        split: The current split; `None` without one.
        label: Label of every training image: the given one, or that of the split.
        labeled: Rows that are trained on with a label.
        unlabeled: Rows that are trained on without a label; empty if the method draws none.
        share: Labelled images per step, over all ranks.
        num_steps: Steps in the epoch, the same on every rank.
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
        """Number of images drawn in the epoch, over all ranks."""
        return self.num_steps * self.share * (2 if len(self.unlabeled) else 1)


def plan_phase(
    run: RunConfig, images: Images, network: int, split: SplitResult | None, epoch: int
) -> PhasePlan:
    """Plan what a network trains on in an epoch.

    An epoch is one pass over the labelled images; over the unlabelled ones if there are more of
    them and the method covers them. The last images are left out if they do not fill a batch (the
    order is new in every epoch). A set smaller than a batch makes one smaller step.

    Args:
        run: Method and batch size.
        images: The training images.
        network: Number of the network, from 0.
        split: The current split; `None` without one.
        epoch: Number of the epoch, from 1.

    Raises:
        EmptySplitError: If there are fewer than two labelled images per rank.
    """
    method, world = run.method, world_size()
    is_warmup = method.is_warmup(epoch, run.optim.epochs)
    views = Views(labeled_strong=1) if is_warmup else method.views
    every = torch.arange(len(images))
    uses_all = split is None or method.trains_on_all
    kept = images.label >= 0 if split is None or uses_all else split.is_labeled[network]
    num_labeled = int(kept.sum())
    share = min(run.optim.batch_size, num_labeled - num_labeled % world)
    if share < 2 * world:
        raise EmptySplitError(
            f"epoch {epoch}, network {network}: expected at least {2 * world} labelled images for "
            f"{world} workers, got {num_labeled}. Lower method.thresholds or raise "
            "method.warmup_epochs."
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


class Phase:
    """Trains a network as planned. Random numbers depend only on (seed, epoch, network, rank)."""

    def __init__(
        self,
        run: RunConfig,
        class_names: tuple[str, ...],
        images: Images,
        state: TrainState,
        learners: Learners,
        plan: PhasePlan,
    ) -> None:
        self._run, self._plan, self._images = run, plan, images
        self._class_names = class_names
        self._learners = learners
        self._watch = images.stopwatch
        self._student = learners.students[plan.network]
        self._optimizer = state.optimizers[plan.network]
        self._memory = state.memory[plan.network] if state.memory else None
        self._num_steps = state.num_steps
        self._learning_rate = 0.0  # of the newest step, in units of `optim.learning_rate`
        key = (run.seed, plan.epoch, plan.network)
        # Order and views are drawn for the whole batch, the same on every rank. What a method draws
        # differs by rank.
        self._order = generator_for(*key, ORDER_STREAM)
        self._own = generator_for(*key, rank(), METHOD_STREAM)

    def train(self) -> dict[str, float]:
        """Run all steps; return their logs, averaged over steps and ranks.

        Raises:
            FloatingPointError: If a loss is not finite; on every rank. Names epoch, network and
                step.
        """
        plan = self._plan
        num_drawn = plan.num_steps * plan.share
        draw = balanced_rows if self._run.method.balances_classes else shuffled_rows
        labeled = draw(plan.labeled, plan.label, num_drawn, self._order)
        unlabeled = shuffled_rows(plan.unlabeled, plan.label, num_drawn, self._order)
        class_count = torch.bincount(plan.label[plan.labeled], minlength=len(self._class_names))
        before = None if self._memory is None else self._memory.clone()
        logs: dict[str, list[Tensor]] = defaultdict(list)
        for step in range(plan.num_steps):
            part = slice(step * plan.share, (step + 1) * plan.share)
            context = StepContext(
                class_names=self._class_names,
                class_count=class_count,
                split=plan.split,
                network=plan.network,
                epoch=plan.epoch - 1 + step / plan.num_steps,
                num_epochs=self._run.optim.epochs,
                memory=self._memory,
                generator=self._own,
                mean_over_ranks=self._mean_over_ranks,
            )
            self._set_learning_rate(context.epoch)
            output = self._step(labeled[part], unlabeled[part], context)
            self._optimizer.zero_grad(set_to_none=True)
            output.loss.backward()
            if step:  # what is known by now is of an earlier step, which shall be of this phase
                self._watch.add("communication_s", self._student.waiting_s)
            weights = self._student.module.parameters()
            torch.nn.utils.clip_grad_norm_(weights, self._run.optim.clip_norm)
            self._optimizer.step()
            self._move_average()
            for key, value in {"loss": output.loss.detach(), **output.logs}.items():
                logs[key].append(value)
        with self._watch.part("communication_s"):
            self._learners.sync_statistics(plan.network)
            if self._memory is not None and before is not None and world_size() > 1:
                merge_changes(self._memory, before)
            return self._mean_logs(logs) | {"learning_rate": self._learning_rate}

    def _mean_over_ranks(self, value: Tensor) -> Tensor:
        with self._watch.part("communication_s"):
            return mean_over_ranks(value)

    def _step(
        self,
        labeled_rows: Int[Tensor, " labeled"],
        unlabeled_rows: Int[Tensor, " unlabeled"],
        context: StepContext,
    ) -> StepOutput:
        method, plan, device = self._run.method, self._plan, self._images.device
        views = plan.views
        weak, strong, index = self._views(labeled_rows, views.labeled_weak, views.labeled_strong)
        clean_prob = torch.ones(len(index))
        if plan.split is not None:
            clean_prob = plan.split.clean_prob[plan.network][index]
        labeled = Labeled(
            weak=weak,
            strong=strong,
            index=index,
            label=plan.label[index].to(device, non_blocking=True),
            clean_prob=clean_prob.to(device, non_blocking=True),
        )
        if plan.is_warmup:
            return method.warmup_step(self._student, labeled, context)
        unlabeled = None
        if len(unlabeled_rows):
            weak, strong, index = self._views(
                unlabeled_rows, views.unlabeled_weak, views.unlabeled_strong
            )
            unlabeled = Unlabeled(weak=weak, strong=strong, index=index)
        peer = None
        if method.asks_peer:
            peer = self._learners.peer(plan.network, is_average=method.average_decay > 0)
        return method.step(self._student, peer, labeled, unlabeled, context)

    def _views(
        self, rows: Int[Tensor, " batch"], num_weak: int, num_strong: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Int[Tensor, " part"]]:
        """Draw the views of all ranks' rows, but make only those of this rank's rows."""
        part = len(rows) // world_size()
        mine = slice(rank() * part, (rank() + 1) * part)
        weak, strong = self._run.augment.weak, self._run.strong_views(len(self._images))
        policies = [weak] * num_weak + [strong] * num_strong
        with self._watch.part("input_s"):
            images = self._images.take(rows[mine])
            params = [draw_views(policy, len(rows), self._order).rows(mine) for policy in policies]
            views = make_several(images, [param.to(images.device) for param in params])
        return tuple(views[:num_weak]), tuple(views[num_weak:]), rows[mine]

    def _set_learning_rate(self, progress: float) -> None:
        """Set the learning rate of a step, which depends only on the progress in a cycle.

        So resuming needs no scheduler state.
        """
        optim = self._run.optim
        first, last = self._run.method.cycle(self._plan.epoch, optim.epochs)
        num_epochs = last - (first - 1)
        done = (progress - (first - 1)) / num_epochs
        if done < optim.lr_warmup:  # the middle of the step; at its start, the first one would be 0
            done += 0.5 / (self._plan.num_steps * num_epochs)
        share = learning_rate_share(done, optim.lr_warmup)
        self._learning_rate = share * optim.learning_rate
        for group in self._optimizer.param_groups:
            group["lr"] = group["highest_lr"] * share

    def _move_average(self) -> None:
        """Update the network's moving average after a step."""
        network = self._plan.network
        if self._learners.averages:
            average, num_done = self._learners.averages[network], self._num_steps[network]
            move_average(average.module, self._student.module, self._run.average_decay, num_done)
        self._num_steps[network] += 1

    def _mean_logs(self, logs: dict[str, list[Tensor]]) -> dict[str, float]:
        table = torch.stack([torch.stack(values).float() for values in logs.values()])
        steps = torch.arange(table.shape[1], device=table.device)
        broken = torch.where(torch.isfinite(table[0]), table.shape[1], steps).min()
        step = int(min_over_ranks(broken))
        if step < table.shape[1]:
            epoch = self._plan.epoch
            raise FloatingPointError(
                f"epoch {epoch}, network {self._plan.network}, step {step + 1} of "
                f"{table.shape[1]}: the loss is not finite. The last good state is that of epoch "
                f"{epoch - 1}. Lower optim.learning_rate, or set compute.bf16=false."
            )
        means = sum_over_ranks(table.mean(dim=1)) / world_size()
        return dict(zip(logs, means.tolist(), strict=True))


def learning_rate_share(done: float, warmup: float) -> float:
    """Return the learning rate as a share of the highest one.

    Args:
        done: Share of the cycle that is done, in [0, 1].
        warmup: Share of the cycle over which the rate rises linearly from 0, in [0, 1); after it
            the rate falls to 0 as half a cosine.

    >>> [round(learning_rate_share(x, 0.2), 3) for x in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
