"""The loop: score, split, step, evaluate; one generator behind every runtime.

Knows ranks, but neither Ray nor W&B. All ranks run it in step.
"""

import copy
import functools
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from fer_ray.augment import ViewPolicy, draw_views, make_views, plain_views
from fer_ray.checkpoint import Best, TrainState, copy_weights
from fer_ray.config import RunConfig
from fer_ray.data import FaceData
from fer_ray.distributed import (
    from_rank_zero,
    gather_rows,
    mean_over_ranks,
    min_over_ranks,
    rank,
    sum_over_ranks,
    world_size,
)
from fer_ray.learner import (
    Images,
    Learner,
    generator_for,
    mean_prediction,
    move_average,
    resolve_compute,
    seed_for,
)
from fer_ray.metrics import confusion_matrix, epoch_metrics, selection_metrics
from fer_ray.mixture import normalize
from fer_ray.models import FaceNetwork, build_network
from fer_ray.types import (
    EmptySplitError,
    Labeled,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
    Views,
)

_HISTOGRAM_BINS = 50
# Streams of random numbers of one (seed, epoch, network): order and views are those of the whole
# batch and the same on every rank; a method's own draws differ by rank.
_INIT, _ORDER, _METHOD = 0, 1, 2


def new_state(run: RunConfig, data: FaceData, device: torch.device) -> TrainState:
    """Networks and optimizers before the first epoch, the same on every rank."""
    networks = [
        _new_network(run, data, device, number, 0) for number in range(run.method.num_networks)
    ]
    size = run.method.memory_size(data.num_classes)
    return TrainState(
        epoch=0,
        networks=networks,
        optimizers=[_new_optimizer(run, net) for net in networks],
        averages=_new_averages(run, networks),
        memory=[torch.zeros(len(data.train), size, device=device) for _ in networks if size],
    )


def _new_network(
    run: RunConfig, data: FaceData, device: torch.device, number: int, epoch: int
) -> FaceNetwork:
    network = build_network(
        run.model,
        num_classes=data.num_classes,
        num_channels=data.num_channels,
        image_size=min(data.image_size),
        seed=seed_for(run.seed, epoch, number, _INIT),
    )
    return network.to(device)


def _new_averages(run: RunConfig, networks: Sequence[FaceNetwork]) -> list[FaceNetwork]:
    """Copies of the networks as they start, which follow them slowly; none without a decay."""
    if not run.method.average_decay:
        return []
    return [copy.deepcopy(network).requires_grad_(False) for network in networks]


def _new_optimizer(run: RunConfig, network: FaceNetwork) -> torch.optim.SGD:
    """SGD; vectors (biases, normalisation) are not decayed."""
    matrices: list[Tensor] = [value for value in network.parameters() if value.ndim > 1]
    vectors: list[Tensor] = [value for value in network.parameters() if value.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups,
        lr=run.optim.learning_rate,
        momentum=run.optim.momentum,
        weight_decay=run.optim.weight_decay,
        nesterov=run.optim.momentum > 0,
    )


def fit(
    run: RunConfig, data: FaceData, device: torch.device, state: TrainState
) -> Iterator[dict[str, Any]]:
    """Train from `state` to the last epoch, yielding a row of metrics per epoch.

    `state` is up to date whenever a row is yielded, so it can be saved there. The numbers of a row
    are the same on every rank.

    Yields:
        Flat metrics: `epoch`, `train/*`, `split/*` (after warm-up), `val/*`, `time/*`. Lists and
        dicts among them are `val/confusion`, `split/histogram` and `split/mixture`.

    Raises:
        EmptySplitError: If a split leaves a network without labelled images; on every rank.
        FloatingPointError: If a loss is not finite, naming epoch, network and step; on every rank.
        MixtureError: If the losses cannot be divided; on every rank.
    """
    loop = _Loop(run, data, device, state)
    while state.epoch < run.optim.epochs:
        row = loop.epoch(state.epoch + 1)
        state.epoch += 1
        _keep_best(run, state, row)
        state.history.append(row)
        yield row


