"""Per-class thresholds on the clean probability, by class name. Pure."""

import difflib
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

DEFAULT = "default"
DEFAULT_THRESHOLD = 0.5


def check_thresholds(thresholds: Mapping[str, float]) -> None:
    """Check ranges; class names can only be checked once the data set is known.

    Raises:
        ValueError: If a threshold lies outside [0, 1].
    """
    for name, value in thresholds.items():
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"thresholds.{name}: a clean probability in [0, 1], got {value}")


def check_class_names(named: Sequence[str], class_names: Sequence[str], place: str) -> None:
    """Refuse names that are no class of the data set.

    Raises:
        ValueError: Naming the place, the unknown class, the nearest one and all known ones.
    """
    for name in named:
        if name not in class_names:
            near = difflib.get_close_matches(name, class_names, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ValueError(
                f"{place}.{name}: no such class{hint} The classes are {', '.join(class_names)}."
            )


def threshold_by_class(
    thresholds: Mapping[str, float], class_names: Sequence[str]
) -> Float[Tensor, " class"]:
    """Thresholds in label order; `default` (0.5 unless given) covers what is not named.

    Raises:
        ValueError: If a name is no class.

    >>> threshold_by_class({"default": 0.5, "fear": 0.75}, ["fear", "anger"])
    tensor([0.7500, 0.5000])
    """
    named = [name for name in thresholds if name != DEFAULT]
    check_class_names(named, class_names, "thresholds")
    rest = thresholds.get(DEFAULT, DEFAULT_THRESHOLD)
    return torch.tensor([thresholds.get(name, rest) for name in class_names])
