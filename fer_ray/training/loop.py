"""The training loop: score, split, train, evaluate. Every runtime uses this one generator.

It knows ranks, but neither Ray nor W&B. All ranks run it in step.
"""

import functools
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.metrics import SHARE_BINS, selection_metrics, share_counts
from fer_ray.core.mixture import normalize
from fer_ray.core.types import Scores, SplitResult
from fer_ray.data import FaceData, noise_of
from fer_ray.training.checkpoint import Best, TrainState, copy_weights
from fer_ray.training.distributed import Teams, broadcast, world_size
from fer_ray.training.evaluation import drawn_scores, evaluate, score
from fer_ray.training.handover import from_rank, from_rank_zero
from fer_ray.training.learner import Images, Learners
from fer_ray.training.operating_point import read_priors, validation_figures
from fer_ray.training.phase import Phase, plan_phase
from fer_ray.training.state import begin_generation

# Parts of the laps below: reading images and making views; exchanging gradients and statistics, as
# far as it does not overlap with the backward pass; gathering losses, splitting, sending the split.
_PARTS = ("input_s", "communication_s", "division_s")


def fit(
    run: RunConfig, data: FaceData, device: torch.device, state: TrainState
) -> Iterator[dict[str, Any]]:
    """Train from `state` to the last epoch and yield a row of metrics per epoch.

    Whenever a row is yielded, `state` is up to date and can be saved. Apart from `time/*`, a row is
    the same on every rank.

    Yields:
        Metrics by key: `epoch`, `train/*`, `split/*` (after warm-up), `val/*`, `time/*`. All are
        numbers but the lists `val/confusion` and `val/mean_prediction` and the dicts
        `split/histogram` (of losses), `split/clean_prob` (a histogram too) and `split/mixture`.

    Raises:
        EmptySplitError: If a split leaves too few labelled images to train on; on every rank.
        FloatingPointError: If a loss is not finite; on every rank. Names epoch, network and step.
        MixtureError: If no mixture can be fitted to the losses; on every rank.
    """
    loop = _Loop(run, data, device, state)
    while state.epoch < run.optim.epochs:
        row = loop.epoch(state.epoch + 1)
        state.epoch += 1
        _keep_best(run, state, row)
        state.history.append(row)
        yield row


def _keep_best(run: RunConfig, state: TrainState, row: dict[str, Any]) -> None:
    """Copy the networks of the epoch that `select` asks for: the best so far, or the newest."""
    value, sign = row[run.metric], 1 if run.mode == "max" else -1
    is_better = math.isfinite(value) and (
        state.best is None or sign * value > sign * state.best.value
    )
    if is_better or run.select == "last":
        state.best = Best(epoch=state.epoch, value=value, weights=copy_weights(state.evaluated))


