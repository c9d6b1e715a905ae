"""Cross-entropy on the labels as given: the baseline that believes everything."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fer_ray.methods.base import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy(Method):
    """One network, a warm-up that never ends: 3 forward-equivalents per image and epoch."""

    paper: ClassVar[str] = "baseline: trains on every label as given"

    name: Literal["cross_entropy"] = "cross_entropy"

    def is_warmup(self, epoch: int) -> bool:
        """Every epoch trains on everything."""
        del epoch
        return True
