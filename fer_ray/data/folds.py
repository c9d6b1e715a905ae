"""Folds and validation images: stratified by given label, copies of an image on one side."""

import hashlib
import secrets
import warnings
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int64

from fer_ray.data.faces import UNLABELED
from fer_ray.data.packs.cache import cache_root
from fer_ray.data.packs.copies import MAX_COMPARED, near_pairs
from fer_ray.data.packs.pack import Pack
from fer_ray.record.console import open_console, print_plain

_TOLERANCE = 0.05
_VERSION = 3
_MANY = 100_000
SAME_PHOTO = 0.92
"""Pixel correlation above which two training images are kept on one side: cut, lit or marked
otherwise, they show one photograph. Lower than what counts as a copy that is left out of a test,
for a pair too many costs nothing here."""


def grouped_folds(
    label: Int[np.ndarray, " sample"],
    group: Int[np.ndarray, " sample"],
    num_folds: int,
    seed: int,
) -> Int64[np.ndarray, " sample"]:
    """Divide rows into folds of about the same size and shares of labels.

    scikit-learn's `StratifiedGroupKFold`; imported here, because it takes a second that no process
    which trains should pay for.

    Args:
        label: Labels by which folds are stratified.
        group: Rows of the same non-negative number stay in one fold; negative numbers are rows on
            their own.
        num_folds: At least 2, at most the number of groups and of rows of the largest class.
        seed: Which division.

    Returns:
        The fold of every row, 0 to `num_folds` - 1.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed % 2**32)
    fold = np.empty(len(label), dtype=np.int64)
    with warnings.catch_warnings():
        # A class of fewer rows than folds: it is in as many folds as it can be.
        warnings.filterwarnings("ignore", message="The least populated class")
        for number, (_, rows) in enumerate(splitter.split(label, label, _units(group))):
            fold[rows] = number
    return fold


def carve_validation(
    label: Int[np.ndarray, " sample"],
    group: Int[np.ndarray, " sample"],
    fraction: float,
    seed: int,
) -> Bool[np.ndarray, " sample"]:
    """Choose validation rows among training rows: some of several folds.

    The share is the nearest m of k folds within 5 % of `fraction` (1 of 7 for 0.15). Every given
    label that has two groups or more has a validation row, and keeps a training row at least. Rows
    without a label stay in training, with their group.

    Args:
        label: Labels as given; `UNLABELED` where none was.
        group: See `grouped_folds`.
        fraction: Share of validation in (0, 1).
        seed: Which rows.

    Raises:
        ValueError: If `fraction` is outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise ValueError(f"val_fraction: expected a share between 0 and 1, got {fraction}")
    unit = _units(group)
    is_fixed = np.isin(unit, unit[label == UNLABELED])
    rows = np.flatnonzero(~is_fixed)
    is_val = np.zeros(len(label), dtype=bool)
    share = _share(fraction)
    largest_class = int(np.bincount(label[rows]).max(initial=0))
    num_folds = min(share.denominator, len(np.unique(unit[rows])), largest_class)
    if num_folds > 1:
        fold = grouped_folds(label[rows], unit[rows], num_folds, seed)
        is_val[rows] = fold < min(share.numerator, num_folds - 1)
    for value in np.unique(label[rows]):
        _mend(is_val, label == value, unit, is_fixed)
    return is_val


def _mend(is_val: np.ndarray, of_class: np.ndarray, unit: np.ndarray, is_fixed: np.ndarray) -> None:
    """Move the smallest group of a class that has rows on one side only, if it has two groups."""
    for to_val in (True, False):
        if (is_val[of_class] == to_val).any():
            continue
        units, size = np.unique(unit[of_class & ~is_fixed], return_counts=True)
        if len(np.unique(unit[of_class])) > 1 or not to_val:
            is_val[unit == units[size.argmin()]] = to_val


def _share(fraction: float) -> Fraction:
    """The fraction of the smallest denominator within 5 %."""
    for denominator in range(2, 1000):
        numerator = min(max(round(fraction * denominator), 1), denominator - 1)
        if abs(numerator / denominator - fraction) <= _TOLERANCE * min(fraction, 1 - fraction):
            return Fraction(numerator, denominator)
    return Fraction(1, 1000) if fraction < 0.5 else Fraction(999, 1000)