def _keep_best(run: RunConfig, state: TrainState, row: dict[str, Any]) -> None:
    value = row[run.metric]
    if not math.isfinite(value):
        return
    sign = 1 if run.mode == "max" else -1
    if state.best is None or sign * value > sign * state.best.value:
        state.best = Best(epoch=state.epoch, value=value, weights=copy_weights(state.evaluated))


@dataclass(slots=True)
class _Phase:
    """Rows that one network trains on in one epoch; `unlabeled` is empty if none are drawn.

    `label` is that of every training image, as given or as the split says. An epoch is one pass
    over `num_images` images.
    """

    network: int
    num_images: int
    is_warmup: bool
    label: Int[Tensor, " sample"]
    labeled: Int[Tensor, " labeled"]
    unlabeled: Int[Tensor, " unlabeled"]
    views: Views
    split: SplitResult | None


class _Loop:
    """The parts of an epoch, and what they share."""

    def __init__(
        self, run: RunConfig, data: FaceData, device: torch.device, state: TrainState
    ) -> None:
        self.run, self.state, self.device = run, state, device
        self.data = data
        self.train, self.val = Images(data.train, device), Images(data.val, device)
        self.learners: list[Learner] = []
        self.averages: list[Learner] = []
        self._wrap()

    @property
    def judges(self) -> list[Learner]:
        """What scores, is validated and is a step's peer: the averages if there are any."""
        return self.averages or self.learners

    def _wrap(self) -> None:
        """Learners around the state's networks."""
        bf16, channels_last = resolve_compute(self.run.compute, self.device)
        wrap = functools.partial(Learner, bf16=bf16, channels_last=channels_last)
        self.learners = [wrap(network) for network in self.state.networks]
        self.averages = [wrap(network, trained=False) for network in self.state.averages]

    def epoch(self, epoch: int) -> dict[str, Any]:
        """One epoch: (score, split,) train every network, evaluate."""
        row: dict[str, Any] = {"epoch": epoch}
        clock = _Clock()
        if self.run.method.is_warmup(epoch) or not self.run.method.divides:
            split = None
        else:
            split, figures = self._divide(epoch)
            row |= figures
            self.state.split = split
            clock.lap("split_s")
        logs, num_images = self._train_all(split, epoch)
        row |= logs
        clock.lap("train_s")
        row |= self._validate()
        clock.lap("val_s")
        row |= clock.times
        return row | {"time/images_per_s": num_images / clock.times["time/epoch_s"]}

    # --- score and split -------------------------------------------------------------------------

    def _divide(self, epoch: int) -> tuple[SplitResult, dict[str, Any]]:
        """Score every image with every network, fit on rank zero, hand the split to all ranks."""
        scores = self._score()

        def divide() -> tuple[SplitResult, dict[str, Any]]:
            assert scores is not None
            split = self.run.method.split(scores, self.state.split, epoch)
            # What the networks say now, for the audit of labels; no method reads it.
            prediction = scores.prob.mean(dim=0).argmax(dim=1)
            split = replace(split, memory={**split.memory, "prediction": prediction})
            return split, self._split_figures(split, scores)

        split, figures = from_rank_zero(divide)
        if split.reset_networks:
            self._reset(epoch)
        return split, figures

    def _score(self) -> Scores | None:
        """Loss and softmax of every network for every image; on rank zero."""
        index, losses, probs = [], [], []
        for rows in self.train.shards(self.run.compute.eval_batch_size):
            view = plain_views(self.train.take(rows))
            label = self.train.label[rows].clamp_min(0).to(self.device)
            logits = torch.stack([judge.logits(view) for judge in self.judges], dim=1)
            index.append(rows)
            probs.append(logits.softmax(dim=2))
            target = label[:, None].expand(-1, logits.shape[1])
            losses.append(F.cross_entropy(logits.movedim(2, 1), target, reduction="none"))
        rows, num_rows = torch.cat(index).to(self.device), len(self.train)
        loss = gather_rows(rows, torch.cat(losses), num_rows)
        prob = gather_rows(rows, torch.cat(probs), num_rows)
        if loss is None or prob is None:
            return None
        return Scores(
            class_names=self.data.class_names,
            label=self.train.label,
            is_labeled=self.train.label >= 0,
            loss=loss.T.contiguous().cpu(),
            prob=prob.movedim(1, 0).contiguous().cpu(),
        )

    def _split_figures(self, split: SplitResult, scores: Scores) -> dict[str, Any]:
        """What is reported of a split: quality, the histogram of losses and the mixture over it."""
        quality = selection_metrics(
            split.is_labeled,
            split.clean_prob,
            self.train.label,
            self.train.true_label,
            self.data.class_names,
        )
        figures: dict[str, Any] = {f"split/{key}": value for key, value in quality.items()}
        edges = torch.linspace(0, 1, _HISTOGRAM_BINS + 1)
        clip = getattr(self.run.method, "clip_quantile", 1.0)
        losses = scores.loss[:, scores.is_labeled]
        counts = [torch.histc(normalize(row, clip), _HISTOGRAM_BINS, 0, 1) for row in losses]
        figures["split/histogram"] = {
            "edges": [round(float(edge), 4) for edge in edges],
            "counts": torch.stack(counts).int().tolist(),
        }
        keys = ("mean", "std", "weight")
        if all(f"mixture_{key}" in split.memory for key in keys):
            figures["split/mixture"] = {
                key: split.memory[f"mixture_{key}"].tolist() for key in keys
            }
        return figures

    def _reset(self, epoch: int) -> None:
        """New networks, optimizers, averages and memory: a generation begins."""
        for number in range(len(self.learners)):
            network = _new_network(self.run, self.data, self.device, number, epoch)
            self.state.networks[number] = network
            self.state.optimizers[number] = _new_optimizer(self.run, network)
        self.state.averages[:] = _new_averages(self.run, self.state.networks)
        for memory in self.state.memory:
            memory.zero_()
        self._wrap()

    # --- train -----------------------------------------------------------------------------------

    def _train_all(self, split: SplitResult | None, epoch: int) -> tuple[dict[str, float], int]:
        """Train one network after the other; the mean of what they log and the images drawn."""
        logs: dict[str, list[float]] = defaultdict(list)
        num_images = 0
        for network in range(len(self.learners)):
            phase = self._phase(network, split, epoch)
            share, num_steps = self._step_size(phase, epoch)
            num_images += num_steps * share * (2 if len(phase.unlabeled) else 1)
            for key, value in self._train(phase, epoch).items():
                logs[f"train/{key}"].append(value)
        return {key: sum(values) / len(values) for key, values in logs.items()}, num_images

    def _phase(self, network: int, split: SplitResult | None, epoch: int) -> _Phase:
        is_warmup = self.run.method.is_warmup(epoch)
        views = Views(labeled_strong=1) if is_warmup else self.run.method.views
        every = torch.arange(len(self.train))
        kept = self.train.label >= 0 if split is None else split.is_labeled[network]
        draws_rest = split is not None and views.needs_unlabeled
        num_labeled = int(kept.sum())
        covers = self.run.method.covers_unlabeled
        return _Phase(
            network=network,
            num_images=max(num_labeled, len(every) - num_labeled) if covers else num_labeled,
            is_warmup=is_warmup,
            label=self.train.label if split is None else split.label[network],
            labeled=every[kept],
            unlabeled=every[~kept] if draws_rest else every[:0],
            views=views,
            split=split,
        )

    def _train(self, phase: _Phase, epoch: int) -> dict[str, float]:
        """One network's steps of one epoch; logs averaged over steps and ranks."""
        learner, optimizer = self.learners[phase.network], self.state.optimizers[phase.network]
        share, num_steps = self._step_size(phase, epoch)
        order = generator_for(self.run.seed, epoch, phase.network, _ORDER)
        own = generator_for(self.run.seed, epoch, phase.network, rank(), _METHOD)
        labeled = self._draw_labeled(phase, num_steps * share, order)
        class_count = torch.bincount(phase.label[phase.labeled], minlength=self.data.num_classes)
        unlabeled = _shuffled(phase.unlabeled, num_steps * share, order)
        memory = self.state.memory[phase.network] if self.state.memory else None
        before = None if memory is None else memory.clone()
        logs: dict[str, list[Tensor]] = defaultdict(list)
        for step in range(num_steps):
            part = slice(step * share, (step + 1) * share)
            progress = epoch - 1 + step / num_steps
            self._set_learning_rate(optimizer, progress, epoch)
            context = StepContext(
                class_names=self.data.class_names,
                class_count=class_count,
                split=phase.split,
                network=phase.network,
                epoch=progress,
                memory=memory,
                generator=own,
                mean_over_ranks=mean_over_ranks,
            )
            output = self._step(phase, labeled[part], unlabeled[part], order, context)
            optimizer.zero_grad(set_to_none=True)
            output.loss.backward()
            torch.nn.utils.clip_grad_norm_(learner.module.parameters(), self.run.optim.clip_norm)
            optimizer.step()
            self._average(phase.network, epoch, step, num_steps)
            for key, value in {"loss": output.loss.detach(), **output.logs}.items():
                logs[key].append(value)
        learner.sync_statistics()
        if self.averages:
            self.averages[phase.network].sync_statistics()
        if memory is not None and before is not None and world_size() > 1:
            memory.copy_(before + sum_over_ranks(memory - before))
        return self._mean_logs(logs, phase, epoch)

    def _step_size(self, phase: _Phase, epoch: int) -> tuple[int, int]:
        """Labelled images a step over all ranks, and steps: the same numbers on every rank.

        A rest that fills no batch is left out (the order is new every epoch); a set smaller than a
        batch is one smaller step.

        Raises:
            EmptySplitError: If there are fewer than two labelled images per rank.
        """
        num_labeled, world = len(phase.labeled), world_size()
        share = min(self.run.optim.batch_size, num_labeled - num_labeled % world)
        if share < 2 * world:
            raise EmptySplitError(
                f"epoch {epoch}: {num_labeled} labelled images for {world} workers; at least "
                f"{2 * world} are needed. Lower method.thresholds or lengthen "
                "method.warmup_epochs."
            )
        return share, phase.num_images // share

    def _average(self, network: int, epoch: int, step: int, num_steps: int) -> None:
        """Let the moving average of a network follow the step just done."""
        if not self.averages:
            return
        first, _ = self.run.method.cycle(epoch, self.run.optim.epochs)
        num_done = (epoch - first) * num_steps + step
        decay = self.run.method.average_decay
        move_average(self.averages[network].module, self.learners[network].module, decay, num_done)

    def _draw_labeled(self, phase: _Phase, num: int, order: torch.Generator) -> Int[Tensor, " num"]:
        """Every image once, or every class equally often."""
        if not self.run.method.balances_classes:
            return _shuffled(phase.labeled, num, order)
        label = phase.label[phase.labeled]
        weight = torch.bincount(label).double().reciprocal()[label]
        return phase.labeled[torch.multinomial(weight, num, replacement=True, generator=order)]

    def _step(
        self,
        phase: _Phase,
        labeled_rows: Int[Tensor, " labeled"],
        unlabeled_rows: Int[Tensor, " unlabeled"],
        order: torch.Generator,
        context: StepContext,
    ) -> StepOutput:
        method, views, student = self.run.method, phase.views, self.learners[phase.network]
        weak, strong, index = self._views(
            labeled_rows, views.labeled_weak, views.labeled_strong, order
        )
        clean_prob = torch.ones(len(index))
        if phase.split is not None:
            clean_prob = phase.split.clean_prob[phase.network][index]
        labeled = Labeled(
            weak=weak,
            strong=strong,
            index=index,
            label=phase.label[index].to(self.device, non_blocking=True),
            clean_prob=clean_prob.to(self.device, non_blocking=True),
        )
        if phase.is_warmup:
            return method.warmup_step(student, labeled, context)
        unlabeled = None
        if len(unlabeled_rows):
            weak, strong, index = self._views(
                unlabeled_rows, views.unlabeled_weak, views.unlabeled_strong, order
            )
            unlabeled = Unlabeled(weak=weak, strong=strong, index=index)
        return method.step(student, self._peer(phase.network), labeled, unlabeled, context)

    def _peer(self, network: int) -> Learner | None:
        """The other network's judge, or the own average of a single network."""
        if len(self.learners) == 2:
            return self.judges[1 - network]
        return self.averages[0] if self.averages else None

    def _views(
        self, rows: Int[Tensor, " batch"], num_weak: int, num_strong: int, order: torch.Generator
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Int[Tensor, " part"]]:
        """Draw views for the batch of all ranks, make those of this rank's rows."""
        part = len(rows) // world_size()
        mine = slice(rank() * part, (rank() + 1) * part)
        images = self.train.take(rows[mine])

        def make(policy: ViewPolicy) -> Tensor:
            params = draw_views(policy, len(rows), order).rows(mine)
            return make_views(images, params.to(self.device))

        weak = tuple(make(self.run.augment.weak) for _ in range(num_weak))
        strong = tuple(make(self.run.augment.strong) for _ in range(num_strong))
        return weak, strong, rows[mine]

    def _set_learning_rate(self, optimizer: torch.optim.SGD, progress: float, epoch: int) -> None:
        """Half a cosine over a cycle: a function of the progress, so resuming needs no state."""
        first, last = self.run.method.cycle(epoch, self.run.optim.epochs)
        share = (progress - (first - 1)) / (last - (first - 1))
        for group in optimizer.param_groups:
            group["lr"] = self.run.optim.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def _mean_logs(
        self, logs: dict[str, list[Tensor]], phase: _Phase, epoch: int
    ) -> dict[str, float]:
        table = torch.stack([torch.stack(values).float() for values in logs.values()])
        steps = torch.arange(table.shape[1], device=table.device)
        broken = torch.where(torch.isfinite(table[0]), table.shape[1], steps).min()
        step = int(min_over_ranks(broken))
        if step < table.shape[1]:
            raise FloatingPointError(
                f"epoch {epoch}, network {phase.network}, step {step + 1} of {table.shape[1]}: the "
                f"loss is not finite. The last good state is that of epoch {epoch - 1}. "
                "Lower optim.learning_rate, or set compute.bf16=false."
            )
        means = sum_over_ranks(table.mean(dim=1)) / world_size()
        return dict(zip(logs, means.tolist(), strict=True))

    # --- evaluate --------------------------------------------------------------------------------

    def _validate(self) -> dict[str, Any]:
        """Confusion matrix and loss of the mean prediction, summed over ranks before use."""
        confusion, loss = evaluate(self.judges, self.val, self.run, self.data.num_classes)
        figures: dict[str, Any] = {
            f"val/{key}": value
            for key, value in epoch_metrics(confusion, self.data.class_names).items()
        }
        return figures | {"val/loss": loss, "val/confusion": confusion.tolist()}


