"""What there is to know of a data set before it is trained on: counts, wrong labels, copies."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_ray.data.faces import UNKNOWN_TRUTH, UNLABELED
from fer_ray.data.packs.copies import MAX_COMPARED, is_mirrored, near_pairs, nearest
from fer_ray.data.packs.pack import NEAR_COPY, Pack, Problem
from fer_ray.data.records import SUBSETS, TEST, TRAIN, VAL

NUM_LISTED = 20
"""How many problems, copies and leaks are listed; all are counted."""
MAX_PAIRS = 10_000
_NUM_SIZES = 10


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


def inspect(pack: Pack) -> Inspection:
    """Count, look for copies, and list what is worst.

    Near copies among training images are left out where there are more than `MAX_COMPARED` of them.
    """
    shape = (len(pack.class_names), len(SUBSETS))
    label, truth, subset = (
        np.array(column) for column in (pack.label, pack.true_label, pack.subset)
    )
    given = label != UNLABELED
    known = given & (truth != UNKNOWN_TRUTH)
    group_size = np.bincount(pack.group[pack.group >= 0])
    size = np.array(pack.original_size)
    listed = Counter[str]()
    problems = []
    for problem in pack.problems:
        listed[problem.kind] += 1
        if listed[problem.kind] <= NUM_LISTED:
            problems.append(problem)
    return Inspection(
        name=pack.name,
        class_names=pack.class_names,
        counts=_counted(shape, label[given], subset[given]),
        unlabelled=_counted(shape[1:], subset[~given]),
        confusion=_counted(
            (shape[1], shape[0], shape[0]), subset[known], truth[known], label[known]
        ),
        size_range=np.sort(size, axis=0)[[0, len(size) // 2, -1]],
        sizes=_frequent(size),
        num_problems=dict(sorted(listed.items())),
        problems=tuple(sorted(problems, key=lambda problem: problem.kind)),
        num_groups=len(group_size),
        num_surplus=int(group_size.sum() - len(group_size)),
        **_disagreeing(pack),
        **_leaks(pack),
        **_near(pack),
        notes=pack.notes,
    )


def _counted(shape: tuple[int, ...], *columns: np.ndarray) -> np.ndarray:
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, columns, 1)
    return counts


def _frequent(size: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """Height, width and number of the most frequent sizes, the larger one first among equals."""
    sizes, counts = np.unique(size, axis=0, return_counts=True)
    order = np.lexsort((-sizes[:, 1], -sizes[:, 0], -counts))[:_NUM_SIZES]
    return tuple((int(sizes[i, 0]), int(sizes[i, 1]), int(counts[i])) for i in order)


def _disagreeing(pack: Pack) -> dict[str, Any]:
    """Groups of equal images with more than one label."""
    rows = np.flatnonzero((pack.group >= 0) & (pack.label != UNLABELED))
    group, label = pack.group[rows], pack.label[rows]
    lowest = np.full(int(group.max(initial=-1)) + 1, len(pack.class_names))
    highest = np.full(len(lowest), UNLABELED)
    np.minimum.at(lowest, group, label)
    np.maximum.at(highest, group, label)
    found = np.flatnonzero(lowest < highest)
    first = found[:NUM_LISTED]
    return {
        "num_disagreeing": len(found),
        "disagreeing": tuple(tuple(np.flatnonzero(pack.group == i).tolist()) for i in first),
    }


def _leaks(pack: Pack) -> dict[str, Any]:
    """Held-out images that are copies of training images, exact ones first, then the nearest."""
    train = np.flatnonzero(pack.subset == TRAIN)
    is_held_out = pack.subset != TRAIN
    grouped = train[pack.group[train] >= 0]
    groups, first = np.unique(pack.group[grouped], return_index=True)
    is_exact = is_held_out & np.isin(pack.group, groups)
    is_leak = is_exact | (is_held_out & (pack.near_train > NEAR_COPY))
    rows = np.flatnonzero(is_leak)
    rows = rows[np.lexsort((rows, -pack.near_train[rows], ~is_exact[rows]))][:NUM_LISTED]
    others = np.empty(len(rows), dtype=np.int64)
    equal = is_exact[rows]
    others[equal] = grouped[first[np.searchsorted(groups, pack.group[rows[equal]])]]
    if not equal.all():
        others[~equal] = nearest(pack.images, rows[~equal], train)[1]
    return {
        "num_leaks": _counted((len(SUBSETS),), pack.subset[is_leak]),
        "num_exact_leaks": _counted((len(SUBSETS),), pack.subset[is_exact]),
        "leaks": _pairs(pack, rows, others, pack.near_train[rows], equal),
    }


def _near(pack: Pack) -> dict[str, Any]:
    """Training images that are nearly the same; of equal ones only the first is compared."""
    train = np.flatnonzero(pack.subset == TRAIN)
    group = pack.group[train]
    own = np.where(group >= 0, group, -1 - np.arange(len(train)))
    train = train[np.sort(np.unique(own, return_index=True)[1])]
    if len(train) > MAX_COMPARED:
        return {"num_near": None, "num_near_disagreeing": 0, "near": ()}
    found, value = near_pairs(pack.images, NEAR_COPY, rows=train, max_pairs=MAX_PAIRS)
    label = pack.label[found]
    differ = (label[:, 0] != label[:, 1]) & (label != UNLABELED).all(axis=1)
    other, row = found[:NUM_LISTED].T
    exact = np.zeros(len(row), dtype=bool)
    return {
        "num_near": len(found),
        "num_near_disagreeing": int(differ.sum()),
        "near": _pairs(pack, row, other, value[:NUM_LISTED], exact),
    }


def _pairs(
    pack: Pack, rows: np.ndarray, others: np.ndarray, value: np.ndarray, exact: np.ndarray
) -> tuple[Pair, ...]:
    mirrored = is_mirrored(pack.images, rows, others)
    return tuple(
        Pair(
            row=int(row),
            other=int(other),
            paths=(str(pack.path[row]), str(pack.path[other])),
            subset=SUBSETS[pack.subset[row]],
            correlation=float(value[i]),
            is_exact=bool(exact[i]),
            is_mirrored=bool(mirrored[i]),
        )
        for i, (row, other) in enumerate(zip(rows, others, strict=True))
    )


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


def printable(text: str) -> str:
    r"""Text from a file or its name, without what would confuse a terminal or a page.

    >>> printable("a\x1b[2Jb.jpg")
    'a�[2Jb.jpg'
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