def _units(group: np.ndarray) -> Int64[np.ndarray, " sample"]:
    """Number what must stay together: 0, 1, ... for every group and every single row."""
    own = np.where(group >= 0, group, -1 - np.arange(len(group), dtype=np.int64))
    return np.unique(own, return_inverse=True)[1].astype(np.int64)


def carved(
    pack: Pack, train: Int[np.ndarray, " train"], fraction: float, seed: int
) -> tuple[Bool[np.ndarray, " train"], list[str]]:
    """Which of a pack's training rows validate; kept in the cache for the processes that train.

    Copies and near copies (pixel correlation above `SAME_PHOTO`) are groups; among more than 40,000
    images only copies are.

    Args:
        pack: A prepared data set.
        train: Its training rows.
        fraction: Share of validation in (0, 1).
        seed: Which rows.

    Returns:
        Whether each training row validates, and what the user must be told.
    """
    label, group = np.array(pack.label[train]), np.array(pack.group[train])
    is_large = len(train) > MAX_COMPARED
    made_of = (_VERSION, pack.made_of or pack.folder, fraction, seed, is_large)
    key = hashlib.sha256(" ".join(map(str, made_of)).encode())
    for column in (label, group, train):
        key.update(np.ascontiguousarray(column).data)
    path = cache_root() / "folds" / f"{key.hexdigest()[:32]}.npy"
    known = _known(path, len(train))
    if known is None:
        # Drawn faces have no copies, only likeness.
        if not is_large and pack.name.partition(":")[0] != "synthetic":
            group = _with_near_copies(pack, train, group)
        known = np.stack([carve_validation(label, group, fraction, seed), _units(group)])
        _keep(path, known)
    return known[0].astype(bool), list(_group_notes(known[1], is_large=is_large))


def _known(path: Path, num: int) -> Int64[np.ndarray, "2 train"] | None:
    """What the cache holds of a choice: who validates, and the groups."""
    with suppress(OSError, ValueError, EOFError):
        found: np.ndarray = np.load(path, allow_pickle=False)
        if found.dtype == np.int64 and found.shape == (2, num) and (found >= 0).all():
            return found
    return None


def _group_notes(unit: Int[np.ndarray, " train"], *, is_large: bool) -> Iterator[str]:
    """How many groups are kept on one side, and what was not looked for."""
    size = np.bincount(unit)
    several = size[size > 1]
    if len(several):
        kind = "copies" if is_large else f"copies (pixel correlation above {SAME_PHOTO})"
        yield (
            f"{several.sum():,} of {len(unit):,} training images are {kind} of one another, in "
            f"{len(several):,} groups of up to {several.max()}; a group is on one side of "
            "validation"
        )
    if is_large:
        yield (
            f"near copies among {len(unit):,} training images were not looked for, because there "
            f"are more than {MAX_COMPARED:,}"
        )


def _with_near_copies(pack: Pack, train: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Groups of copies joined by pairs of near copies."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(train) > _MANY:
        print_plain(
            open_console(stderr=True),
            f"looking once for near copies among {len(train):,} training images; it takes minutes",
        )
    pairs, _ = near_pairs(pack.images, SAME_PHOTO, rows=train, max_pairs=10**7)
    unit, near = _units(group), np.searchsorted(train, pairs)
    edges = np.concatenate([np.stack([unit[near[:, 0]], unit[near[:, 1]]]), [unit, unit]], axis=1)
    num = int(unit.max()) + 1
    graph = coo_array((np.ones(edges.shape[1]), tuple(edges)), shape=(num, num))
    joined: np.ndarray = connected_components(graph, directed=False)[1][unit].astype(np.int64)
    return joined


def _keep(path: Path, known: np.ndarray) -> None:
    """Write the choice as a whole; without a cache every process carves by itself."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.npy")
        np.save(part, known, allow_pickle=False)
        part.rename(path)
