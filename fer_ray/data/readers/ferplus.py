"""FER+'s ten votes an image (Barsoum et al. 2016, arXiv:1608.01041), and rules that make labels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from fer_ray.data.classes import CANONICAL, FER2013, FERPLUS_VOTES
from fer_ray.data.faces import UNKNOWN_TRUTH, DataError
from fer_ray.data.readers.tables import csv_rows, whole_number
from fer_ray.data.records import TEST, TRAIN, VAL

CLASS_NAMES: tuple[str, ...] = tuple(name for name in CANONICAL if name in FER2013.values())
"""What label i means: FER2013's seven expressions in canonical order."""

_LABEL = np.array(
    [CLASS_NAMES.index(name) if name in CLASS_NAMES else UNKNOWN_TRUTH for name in FERPLUS_VOTES],
    dtype=np.int64,
)
_COLUMN = [FERPLUS_VOTES.index(name) for name in CLASS_NAMES]
_COUNTS = dict.fromkeys(range(11), "")
_SUMS = (9, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """What `fer2013new.csv` holds; entry i of every field is row i, the header not counted.

    Attributes:
        path: The file.
        line: Line of every row, from 1.
        usage: `Training`, `PublicTest` or `PrivateTest`, as it stands.
        votes: uint8 [sample, 10]; columns as in `FERPLUS_VOTES`, every row sums to 10 (or 9).
    """

    path: Path
    line: tuple[int, ...]
    usage: tuple[str, ...]
    votes: np.ndarray


def read_votes(path: Path) -> Votes:
    """Read `fer2013new.csv`. Image names are ignored, because they are not rows of `fer2013.csv`.

    Raises:
        DataError: If the file is another one, a vote is no whole number from 0 to 10, or a row
            does not sum to 10 (or 9, as one of the original does); with the line.
    """
    lines, usage, votes = [], [], []
    for line, row in csv_rows(path, ("Usage", *FERPLUS_VOTES)):
        lines.append(line)
        usage.append(row["Usage"])
        votes.append(count_votes(f"{path}:{line}", [row[name] for name in FERPLUS_VOTES]))
    return Votes(
        path=path,
        line=tuple(lines),
        usage=tuple(usage),
        votes=np.array(votes, dtype=np.uint8).reshape(-1, len(FERPLUS_VOTES)),
    )


def count_votes(place: str, texts: Sequence[str]) -> list[int]:
    """The ten votes of a row, in the order of `FERPLUS_VOTES`.

    Raises:
        DataError: If one is no whole number from 0 to 10, or they do not sum to 10 (or 9).
    """
    counts = [
        whole_number(place, name, text, _COUNTS)
        for name, text in zip(FERPLUS_VOTES, texts, strict=True)
    ]
    if sum(counts) not in _SUMS:
        raise DataError.at(
            place,
            expected="ten votes",
            got=f"{sum(counts)}",
            remedy="Take the original file of FER+.",
        )
    return counts


def check_joined(votes: Votes, table: Path, usage: Sequence[str], line: Sequence[int]) -> None:
    """Refuse votes that are not, row by row, those of a `fer2013.csv`.

    Args:
        votes: The votes.
        table: The `fer2013.csv`.
        usage: Its column of that name.
        line: Line of each of its rows.

    Raises:
        DataError: If the number of rows or a row's usage differs; with the line.
    """
    remedy = "Votes are joined by row: take both original files, whole and in their order."
    for i, (own, other) in enumerate(zip(votes.usage, usage, strict=False)):
        if own != other:
            raise DataError.at(
                f"{votes.path}:{votes.line[i]}: Usage",
                expected=f"{other!r}, as in {table}:{line[i]}",
                got=repr(own),
                remedy=f"The files have {len(votes.usage)} and {len(usage)} rows. {remedy}",
            )
    if len(votes.usage) != len(usage):
        raise DataError.at(
            f"{votes.path}:{votes.line[-1] if votes.line else 1}",
            expected=f"{len(usage)} rows, as {table} has (its last in line {line[-1]})",
            got=f"{len(votes.usage)} up to this line",
            remedy=remedy,
        )


def majority(votes: UInt8[np.ndarray, "sample 10"]) -> Int64[np.ndarray, " sample"]:
    """FER+'s own rule: single votes do not count, and the winner needs over half of the others.

    Returns:
        Index into `CLASS_NAMES`; `UNKNOWN_TRUTH` where nobody wins, or where contempt, unknown or
        "no face" does.

    >>> majority(np.array([[4, 3, 1, 1, 1, 0, 0, 0, 0, 0]], dtype=np.uint8))
    array([0])
    """
    counted = np.where(votes > 1, votes, 0).astype(np.int64)
    has_winner = 2 * counted.max(axis=1) > counted.sum(axis=1)
    return np.where(has_winner, _LABEL[counted.argmax(axis=1)], UNKNOWN_TRUTH)


def plurality(votes: UInt8[np.ndarray, "sample 10"]) -> Int64[np.ndarray, " sample"]:
    """The one that most voted for, of all ten.

    Returns:
        Index into `CLASS_NAMES`; `UNKNOWN_TRUTH` for a tie, contempt, unknown or "no face".

    >>> plurality(np.array([[4, 3, 1, 1, 1, 0, 0, 0, 0, 0]], dtype=np.uint8))
    array([0])
    """
    return np.where(_is_unique(votes), _LABEL[votes.argmax(axis=1)], UNKNOWN_TRUTH)


def soft_truth(votes: UInt8[np.ndarray, "sample 10"]) -> Float32[np.ndarray, "sample 7"]:
    """Shares of the votes for the seven expressions, in the order of `CLASS_NAMES`.

    Returns:
        Rows that sum to 1; zeros if there is no vote for any of the seven.
    """
    counted = votes[:, _COLUMN].astype(np.float32)
    share: np.ndarray = counted / counted.sum(axis=1, keepdims=True).clip(min=1)
    return share


def most_likely(votes: UInt8[np.ndarray, "sample 10"]) -> Int64[np.ndarray, " sample"]:
    """The expression with the largest share of `soft_truth`, whatever else was voted for.

    Returns:
        Index into `CLASS_NAMES`; `UNKNOWN_TRUTH` for a tie, or where nobody voted for any of the
        seven.
    """
    share = soft_truth(votes)
    return np.where(_is_unique(share), share.argmax(axis=1), UNKNOWN_TRUTH)


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "majority": majority,
    "plurality": plurality,
    "soft": most_likely,
}
"""What `truth=` chooses from; the first is FER+'s own."""