def evaluate(
    learners: list[Learner], images: Images, run: RunConfig, num_classes: int
) -> tuple[Int[Tensor, "class class"], float]:
    """Confusion matrix (CPU) and mean cross-entropy of the networks' mean prediction.

    Every rank takes its share; the counts are summed over ranks.
    """
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=images.device)
    total = torch.zeros((), dtype=torch.float64, device=images.device)
    for rows in images.shards(run.compute.eval_batch_size):
        prob = mean_prediction(learners, images.take(rows), flip_average=run.flip_average)
        label = images.label[rows].to(images.device)
        counts += confusion_matrix(label, prob.argmax(dim=1), num_classes)
        total += F.nll_loss(prob.clamp_min(1e-12).log(), label, reduction="sum").double()
    counts, total = sum_over_ranks(counts), sum_over_ranks(total)
    return counts.cpu(), float(total) / max(len(images), 1)


def _shuffled(
    rows: Int[Tensor, " row"], num: int, generator: torch.Generator
) -> Int[Tensor, " num"]:
    """`num` rows from as many fresh permutations as needed; none of none."""
    if len(rows) == 0:
        return rows
    laps = [
        rows[torch.randperm(len(rows), generator=generator)] for _ in range(-(-num // len(rows)))
    ]
    return torch.cat(laps)[:num]


class _Clock:
    """Seconds of the parts of an epoch."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.times: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Close a part; `time/epoch_s` is the sum so far."""
        now = time.perf_counter()
        self.times[f"time/{name}"] = now - self._last
        self.times["time/epoch_s"] = now - self._start
        self._last = now
