"""What there is to know of a data set before it is trained on: counts, wrong labels, copies."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Column, Table
from rich.text import Text

from fer_ray.console import abbreviate
from fer_ray.data.copies import exact_groups, is_mirrored, near_pairs, near_train, nearest
from fer_ray.data.faces import UNKNOWN, FaceData
from fer_ray.data.pack import NEAR_COPY, Pack, Problem
from fer_ray.data.records import SPLITS, TRAIN

NUM_LISTED = 20
"""How many problems, copies and leaks are listed; all are counted."""
MAX_COMPARED = 40_000
"""Training images among which near copies are looked for: the time grows with the square."""
MAX_PAIRS = 10_000
_NUM_SIZES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A data set to inspect, with the fields of a `Pack`; index i of every array is image i."""

    name: str
    class_names: tuple[str, ...]
    images: np.ndarray
    label: np.ndarray
    true_label: np.ndarray
    split: np.ndarray
    path: np.ndarray
    group: np.ndarray
    near_train: np.ndarray
    original_size: np.ndarray
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_pack(cls, pack: Pack) -> "Subject":
        """A prepared data set; the images stay on disk."""
        return cls(**{name: getattr(pack, name) for name in cls.__slots__})

    @classmethod
    def from_faces(cls, data: FaceData) -> "Subject":
        """A data set of arrays; `path` is the row in its source. Looks for copies."""
        subsets = (data.train, data.val, data.test)
        images = np.concatenate([faces.images[:] for faces in subsets])
        split = np.repeat(np.arange(3), [len(faces) for faces in subsets])
        return cls(
            name=data.name,
            class_names=data.class_names,
            images=images,
            label=np.concatenate([faces.label for faces in subsets]),
            true_label=np.concatenate([faces.true_label for faces in subsets]),
            split=split,
            path=np.concatenate([faces.row for faces in subsets]).astype(np.str_),
            group=exact_groups(images),
            near_train=near_train(images, split),
            original_size=np.tile(np.array(data.image_size), (len(images), 1)),
            notes=data.notes,
        )

    def name_of(self, label: int) -> str:
        """Name of a class, or a dash where there is no label."""
        return "-" if label == UNKNOWN else self.class_names[label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An image and another one that it is a copy of, by their places in the subject.

    Attributes:
        row: The held-out image, or the later one of two training images.
        other: The training image.
        correlation: Of the grey pixels, in [-1, 1].
        is_exact: Whether they are the same in every pixel.
        is_mirrored: Whether one is like the mirror image of the other.
    """

    row: int
    other: int
    correlation: float
    is_exact: bool = False
    is_mirrored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found.

    Attributes:
        name: Of the data set.
        class_names: Canonical names in canonical order.
        counts: int64 [class, split]; images by given label.
        unlabelled: int64 [split]; images without a label.
        imbalance: Largest over smallest training class; infinite if a class is empty.
        confusion: int64 [split, true class, given class]; images whose truth and label are known.
        size_range: int64 [3, 2]; smallest, median and largest height and width before scaling.
        sizes: The most frequent original (height, width, number of images), at most ten.
        problems: Images that cannot be used, the first few of every kind.
        num_problems: How many there are of every kind.
        num_groups: Groups of images that are the same in every pixel.
        num_surplus: Images that would go if one of every group stayed.
        disagreeing: Images of every group whose labels differ.
        num_leaks: int64 [split]; held-out images that are exact or near copies of training images.
        num_exact_leaks: int64 [split]; the exact ones of them.
        leaks: The worst of them.
        num_near: Pairs of training images that are nearly the same; `None`: not looked for.
        num_near_disagreeing: How many of these pairs have two labels.
        near: The nearest of them.
        warnings: What should be looked at before training, the gravest first.
        notes: What the reader of the data set said.
    """

    name: str
    class_names: tuple[str, ...]
    counts: np.ndarray
    unlabelled: np.ndarray
    imbalance: float
    confusion: np.ndarray
    size_range: np.ndarray
    sizes: tuple[tuple[int, int, int], ...]
    problems: tuple[Problem, ...]
    num_problems: dict[str, int]
    num_groups: int
    num_surplus: int
    disagreeing: tuple[tuple[int, ...], ...]
    num_leaks: np.ndarray
    num_exact_leaks: np.ndarray
    leaks: tuple[Pair, ...]
    num_near: int | None
    num_near_disagreeing: int
    near: tuple[Pair, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def inspect(subject: Subject) -> Inspection:
    """Count, compare and warn; time grows with the square of the training images up to a limit."""
    counts = _by_split(subject, subject.label)
    num_train = counts[:, TRAIN]
    known = (subject.label != UNKNOWN) & (subject.true_label != UNKNOWN)
    classes = len(subject.class_names)
    confusion = np.zeros((len(SPLITS), classes, classes), dtype=np.int64)
    np.add.at(
        confusion, tuple(column[known] for column in (subject.split, subject.true_label, subject.label)), 1
    )
