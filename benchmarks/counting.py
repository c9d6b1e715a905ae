"""Counts the images that pass through the networks after warm-up, by what they are used for."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.runs import read_run, train_case
from fer_ray.core.types import Labeled
from fer_ray.methods.dividemix import DivideMix
from fer_ray.training import loop
from fer_ray.training.evaluation import evaluate, score
from fer_ray.training.learner import Learner
from fer_ray.training.runtime import open_run_data

BACKWARD = 2
"""Cost of a backward pass, in forward passes."""
PARTS = ("scoring", "guessing", "gradient")


class Passes:
    """Forward-equivalents of training: a forward pass of a view counts 1, its backward pass 2."""

    def __init__(self) -> None:
        self.num = 0
        self.is_paused = False

    def take(self) -> int:
        """Return the number since the last call."""
        num, self.num = self.num, 0
        return num


@contextmanager
def count_passes() -> Iterator[Passes]:
    """Count all passes of a run for the length of a block, but those of validation."""
    passes = Passes()

    def counted(original: Callable[..., Any], *, is_learning: bool) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(learner: Learner, images: Tensor) -> Any:
            if not passes.is_paused:
                learns = is_learning and torch.is_grad_enabled()
                passes.num += len(images) * (1 + BACKWARD * learns)
            return original(learner, images)

        return call

    def uncounted(*args: Any, **options: Any) -> Any:
        passes.is_paused = True
        try:
            return evaluate(*args, **options)
        finally:
            passes.is_paused = False

    with (
        mock.patch.object(Learner, "__call__", counted(Learner.__call__, is_learning=True)),
        mock.patch.object(Learner, "logits", counted(Learner.logits, is_learning=False)),
        mock.patch.object(loop, "evaluate", uncounted),
    ):
        yield passes


class PassCounter:
    """Counts forward-equivalents and labelled images of all epochs after warm-up.

    The forward pass of a view counts 1, its backward pass 2 more. Passes count while the training
    set is scored and during steps after warm-up, but not during warm-up or validation.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._place = ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count in this process for the length of a block."""
        with ExitStack() as stack:

            def put(owner: Any, name: str, wrapped: Callable[..., Any]) -> None:
                stack.enter_context(mock.patch.object(owner, name, wrapped))

            put(Learner, "__call__", self._forward(Learner.__call__, is_learning=True))
            put(Learner, "logits", self._forward(Learner.logits, is_learning=False))
            put(loop, "score", self._within("scoring", "epochs", score, lambda *_: 1))
            step = DivideMix.step
            put(DivideMix, "step", self._within("guessing", "labeled", step, _num_labeled))
            yield

    def summary(self, num_images: int) -> dict[str, float]:
        """Return counts per training image and epoch, and the total `per_labeled` image drawn.

        Args:
            num_images: Number of images in the training set.
        """
        num = num_images * self.counts["epochs"]
        total = sum(self.counts[part] for part in PARTS)
        return {part: self.counts[part] / num for part in (*PARTS, "labeled")} | {
            "per_image": total / num,
            "per_labeled": total / self.counts["labeled"],
        }

    def _forward(self, original: Callable[..., Any], *, is_learning: bool) -> Callable[..., Any]:
        """Wrap a forward pass to count its images, including a backward pass if there is one."""

        @functools.wraps(original)
        def call(learner: Learner, images: Tensor) -> Any:
            learns = is_learning and torch.is_grad_enabled()
            if self._place:
                part = "gradient" if learns else self._place
                self.counts[part] += len(images) * (1 + BACKWARD * learns)
            return original(learner, images)

        return call

    def _within(
        self, place: str, key: str, original: Callable[..., Any], amount: Callable[..., int]
    ) -> Callable[..., Any]:
        """Wrap a function: passes inside count for `place`, and `amount(*args)` adds to `key`."""

        @functools.wraps(original)
        def call(*args: Any, **options: Any) -> Any:
            self._place = place
            self.counts[key] += amount(*args)
            try:
                return original(*args, **options)
            finally:
                self._place = ""

        return call


def _num_labeled(
    method: DivideMix, student: Learner, peer: Learner, batch: Labeled, *_: Any
) -> int:
    del method, student, peer
    return len(batch.index)


def train_counted(raw: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Run `runs.train_case` with DivideMix, and add `PassCounter.summary` as `passes`."""
    counter, num_images = PassCounter(), len(open_run_data(read_run(raw)).train)
    with counter.watching():
        outcome = train_case(raw, seed)
    return outcome | {"passes": counter.summary(num_images)}
