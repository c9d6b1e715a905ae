"""The default data set: drawn faces, long-tailed, with noisy labels whose truth is known."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from fer_ray.core.label_noise import (
    FER2013_TRANSITION,
    corrupt_labels,
    long_tailed_counts,
    symmetric_transition,
)
from fer_ray.data.faces import DataError
from fer_ray.data.synthetic import drawing, scene

CLASS_NAMES = drawing.EXPRESSIONS
VERSION = 2
"""Another drawing is another entry of the cache."""
_BATCH = 64  # images drawn at once: the planes stay in the processor's cache
_FREQUENT_FIRST = ("happiness", "neutral", "sadness", "surprise", "anger", "fear", "disgust")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSpec:
    """What `synthetic:key=value,...` may ask for.

    Attributes:
        train: Images to train and validate on.
        test: Images to test on, as many of every class, with true labels.
        size: Height and width in pixels.
        imbalance: Training images of the most frequent over the rarest true class.
        noise: Given labels of training images: `fer2013` (its measured confusions), `none`, or
            the share of wrong labels, spread evenly.
        verified: Training images, drawn at random, whose true label is told as a verified one.
        seed: Another seed draws other faces.
    """

    train: int = 4000
    test: int = 1400
    size: int = 48
    imbalance: float = 10.0
    noise: str = "fer2013"
    verified: int = 0
    seed: int = 0

    def transition(self) -> Float64[np.ndarray, "7 7"]:
        """P(given | true) of the training labels."""
        if self.noise == "fer2013":
            return FER2013_TRANSITION
        rate = 0.0 if self.noise == "none" else float(self.noise)
        return symmetric_transition(len(CLASS_NAMES), rate)


def parse_spec(text: str) -> SyntheticSpec:
    """Read `key=value,...`.

    Raises:
        DataError: If a key is unknown, given twice or its value is not usable.

    >>> parse_spec("train=700,noise=0.2").noise
    '0.2'
    """
    fields = {field.name: field for field in dataclasses.fields(SyntheticSpec)}
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key not in fields or not equals or key in found:
            raise DataError.at(
                f"synthetic: {part!r}",
                expected=f"key=value, each key once, of {', '.join(fields)}",
                got="the key twice" if key in found else repr(part),
                remedy="Example: synthetic:train=4000,noise=0.3.",
            )
        found[key] = value
    checked: dict[str, Any] = {key: _CHECKS[key](key, value) for key, value in found.items()}
    spec = SyntheticSpec(**checked)
    if spec.verified > spec.train:
        raise DataError.at(
            "synthetic: verified",
            expected=f"at most as many as there are training images, {spec.train}",
            got=str(spec.verified),
            remedy="Raise train, or lower verified.",
        )
    return spec


def _number(lowest: int, highest: int, whole: bool) -> Callable[[str, str], int | float]:
    """A reader of numbers in a closed range."""

    def read(key: str, text: str) -> int | float:
        kind = int if whole else float
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not lowest <= value <= highest:
            raise DataError.at(
                f"synthetic: {key}",
                expected=f"{'a whole' if whole else 'a'} number from {lowest:g} to {highest:g}",
                got=repr(text),
                remedy=f"Example: synthetic:{key}={getattr(SyntheticSpec(), key)}.",
            )
        return value

    return read


def _noise(key: str, text: str) -> str:
    """`fer2013`, `none` or a share, kept as text.

    Raises:
        DataError: If it is none of them.
    """
    if text not in ("fer2013", "none") and not re.fullmatch(r"0?\.\d+|[01](\.0*)?", text):
        raise DataError.at(
            f"synthetic: {key}",
            expected="fer2013, none, or the share of wrong labels in [0, 1]",
            got=repr(text),
            remedy="Example: synthetic:noise=0.3.",
        )
    return text


_CHECKS: dict[str, Callable[[str, str], int | float | str]] = {
    "train": _number(70, 10_000_000, whole=True),
    "test": _number(7, 10_000_000, whole=True),
    "size": _number(16, 512, whole=True),
    "imbalance": _number(1, 1000, whole=False),
    "noise": _noise,
    "verified": _number(0, 10_000_000, whole=True),
    "seed": _number(0, 2**63 - 1, whole=True),
}


def make_arrays(spec: SyntheticSpec) -> dict[str, np.ndarray]:
    """Draw both subsets; the same spec gives the same bytes.

    Returns:
        `{train,test}_{images,label,true_label,is_verified}`; images uint8 [sample, 1, size, size].
    """
    arrays: dict[str, np.ndarray] = {}
    counts = dict(
        zip(_FREQUENT_FIRST, long_tailed_counts(spec.train, 7, spec.imbalance), strict=True)
    )
    per_class = {
        "train": np.array([counts[name] for name in CLASS_NAMES]),
        "test": long_tailed_counts(spec.test, 7, 1.0),
    }
    for stream, part in enumerate(("train", "test")):
        rng = np.random.default_rng(np.random.SeedSequence((spec.seed, stream)))
        true_label = rng.permutation(np.repeat(np.arange(7), per_class[part]))
        given = corrupt_labels(true_label, spec.transition(), rng)
        arrays[f"{part}_images"] = draw_faces(true_label, spec.size, rng)[0][:, None]
        arrays[f"{part}_label"] = given if part == "train" else true_label
        arrays[f"{part}_true_label"] = true_label
        num = spec.verified if part == "train" else 0
        arrays[f"{part}_is_verified"] = rng.permutation(len(given)) < num
    return arrays


def draw_faces(
    label: Int64[np.ndarray, " image"], size: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "image size size"], Float32[np.ndarray, " image"]]:
    """Draw one face per label, grey.

    Returns:
        The images, and how strongly each shows its expression (1 is fully).
    """
    intensity = rng.uniform(0.3, 1.15, len(label)).astype(np.float32)
    images = np.empty((len(label), size, size), dtype=np.uint8)
    for start in range(0, len(label), _BATCH):
        part = slice(start, start + _BATCH)
        face = drawing.expression_params(label[part], intensity[part], rng)
        face |= scene.person_params(len(face["brow_raise"]), rng)
        images[part] = scene.draw(face, size, rng)
    return images, intensity