def truth_notes(
    label: Int64[np.ndarray, " sample"],
    truth: Int64[np.ndarray, " sample"],
    subset: Int64[np.ndarray, " sample"],
    rule: str,
) -> Iterator[str]:
    """What a user must be told: how noisy the training labels are, what is not tested on.

    Args:
        label: FER2013's labels.
        truth: FER+'s, `UNKNOWN_TRUTH` where there is none.
        subset: `TRAIN`, `VAL`, `TEST`, or another number: neither.
        rule: One of `RULES`.
    """
    is_train, is_test, is_known = subset == TRAIN, subset == TEST, truth != UNKNOWN_TRUTH
    known = is_train & is_known
    wrong = (label != truth)[known].mean() if known.any() else 0.0
    yield (
        f"train{' and val carry' if (subset == VAL).any() else ' carries'} FER2013's labels; FER+ "
        f"({rule}) has one for {known.sum()} of the {is_train.sum()} training images, and it is "
        f"another for {wrong:.1%} of them"
    )
    yield (
        f"test carries FER+'s labels ({rule}); {(is_test & ~is_known).sum()} of "
        f"{is_test.sum()} images have none and were left out"
    )


def _is_unique(count: np.ndarray) -> np.ndarray:
    """Whether one value of a row is above all others."""
    is_unique: np.ndarray = (count == count.max(axis=1, keepdims=True)).sum(axis=1) == 1
    return is_unique