class _Loop:
    """The parts of an epoch, and the data and networks that they share."""

    def __init__(
        self, run: RunConfig, data: FaceData, device: torch.device, state: TrainState
    ) -> None:
        self.run, self.data, self.device, self.state = run, data, device, state
        self.train, self.val = Images(data.train, device), Images(data.val, device)
        self.noise, self.is_verified = noise_of(data), None
        if data.verified is not None and run.data.use_verified:
            self.is_verified = torch.from_numpy(data.verified.is_told)
        self.priors = read_priors(run, data, self.noise)
        num_teams = run.num_teams(world_size())
        self.teams = Teams(num_teams) if num_teams > 1 else None
        self.learners = self._new_learners()

    def _new_learners(self) -> Learners:
        state = self.state
        compute = self.run.compute
        return Learners(state.networks, state.averages, compute, self.device, self.teams)

    def epoch(self, epoch: int) -> dict[str, Any]:
        """Run one epoch and return its row: after warm-up score and split; train; validate."""
        row: dict[str, Any] = {"epoch": epoch}
        clock = _Clock()
        method = self.run.method
        if method.is_warmup(epoch, self.run.optim.epochs) or not method.divides:
            split = None
        else:
            split, figures = self._divide(epoch)
            row |= figures
            self.state.split = split
            clock.lap("split_s")
        logs, num_images = self._train(split, epoch)
        row |= logs
        clock.lap("train_s")
        row |= self._validate()
        clock.lap("val_s")
        row |= clock.times
        for key in _PARTS:
            row[f"time/{key}"] = 0.0
        for images in (self.train, self.val):
            for key, seconds in images.stopwatch.read().items():
                row[f"time/{key}"] += seconds
        speed = num_images / clock.times["time/epoch_s"]
        return row | {"time/images_per_s": speed, "time/num_workers": world_size()}

    def _divide(self, epoch: int) -> tuple[SplitResult, dict[str, Any]]:
        """Score every image with every network, split on rank zero, send the split to all ranks."""
        scored = self._score()

        def divide() -> tuple[SplitResult, dict[str, Any]]:
            assert scored is not None
            scores, prediction = scored
            scores = replace(scores, noise=self.noise, is_verified=self.is_verified)
            split = self.run.method.split(scores, self.state.split, epoch)
            # For the audit of labels; no method reads these.
            is_soft = self.run.method.trains_on_all
            kept = _kept_so_far(split, self.state.split, scores.label, is_soft=is_soft)
            memory = {**split.memory, "prediction": prediction, **kept}
            split = replace(split, memory=memory)
            return split, self._split_figures(split, scores)

        with self.train.stopwatch.part("division_s"):
            split, figures = from_rank_zero(divide)
        if split.reset_networks:
            state, run, device = self.state, self.run, self.device
            begin_generation(state, run, self.data, device, epoch)
            self.learners = self._new_learners()
        return split, figures

    def _score(self) -> tuple[Scores, Int[Tensor, " sample"]] | None:
        """Return what the networks say of every training image; `None` except on rank zero."""
        if self.run.method.scores_drawn:
            return drawn_scores(self.state.memory, self.train.label, self.data.class_names)
        return score(
            self.learners.evaluated,
            self.train,
            self.data.class_names,
            self.run.compute.eval_batch_size,
            with_prob=self.run.method.reads_prob,
        )

    def _split_figures(self, split: SplitResult, scores: Scores) -> dict[str, Any]:
        """Return the figures of a split: quality, histogram of the losses, and fitted mixture."""
        quality = selection_metrics(
            split.is_labeled,
            split.label,
            split.clean_prob,
            self.train.label,
            self.train.true_label,
            self.data.class_names,
        )
        figures: dict[str, Any] = {f"split/{key}": value for key, value in quality.items()}
        if "rescued" in split.memory:
            rescued = split.memory["rescued"].float().mean(dim=0).tolist()
            named = zip(self.data.class_names, rescued, strict=True)
            figures |= {f"split/rescued/{name}": num for name, num in named if num > 0}
        if "noise_error" in split.memory:
            figures["split/noise_error"] = float(split.memory["noise_error"])
        # Where a mixture was fitted: of the losses, and in the scale, that it was fitted to.
        losses = split.memory.get("mixture_counts")
        if losses is None:
            rows = scores.loss[:, scores.is_labeled]
            losses = share_counts(torch.stack([normalize(row) for row in rows]))
        edges = [round(number / SHARE_BINS, 4) for number in range(SHARE_BINS + 1)]
        shares = share_counts(split.clean_prob)
        figures["split/histogram"] = {"edges": edges, "counts": losses.tolist()}
        figures["split/clean_prob"] = {"edges": edges, "counts": shares.tolist()}
        keys = ("mean", "std", "weight")
        if all(f"mixture_{key}" in split.memory for key in keys):
            figures["split/mixture"] = {
                key: split.memory[f"mixture_{key}"].tolist() for key in keys
            }
        return figures

    def _train(self, split: SplitResult | None, epoch: int) -> tuple[dict[str, float], int]:
        """Train all networks; return the mean of their logs and the number of images drawn."""
        if self.teams is None:
            networks = range(len(self.state.networks))
            trained = [self._train_network(number, split, epoch) for number in networks]
        else:
            trained = self._train_apart(self.teams, split, epoch)
        logs: dict[str, list[float]] = defaultdict(list)
        for log, _ in trained:
            for key, value in log.items():
                logs[f"train/{key}"].append(value)
        means = {key: sum(values) / len(values) for key, values in logs.items()}
        return means, sum(num_images for _, num_images in trained)

    def _train_network(
        self, network: int, split: SplitResult | None, epoch: int
    ) -> tuple[dict[str, float], int]:
        """Train one network; return its logs and the number of images drawn."""
        plan = plan_phase(self.run, self.train, network, split, epoch)
        names = self.data.class_names
        phase = Phase(self.run, names, self.train, self.state, self.learners, plan)
        return phase.train(), plan.num_images

    def _train_apart(
        self, teams: Teams, split: SplitResult | None, epoch: int
    ) -> list[tuple[dict[str, float], int]]:
        """Train one network on every team, then send all networks to all ranks."""
        outcome: tuple[dict[str, float], int] | Exception
        try:
            with teams.apart():
                outcome = self._train_network(teams.own, split, epoch)
        except Exception as error:  # raised below, on every rank
            outcome = error

        def result() -> tuple[dict[str, float], int]:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        with self.train.stopwatch.part("communication_s"):
            trained = [from_rank(head, result) for head in teams.heads]
            result()
            for network, head in enumerate(teams.heads):
                broadcast(self.state.trained_tensors(network), head)
                own_steps = functools.partial(self.state.num_steps.__getitem__, network)
                self.state.num_steps[network] = from_rank(head, own_steps)
        return trained

    def _validate(self) -> dict[str, Any]:
        """Return the figures of the mean prediction on validation data; see its function."""
        num_classes = self.data.num_classes
        prob = evaluate(self.learners.evaluated, self.val, self.run, num_classes)

        def figures() -> dict[str, Any]:
            assert prob is not None
            names = self.data.class_names
            return validation_figures(prob, self.val.label, names, self.priors, self.noise)

        return from_rank_zero(figures)


def _kept_so_far(
    split: SplitResult,
    previous: SplitResult | None,
    label: Int[Tensor, " sample"],
    *,
    is_soft: bool,
) -> dict[str, Tensor]:
    """In how many splits so far every network has kept an image's label, and how many there were.

    An image that got another label has not kept its own. A method that drops no image (`is_soft`)
    also keeps the labels that it holds to be right with more than one half.
    """
    kept = split.is_labeled & (split.label == label)
    if is_soft:
        kept |= split.clean_prob > 0.5
    counts = {"kept_splits": kept.short(), "num_splits": torch.tensor(1)}
    if previous is None or "num_splits" not in previous.memory:
        return counts
    return {key: previous.memory[key] + count for key, count in counts.items()}


class _Clock:
    """Measures the seconds of an epoch's parts."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.times: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End a part; `time/epoch_s` is the sum of all parts so far."""
        now = time.perf_counter()
        self.times[f"time/{name}"] = now - self._last
        self.times["time/epoch_s"] = now - self._start
        self._last = now
