"""Is `auto` of `compute.bf16` and `compute.channels_last` the fastest choice on this device?"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.report import Goal, Row, Timing, interleaved, paired_ratio
from fer_ray.config import ComputeConfig, RunConfig
from fer_ray.training.learner import Learner, resolve_compute
from fer_ray.training.models import build_network

Option = tuple[bool, bool]
"""(bf16, channels_last)."""

_NUM_CLASSES, _SIZE = 7, 48
_PLAIN: Option = (False, False)
_OPTIONS: tuple[Option, ...] = (_PLAIN, (False, True), (True, False), (True, True))


def measure_compute(
    models: dict[str, tuple[int, int]], device: torch.device, repeats: int
) -> tuple[list[Row], list[Goal]]:
    """Time training steps and predictions with the four options, and compare `auto` with the best.

    Args:
        models: Name -> (images per batch, batches per round).
        device: Where to compute.
        repeats: Number of rounds.
    """
    rows: list[Row] = []
    goals: list[Goal] = []
    auto = resolve_compute(ComputeConfig(), device)
    for model, (batch_size, num_batches) in models.items():
        images = torch.randn(batch_size, 1, _SIZE, _SIZE, device=device)
        learners = {option: _learner(model, option, device) for option in _OPTIONS}
        timings = {
            "train": _time(_train, learners, images, num_batches, repeats),
            "predict": _time(_predict, learners, images, num_batches, repeats),
        }
        for option in _OPTIONS:
            row: Row = {
                "case": f"{model}/{_SIZE}px/batch {batch_size}",
                "bf16": option[0],
                "channels_last": option[1],
                "auto": option == auto,
            }
            for kind, by_option in timings.items():
                row[f"{kind}_images_per_s"] = batch_size * num_batches / by_option[option].median
                plain = by_option[_PLAIN].seconds
                row[f"{kind}_ratio_to_plain"] = paired_ratio(plain, by_option[option].seconds)
            rows.append(row)
        goals += [_goal(f"{model}, {kind}", times, auto) for kind, times in timings.items()]
    return rows, goals


def _goal(name: str, by_option: dict[Option, Timing[None]], auto: Option) -> Goal:
    """Compare `auto` with the fastest of the four options."""
    fastest = min(by_option, key=lambda option: by_option[option].median)
    return Goal(
        name=f"speed of auto over the fastest option, {name}",
        goal=">= 0.95",
        value=paired_ratio(by_option[fastest].seconds, by_option[auto].seconds),
        why=f"fastest: bf16={fastest[0]}, channels_last={fastest[1]}",
    )


def _learner(model: str, option: Option, device: torch.device) -> Learner:
    network = build_network(
        RunConfig.from_dict({"model": {"name": model}}).model,
        num_classes=_NUM_CLASSES,
        num_channels=1,
        image_size=_SIZE,
        seed=0,
    )
    return Learner(network.to(device), bf16=option[0], channels_last=option[1])


def _time(
    make: Callable[[Learner, torch.Tensor], Callable[[], object]],
    learners: dict[Option, Learner],
    images: torch.Tensor,
    num_batches: int,
    repeats: int,
) -> dict[Option, Timing[None]]:
    def case(learner: Learner) -> Callable[[], Callable[[], None]]:
        once = make(learner, images)

        def timed() -> None:
            for _ in range(num_batches):
                once()

        return lambda: timed

    cases = {str(option): case(learner) for option, learner in learners.items()}
    return dict(zip(learners, interleaved(cases, repeats).values(), strict=True))


def _train(learner: Learner, images: torch.Tensor) -> Callable[[], object]:
    label = torch.zeros(len(images), dtype=torch.long, device=images.device)
    optimizer = torch.optim.SGD(
        learner.module.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=5e-4
    )

    def once() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(learner(images).logits, label).backward()
        optimizer.step()

    return once


def _predict(learner: Learner, images: torch.Tensor) -> Callable[[], object]:
    return lambda: learner.logits(images)
