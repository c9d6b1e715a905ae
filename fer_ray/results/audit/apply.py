"""What a person has said of a data set's labels: checked, summed up, and written as corrections."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_ray.data import DataError
from fer_ray.data.correction.correct import Corrected, correct
from fer_ray.data.faces import CANNOT_TELL, UNLABELED
from fer_ray.data.packs.pack import Pack
from fer_ray.data.packs.stage import local_copy
from fer_ray.data.readers.tables import csv_rows
from fer_ray.data.verified_file import read_verified
from fer_ray.results.audit.draw import data_id

_REPEAT, REVIEW = "repeat_label", "review"
CANNOT_TELL_WORDS = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Corrected labels.

    Attributes:
        written: Where.
        seen: Images that were looked at.
        unclear: Those of them whose class could not be told.
        pairs: How often a given label became another one: given, new, number; the most first.
        repeats: Faces that were shown twice, and how many of them got the same answer twice.
        kappa: Cohen's kappa of these; NaN without any.
    """

    written: Corrected
    seen: int
    unclear: int
    pairs: list[tuple[str, str, int]]
    repeats: tuple[int, int]
    kappa: float


def apply_labels(spec: str, pack: Pack, place: str, out: Path | None) -> Applied:
    """Write a data set's labels anew with those of a file; see `correct`.

    Args:
        spec: The data set.
        pack: The same, prepared.
        place: File of verified labels, such as the review page gives.
        out: What to write.

    Raises:
        DataError: If the file is none of this data set, nothing would change, or something is at
            `out`.
    """
    path = local_copy(place)
    answers = _answers(path, pack)
    verified = read_verified(path, pack)
    written = correct(spec, pack, verified, out)
    names = dict(enumerate(pack.class_names)) | {UNLABELED: "no label"}
    changes = Counter(
        (names[int(verified.given[i])], names[int(verified.label[i])]) for i in written.changed
    )
    return Applied(
        written=written,
        seen=int(verified.is_seen.sum()),
        unclear=int((verified.label == CANNOT_TELL).sum()),
        pairs=[(*pair, num) for pair, num in changes.most_common()],
        repeats=(len(answers), sum(first == second for first, second in answers)),
        kappa=kappa(answers),
    )


def _answers(path: Path, pack: Pack) -> list[tuple[str, str]]:
    """First and second answer for every face that was shown twice.

    Raises:
        DataError: If the file is of a review of another data set; with the line.
    """
    answers = []
    for line, row in csv_rows(path, ("label",)):
        review = row.get(REVIEW, "")
        if review and review.partition("-")[0] != data_id(pack):
            raise DataError.at(
                f"{path}:{line}: {REVIEW}",
                expected=f"a review of {pack.name} as it is now ({data_id(pack)}-...)",
                got=repr(review),
                remedy="The file is of another data set, or labels have changed since. Name the "
                "data set that was reviewed.",
            )
        if row.get(_REPEAT):
            answers.append((row["label"] or CANNOT_TELL_WORDS, row[_REPEAT]))
    return answers


def kappa(answers: list[tuple[str, str]]) -> float:
    """Cohen's kappa of pairs of answers: agreement beyond that of chance (Cohen 1960).

    >>> kappa([("fear", "fear"), ("anger", "anger")])
    1.0
    """
    if not answers:
        return float("nan")
    first, second = (np.array(side) for side in zip(*answers, strict=True))
    agreement = float((first == second).mean())
    chance = sum(
        float((first == name).mean() * (second == name).mean()) for name in {*first, *second}
    )
    return (agreement - chance) / (1 - chance) if chance < 1 else 1.0
