"""The one place that says which expressions there are, in what order, under which names."""

import difflib

from fer_ray.data.faces import DataError

CANONICAL: tuple[str, ...] = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)
"""Canonical names in canonical order: label i of a seven-class data set is `CANONICAL[i]`."""

_ALIASES: dict[str, tuple[str, ...]] = {
    "neutral": ("neutrality", "ne", "normal"),
    "happiness": ("happy", "joy", "ha"),
    "sadness": ("sad", "sa"),
    "surprise": ("surprised", "su"),
    "fear": ("fearful", "afraid", "scared", "fe"),
    "disgust": ("disgusted", "di"),
    "anger": ("angry", "mad", "an"),
    "contempt": ("contemptuous", "co"),
}

_BY_NAME: dict[str, str] = {
    name: canonical for canonical in CANONICAL for name in (canonical, *_ALIASES[canonical])
}


def canonical_name(name: str) -> str:
    """The canonical name of an expression, whatever its data set calls it.

    Case, surrounding blanks and a leading number with a separator ("3_happy") do not matter.

    Raises:
        DataError: If no expression is known under this name; lists the known ones.

    >>> canonical_name("Angry"), canonical_name("3_happy")
    ('anger', 'happiness')
    """
    plain = name.strip().lower()
    plain = plain.lstrip("0123456789").lstrip(" _-.") or plain
    if plain in _BY_NAME:
        return _BY_NAME[plain]
    near = difflib.get_close_matches(plain, _BY_NAME, n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]!r} ({_BY_NAME[near[0]]})? " if near else ""
    raise DataError.at(
        "class name",
        expected=f"one of {', '.join(CANONICAL)} (or happy, sad, angry and the like)",
        got=repr(name),
        remedy=f"{hint}Rename the class, or leave its images out.",
    )


def canonical_order(names: tuple[str, ...]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Canonical class names in canonical order, and the label each native label becomes.

    Args:
        names: Native class names; `names[i]` is what native label i means.

    Returns:
        The canonical names that occur, and the map native label -> canonical label.

    Raises:
        DataError: If a name is unknown or two names mean the same expression.

    >>> canonical_order(("angry", "happy"))
    (('happiness', 'anger'), {0: 1, 1: 0})
    """
    canonical = [canonical_name(name) for name in names]
    for i, name in enumerate(canonical):
        if name in canonical[:i]:
            raise DataError.at(
                f"class_names[{i}]",
                expected="every expression once",
                got=f"{names[i]!r} and {names[canonical.index(name)]!r}, which both mean {name}",
                remedy="Merge the two classes under one label.",
            )
    ordered = tuple(name for name in CANONICAL if name in canonical)
    return ordered, {i: ordered.index(name) for i, name in enumerate(canonical)}


# What every release calls its classes; the only place that says so.
RAF_DB: dict[int, str] = {
    1: "surprise",
    2: "fear",
    3: "disgust",
    4: "happiness",
    5: "sadness",
    6: "anger",
    7: "neutral",
}
AFFECTNET: dict[int, str] = {
    0: "neutral",
    1: "happiness",
    2: "sadness",
    3: "surprise",
    4: "fear",
    5: "disgust",
    6: "anger",
    7: "contempt",
}
"""8 (none), 9 (uncertain) and 10 (no face) are no expressions."""
FER2013: dict[int, str] = {
    0: "anger",
    1: "disgust",
    2: "fear",
    3: "happiness",
    4: "sadness",
    5: "surprise",
    6: "neutral",
}
"""Also ExpW's."""
FERPLUS_VOTES: tuple[str, ...] = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
"""Columns of `fer2013new.csv` that hold votes, in the file's order."""
