"""Whether what a pack's files hold can be a pack."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fer_ray.data.classes import CANONICAL
from fer_ray.data.faces import CANNOT_TELL, UNKNOWN_TRUTH, UNLABELED
from fer_ray.data.records import TEST, TRAIN

_TEXTS = ("path", "listed", "kind", "reason")


def check_manifest(manifest: Any) -> None:
    """Refuse a manifest that lacks something or holds something else.

    Raises:
        ValueError: Naming the key.
    """
    if not isinstance(manifest, dict):
        raise ValueError(f"pack.json: expected a mapping, got {type(manifest).__name__}")
    _require("name", manifest.get("name"), "text", isinstance(manifest.get("name"), str))
    made_of = manifest.get("made_of", "")
    _require("made_of", made_of, "text", isinstance(made_of, str))
    for key in ("class_names", "notes"):
        _require(key, manifest.get(key), "a list of text", _are_texts(manifest.get(key)))
    names = manifest["class_names"]
    ordered = [name for name in CANONICAL if name in names]
    _require(
        "class_names",
        names,
        f"some of {', '.join(CANONICAL)}, each once, in this order",
        bool(names) and names == ordered,
    )
    problems = manifest.get("problems")
    are_known = isinstance(problems, list) and all(
        isinstance(problem, dict)
        and problem.keys() == set(_TEXTS)
        and _are_texts(list(problem.values()))
        for problem in problems
    )
    _require("problems", problems, f"a list of {', '.join(_TEXTS)}", are_known)


def _require(key: str, value: Any, expected: str, holds: bool) -> None:
    if not holds:
        got = "nothing" if value is None else f"{value!r:.80}"
        raise ValueError(f"pack.json: {key}: expected {expected}, got {got}")


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def check_arrays(arrays: Mapping[str, np.ndarray], num_classes: int) -> None:
    """Refuse arrays of another type, shape or range than those of a pack; `images` are not read.

    Raises:
        ValueError: Naming the file and the row.
    """
    images = arrays["images"]
    is_whole = images.ndim == 4 and images.size > 0 and images.shape[1] in (1, 3)
    if images.dtype != np.uint8 or not is_whole:
        raise ValueError(
            "images.npy: expected uint8 [sample, channel, height, width] with 1 or 3 channels, got "
            f"{images.dtype} {list(images.shape)}"
        )
    num = len(images)
    last = num_classes - 1
    ranges = {
        "label": (UNLABELED, last),
        "true_label": (UNKNOWN_TRUTH, last),
        "subset": (TRAIN, TEST),
        "row": (0, np.inf),
        "group": (-1, np.inf),
        "near_train": (-1, 1),
        "original_size": (1, np.inf),
        "path": None,
        "verified": (CANNOT_TELL, last),
    }
    kinds = {"near_train": "f", "path": "U"}
    shapes = {"original_size": (num, 2), "verified": (num, 2)}
    for name, array in arrays.items():
        if name not in ranges:
            continue
        kind, shape = kinds.get(name, "i"), shapes.get(name, (num,))
        if array.dtype.kind != kind or array.shape != shape:
            words = {"i": "whole numbers", "f": "numbers", "U": "text"}[kind]
            raise ValueError(
                f"{name}.npy: expected {words} {list(shape)}, a row per image, got {array.dtype} "
                f"{list(array.shape)}"
            )
        limits = ranges[name]
        if limits is not None:
            _check_range(name, array, limits)


def _check_range(name: str, array: np.ndarray, limits: tuple[int | float, int | float]) -> None:
    low, high = limits
    rows, *_ = np.nonzero(~((array >= low) & (array <= high)))  # NaN is outside
    if rows.size:
        raise ValueError(
            f"{name}.npy[{rows[0]}]: expected {low} to {high}, got {array[rows[0]]} "
            f"({rows.size} such values)"
        )
