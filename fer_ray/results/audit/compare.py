"""Compares what two people say of the same faces: how far they agree, and on what they do not."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fer_ray.data import DataError
from fer_ray.data.classes import canonical_name
from fer_ray.data.packs.stage import local_copy
from fer_ray.data.readers.tables import csv_rows
from fer_ray.data.verified_file import sample_of
from fer_ray.results.audit.apply import CANNOT_TELL_WORDS, REVIEW, kappa
from fer_ray.results.audit.files import write_csv

UNSETTLED = "?"
"""Label of an image on which the two do not agree; `data.verified` refuses it until then."""
_NAMES = ("index", "path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One image that both have looked at.

    Attributes:
        names: `index` and `path`, as far as the first file has them.
        first: What the first one says: a canonical class, or "cannot tell".
        second: What the second one says.
        is_random: Whether both files say that the image was drawn by lot.
    """

    names: dict[str, str]
    first: str
    second: str
    is_random: bool

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.first == self.second


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two files of labels side by side.

    Attributes:
        pairs: Images in both, in the order of the first file.
        only_first: How many images only the first file has.
        only_second: How many only the second one has.
    """

    pairs: list[Pair]
    only_first: int
    only_second: int

    @property
    def agreement(self) -> float:
        """Share of the images of which both say the same, in [0, 1]."""
        return sum(pair.agrees for pair in self.pairs) / len(self.pairs)

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond that of chance, at most 1."""
        return kappa([(pair.first, pair.second) for pair in self.pairs])

    @property
    def by_class(self) -> dict[str, tuple[int, int, int]]:
        """How often the first one, the second one and both say a class; the most frequent first."""
        first, second, both = (
            Counter(pair.first for pair in self.pairs),
            Counter(pair.second for pair in self.pairs),
            Counter(pair.first for pair in self.pairs if pair.agrees),
        )
        order = [name for name, _ in (first + second).most_common()]
        return {name: (first[name], second[name], both[name]) for name in order}

    @property
    def disagreements(self) -> list[tuple[str, str, int]]:
        """What the first one says, what the second one says, and how often; the most first."""
        pairs = Counter((pair.first, pair.second) for pair in self.pairs if not pair.agrees)
        return [(*names, num) for names, num in pairs.most_common()]


def compare(first: str, second: str) -> Comparison:
    """Compare two files of verified labels, such as two people's answers to one review page.

    Images are the same if they have the same `index`, or `path` where a file has no `index`.

    Args:
        first: A csv file as `data.verified` reads it, or a URI of one.
        second: Another one.

    Raises:
        DataError: If a file cannot be read, a line is not as it should be, the files are of
            different data sets, or no image is in both.
    """
    files = [list(csv_rows(local_copy(place), ("label", "sample"))) for place in (first, second)]
    paths = [local_copy(place) for place in (first, second)]
    key = _shared_key(paths, files)
    _check_reviews(paths, files)
    one, two = (_by_image(path, rows, key) for path, rows in zip(paths, files, strict=True))
    pairs = [
        Pair(
            names={name: row[name] for name in _NAMES if name in row},
            first=said,
            second=two[image][1],
            is_random=is_random and two[image][2],
        )
        for image, (row, said, is_random) in one.items()
        if image in two
    ]
    if not pairs:
        raise DataError.at(
            str(paths[1]),
            expected=f"images that {paths[0]} has too, by {key}",
            got=f"none of its {len(one)}",
            remedy="Compare two files of one review page.",
        )
    num = len(pairs)
    return Comparison(pairs=pairs, only_first=len(one) - num, only_second=len(two) - num)


def write_comparison(found: Comparison, out: Path) -> None:
    """Write all images that both have looked at, those that a third look is worth first.

    These have `UNSETTLED` for a label. Once they have a class (or nothing, where it cannot be
    told), the file is one that `data.verified` reads.
    """
    order = sorted(found.pairs, key=lambda pair: pair.agrees)
    rows = [
        {
            **pair.names,
            "label": _written(pair.first) if pair.agrees else UNSETTLED,
            "sample": "random" if pair.is_random else "picked",
            "first": pair.first,
            "second": pair.second,
        }
        for pair in order
    ]
    write_csv(out, rows)


Row = tuple[int, dict[str, str]]


def _shared_key(paths: list[Path], files: list[list[Row]]) -> str:
    """The column by which images of both files are the same."""
    for path, rows in zip(paths, files, strict=True):
        if not rows:
            raise DataError.at(
                str(path), expected="a line per image", got="none", remedy="Is it the right file?"
            )
    for key in _NAMES:
        if all(key in rows[0][1] for rows in files):
            return key
    raise DataError.at(
        f"{paths[1]}:1",
        expected=f"a column index or path, as {paths[0]} has it",
        got=", ".join(files[1][0][1]),
        remedy="Compare two files of one review page.",
    )


def _check_reviews(paths: list[Path], files: list[list[Row]]) -> None:
    """Refuse reviews of different data sets, whose rows have the same numbers."""
    known: dict[str, str] = {}
    for path, rows in zip(paths, files, strict=True):
        for line, row in rows:
            review = row.get(REVIEW, "").partition("-")[0]
            if review and known.setdefault("review", review) != review:
                raise DataError.at(
                    f"{path}:{line}: {REVIEW}",
                    expected=f"a review of the data set {known['review']}",
                    got=f"one of {review}",
                    remedy="Compare two files of one review page.",
                )


def _by_image(path: Path, rows: list[Row], key: str) -> dict[str, tuple[dict[str, str], str, bool]]:
    """Line, answer and kind of sample of every image."""
    found: dict[str, tuple[dict[str, str], str, bool]] = {}
    for line, row in rows:
        place = f"{path}:{line}"
        image = str(int(row[key])) if key == "index" and row[key].isdecimal() else row[key]
        if not image or image in found:
            raise DataError.at(
                place,
                expected=f"the {key} of an image, and every image once",
                got=f"{image} again" if image else "none",
                remedy="Repair the line or take it out.",
            )
        try:
            said = canonical_name(row["label"]) if row["label"] else CANNOT_TELL_WORDS
        except DataError as error:
            raise DataError(f"{place}: label: {error}") from None
        found[image] = (row, said, sample_of(place, row["sample"]))
    return found


def _written(said: str) -> str:
    return "" if said == CANNOT_TELL_WORDS else said
