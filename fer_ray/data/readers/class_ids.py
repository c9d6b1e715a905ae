"""Classes that a data set has as numbers: `ids=raf-db`, or `ids=0:neutral;1:happiness`."""

from collections.abc import Collection, Mapping

from fer_ray.data.classes import AFFECTNET, FER2013, RAF_DB, canonical_name
from fer_ray.data.faces import DataError
from fer_ray.data.records import Source

KNOWN: Mapping[str, Mapping[int, str]] = {
    "raf-db": RAF_DB,
    "affectnet": AFFECTNET,
    "fer2013": FER2013,
}
"""Numberings that have a name; ExpW's is FER2013's."""
KEY = "ids"


def read_ids(source: Source) -> Mapping[int, str] | None:
    """What the numbers of a data set mean, as its user says: canonical names by number.

    Raises:
        DataError: If it is neither a known name nor pairs of a number and an expression.

    >>> from pathlib import Path
    >>> read_ids(Source(scheme="folder", path=Path(), options={"ids": "3:happy;5:sad"}))
    {3: 'happiness', 5: 'sadness'}
    """
    text = source.options.get(KEY)
    if text is None or text in KNOWN:
        return None if text is None else KNOWN[text]
    ids: dict[int, str] = {}
    for word in text.split(";"):
        number, colon, name = (part.strip() for part in word.partition(":"))
        if not colon or not is_id(number) or int(number) in ids:
            raise DataError.at(
                f"{source.scheme}: {KEY}={text}",
                expected=f"one of {', '.join(KNOWN)}, or what every number means, once",
                got=repr(word),
                remedy=f"Example: {source.scheme}:PATH,{KEY}=0:neutral;1:happiness;2:sadness "
                "(in quotes on a command line).",
            )
        ids[int(number)] = canonical_name(name)
    return ids


def is_id(text: str) -> bool:
    """Whether a word is a whole number without a sign, such as `3` or `03`."""
    return text.isascii() and text.isdigit() and len(text) < 10


def which_ids(spec: str, found: Collection[int]) -> str:
    """The option that says what numbers mean, filled in for those that were found.

    >>> which_ids("folder:/faces", [1, 7])
    'Add folder:/faces,ids=raf-db (1 surprise, 7 neutral), or folder:/faces,ids="1:...;7:..."'
    """
    numbers = sorted(set(found))
    fitting = [
        f"{spec},{KEY}={name} ({', '.join(f'{i} {ids[i]}' for i in numbers)})"
        for name, ids in KNOWN.items()
        if set(numbers) <= ids.keys() and (numbers[0] > 0) == (min(ids) > 0)
    ]
    own = f'{spec},{KEY}="{";".join(f"{i}:..." for i in numbers[:11])}"'
    return f"Add {', or '.join([' or '.join(fitting)] * bool(fitting) + [own])}"
