"""What there is to know of a data set before it is trained on: counts, wrong labels, copies."""

from collections import Counter
from typing import Any

import numpy as np

from fer_ray.data.faces import UNKNOWN_TRUTH, UNLABELED
from fer_ray.data.inspection.inspection import MAX_PAIRS, NUM_LISTED, Inspection, Pair
from fer_ray.data.packs.copies import MAX_COMPARED, is_mirrored, near_pairs, nearest
from fer_ray.data.packs.pack import NEAR_COPY, Pack
from fer_ray.data.records import SUBSETS, TRAIN

_NUM_SIZES = 10


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
