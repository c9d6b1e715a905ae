"""What an inspection has found, and how it is said in words and numbers."""

import math
from dataclasses import dataclass

import numpy as np

from fer_ray.data.packs.copies import MAX_COMPARED
from fer_ray.data.packs.pack import NEAR_COPY, Problem
from fer_ray.data.records import SUBSETS, TEST, TRAIN, VAL

NUM_LISTED = 20
"""How many problems, copies and leaks are listed; all are counted."""
MAX_PAIRS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An image and a training image that it is a copy of.

    Attributes:
        row: The held-out image, or the later one of two training images; its place in the pack.
        other: The training image.
        paths: Of both.
        subset: Of the first.
        correlation: Of the grey pixels, in [-1, 1].
        is_exact: Whether they are the same in every pixel.
        is_mirrored: Whether one is more like the mirror image of the other.
    """

    row: int
    other: int
    paths: tuple[str, str]
    subset: str
    correlation: float
    is_exact: bool
    is_mirrored: bool

    @property
    def correlation_text(self) -> str:
        """In a word, or with four digits."""
        if self.is_exact:
            return "equal"
        return f"{self.correlation:.4f}{' mirrored' if self.is_mirrored else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found; lists hold the first or worst `NUM_LISTED`, numbers count all.

    Attributes:
        name: Of the data set.
        class_names: Canonical names in canonical order.
        counts: int64 [class, subset]; images by given label.
        unlabelled: int64 [subset]; images without a label.
        confusion: int64 [subset, true class, given class]; images with known true and given class.
        size_range: int64 [3, 2]; smallest, median and largest height and width before scaling.
        sizes: The ten most frequent original sizes: height, width, number of images.
        num_problems: Images that cannot be used, by kind.
        problems: The first of every kind.
        num_groups: Groups of images that are the same in every pixel.
        num_surplus: Images that would go if one of every group stayed.
        num_disagreeing: Groups with more than one label.
        disagreeing: The images of these groups, by their places in the pack.
        num_leaks: int64 [subset]; held-out images that are copies of a training image.
        num_exact_leaks: int64 [subset]; those of them that are the same in every pixel.
        leaks: The worst of them.
        num_near: Pairs of training images that are nearly the same; `None`: not looked for.
        num_near_disagreeing: How many of these pairs have two labels.
        near: The nearest of them.
        notes: What the reader of the data set said.
    """

    name: str
    class_names: tuple[str, ...]
    counts: np.ndarray
    unlabelled: np.ndarray
    confusion: np.ndarray
    size_range: np.ndarray
    sizes: tuple[tuple[int, int, int], ...]
    num_problems: dict[str, int]
    problems: tuple[Problem, ...]
    num_groups: int
    num_surplus: int
    num_disagreeing: int
    disagreeing: tuple[tuple[int, ...], ...]
    num_leaks: np.ndarray
    num_exact_leaks: np.ndarray
    leaks: tuple[Pair, ...]
    num_near: int | None
    num_near_disagreeing: int
    near: tuple[Pair, ...]
    notes: tuple[str, ...]

    @property
    def num_images(self) -> int:
        """Images that can be used."""
        return int(self.counts.sum() + self.unlabelled.sum())

    @property
    def imbalance(self) -> float:
        """Largest over smallest training class; infinite if one is empty."""
        train = self.counts[:, TRAIN]
        return float(train.max() / train.min()) if train.min() else float("inf")

    @property
    def learnt(self) -> np.ndarray:
        """int64 [true class, given class]: `confusion` of training and validation images."""
        total: np.ndarray = self.confusion[TRAIN] + self.confusion[VAL]
        return total

    @property
    def wrong_share(self) -> np.ndarray:
        """float64 [class]: of training and validation images with this label, NaN if unknown."""
        given = self.learnt.sum(axis=0)
        share = np.full(len(given), np.nan)
        np.divide(given - np.diag(self.learnt), given, out=share, where=given > 0)
        return share

    @property
    def total_wrong_share(self) -> float:
        """Of training and validation images with known truth; NaN if there are none."""
        total = self.learnt.sum()
        return float(1 - np.trace(self.learnt) / total) if total else math.nan

    @property
    def warnings(self) -> list[str]:
        """What to look at before training, the gravest first."""
        found = [
            f"{counted(int(self.num_leaks[code]), f'{SUBSETS[code]} image')} "
            "copied from training images: results on such images are too good"
            for code in (TEST, VAL)
            if self.num_leaks[code]
        ]
        found += [f"{counted(num, 'image')} {kind}" for kind, num in self.num_problems.items()]
        for code, name in enumerate(SUBSETS):
            column = self.counts[:, code]
            empty = [self.class_names[i] for i in np.flatnonzero(column == 0)]
            if not column.any() and code != VAL:
                found.append(f"no {name} image has a label")
            elif column.any() and empty:
                found.append(f"no {name} image of {', '.join(empty)}")
        if self.num_disagreeing:
            found.append(
                f"{counted(self.num_disagreeing, 'group')} of equal images with different labels"
            )
        return found


def copy_facts(inspection: Inspection) -> list[tuple[str, str]]:
    """What is known of copies, in words and numbers."""
    found = [
        ("groups of equal images", f"{inspection.num_groups:,}"),
        ("surplus images in them", f"{inspection.num_surplus:,}"),
        ("groups with different labels", f"{inspection.num_disagreeing:,}"),
    ]
    for code in (VAL, TEST):
        num, exact = inspection.num_leaks[code], inspection.num_exact_leaks[code]
        what = f"{SUBSETS[code]} images that copy a training image"
        found.append((what, f"{num:,} ({exact:,} equal, {num - exact:,} above {NEAR_COPY})"))
    what = f"pairs of training images above {NEAR_COPY}"
    if inspection.num_near is None:
        return [*found, (what, f"not looked for among more than {MAX_COMPARED:,} images")]
    more = " or more" if inspection.num_near == MAX_PAIRS else ""
    text = f"{inspection.num_near:,}{more} ({inspection.num_near_disagreeing:,} with two labels)"
    return [*found, (what, text)]


def counted(num: int, word: str) -> str:
    """A number of things.

    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{num:,} {word}{'' if num == 1 else 's'}"


def share_text(share: float) -> str:
    """A share in per cent; a dash for NaN.

    >>> share_text(0.3154), share_text(float("nan"))
    ('31.5%', '-')
    """
    return f"{share:.1%}" if math.isfinite(share) else "-"
