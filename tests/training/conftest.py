"""A fixture that records what the loop passes to methods."""

from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

from fer_ray.core.types import (
    Labeled,
    Network,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
)
from fer_ray.methods import METHODS


@dataclass(frozen=True)
class StepCall:
    """The arguments of one step, and the state of the method's generator before it."""

    student: Network
    peer: Network | None
    labeled: Labeled
    unlabeled: Unlabeled | None
    context: StepContext
    random_state: Tensor

    @property
    def epoch(self) -> int:
        return int(self.context.epoch) + 1


@dataclass(frozen=True)
class MethodCalls:
    """The arguments of all calls of methods, by function."""

    warmups: list[StepCall]
    steps: list[StepCall]
    splits: list[tuple[Scores, SplitResult | None, int]]


@pytest.fixture
def method_calls(monkeypatch: pytest.MonkeyPatch) -> MethodCalls:
    """Records every call of every method's functions."""
    calls = MethodCalls([], [], [])
    for kind in {base for method in METHODS.values() for base in method.__mro__}:
        for name in ("warmup_step", "split", "step"):
            if name in vars(kind):
                monkeypatch.setattr(kind, name, _recording(vars(kind)[name], name, calls))
    return calls


def _recording(original: Any, name: str, calls: MethodCalls) -> Any:
    def warmup_step(
        self: Any, student: Network, labeled: Labeled, context: StepContext
    ) -> StepOutput:
        state = context.generator.get_state()
        calls.warmups.append(StepCall(student, None, labeled, None, context, state))
        output: StepOutput = original(self, student, labeled, context)
        return output

    def split(self: Any, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        calls.splits.append((scores, previous, epoch))
        result: SplitResult = original(self, scores, previous, epoch)
        return result

    def step(
        self: Any,
        student: Network,
        peer: Network | None,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        context: StepContext,
    ) -> StepOutput:
        state = context.generator.get_state()
        calls.steps.append(StepCall(student, peer, labeled, unlabeled, context, state))
        output: StepOutput = original(self, student, peer, labeled, unlabeled, context)
        return output

    return {"warmup_step": warmup_step, "split": split, "step": step}[name]
