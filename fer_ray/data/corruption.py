"""Noisy or long-tailed variants of a data set, with the truth kept for evaluation."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from fer_ray.core.label_noise import (
    FER2013_TRANSITION,
    corrupt_labels,
    long_tailed_rows,
    pair_transition,
    symmetric_transition,
)
from fer_ray.data.classes import canonical_name
from fer_ray.data.faces import UNKNOWN_TRUTH, DataError
from fer_ray.data.images import take_images
from fer_ray.data.packs.pack import VERIFIED, Pack
from fer_ray.data.packs.store import SOURCE_COLUMNS, write_pack
from fer_ray.data.readers.tables import csv_rows, table_lines
from fer_ray.data.records import TEST, TRAIN

NOISES = "symmetric:RATE, asymmetric:RATE, asymmetric:fear>surprise=0.3,..., fer2013, matrix:FILE"
"""What `--noise` takes beside `list:FILE`."""

# Whom every expression is taken for most often, in FER2013's measured confusions.
_TAKEN_FOR: Mapping[str, str] = {
    "neutral": "sadness",
    "happiness": "neutral",
    "sadness": "fear",
    "surprise": "fear",
    "fear": "surprise",
    "disgust": "anger",
    "anger": "fear",
    "contempt": "neutral",
}

Relabel = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""True labels of some images (by row number of the pack) -> labels given."""


def corrupt(pack: Pack, noise: str | None, imbalance: float | None, seed: int, out: Path) -> Pack:
    """Write a variant of a data set as a pack of its own.

    First training images are left out until the classes fall off by `imbalance`, then the labels of
    training and validation images are corrupted; test images stay as they are. The truth is the
    data set's own where it is known, else the label as given. The same arguments give the same
    bytes.

    Args:
        pack: The data set.
        noise: See `NOISES`; `None` leaves labels as they are.
        imbalance: Training images of the largest over the smallest class; `None` keeps all.
        seed: Of both draws.
        out: Folder to write, which must not exist.

    Raises:
        DataError: If `noise` is not understood or its file does not fit, `imbalance` is below 1 or
            `out` exists.
    """
    if out.exists():
        raise DataError.at(
            str(out),
            expected="no such folder",
            got="something there",
            remedy="Choose another --out, or remove it.",
        )
    truth = np.where(pack.true_label == UNKNOWN_TRUTH, pack.label, pack.true_label)
    rng_rows, rng_labels = (
        np.random.default_rng(np.random.SeedSequence((seed, stream))) for stream in range(2)
    )
    rows = np.arange(len(pack))
    if imbalance is not None:
        rows = _long_tail(pack, truth, imbalance, rng_rows)
    label, true_label = np.array(pack.label), np.array(pack.true_label)
    if noise is not None:
        changed = rows[(pack.subset[rows] != TEST) & (truth[rows] != UNKNOWN_TRUTH)]
        label[changed] = _given(pack, noise, truth, changed, rng_labels)
        true_label = truth
    what = {"noise": _plain(noise), "imbalance": imbalance, "seed": seed}
    words = ", ".join(f"{key} {value}" for key, value in what.items() if value is not None)
    kept = SOURCE_COLUMNS if pack.verified is None else (*SOURCE_COLUMNS, VERIFIED)
    columns = {key: np.array(getattr(pack, key)[rows]) for key in kept}
    return write_pack(
        out,
        images=take_images(pack.images, rows),
        columns=columns | {"label": label[rows], "true_label": true_label[rows]},
        name=pack.name,
        class_names=pack.class_names,
        notes=[*pack.notes, f"corrupted: {words}"],
        more={"corrupted": what},
    )


def _given(
    pack: Pack, noise: str, truth: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    kind, _, rest = noise.partition(":")
    if kind == "list":
        listed = read_list(Path(rest).expanduser(), pack)
        return np.array([listed.get(int(i), int(truth[i])) for i in rows], dtype=np.int64)
    try:
        return corrupt_labels(truth[rows], read_transition(noise, pack.class_names), rng)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"--noise {noise}: {error}") from None


def read_transition(noise: str, class_names: Sequence[str]) -> np.ndarray:
    """P(given | true) of the noise that a word describes.

    Raises:
        DataError: If the word is not understood, or its classes are not those of the data set.
        ValueError: If a rate is out of range or a row is no distribution.
    """
    kind, _, rest = noise.partition(":")
    if kind == "fer2013" and not rest and tuple(class_names) == tuple(_TAKEN_FOR)[:7]:
        return FER2013_TRANSITION
    if kind == "symmetric" and _is_number(rest):
        return symmetric_transition(len(class_names), float(rest))
    if kind == "asymmetric":
        return pair_transition(len(class_names), _flips(noise, rest, class_names))
    if kind == "matrix" and rest:
        return _read_matrix(Path(rest).expanduser(), class_names)
    raise DataError.at(
        f"--noise {noise}",
        expected=f"{NOISES} or list:FILE",
        got="noise of seven classes" if kind == "fer2013" else repr(noise),
        remedy="Example: symmetric:0.3.",
    )


def _flips(noise: str, rest: str, class_names: Sequence[str]) -> dict[tuple[int, int], float]:
    """Rates by (true, given): of the pairs named, or of every class and whom it is taken for."""
    if _is_number(rest):
        pairs = [(name, _TAKEN_FOR[name], rest) for name in class_names]
        pairs = [pair for pair in pairs if pair[1] in class_names]
    else:
        found = [re.fullmatch(r"\s*(\w+)>(\w+)=([\d.]+)\s*", word) for word in rest.split(",")]
        pairs = [(m[1], m[2], m[3]) for m in found if m is not None and _is_number(m[3])]
        if len(pairs) != len(found):
            raise DataError.at(
                f"--noise {noise}",
                expected="asymmetric:RATE, or true>given=RATE with commas between",
                got=repr(rest),
                remedy="Example: asymmetric:fear>surprise=0.3,sadness>neutral=0.2.",
            )
    number = {name: i for i, name in enumerate(class_names)}
    flips = {}
    for true, given, rate in pairs:
        for name in (true, given):
            if canonical_name(name) not in number:
                raise DataError.at(
                    f"--noise {noise}",
                    expected=f"classes of the data set: {', '.join(class_names)}",
                    got=name,
                    remedy="Take the pair out.",
                )
        flips[number[canonical_name(true)], number[canonical_name(given)]] = float(rate)
    return flips


def _read_matrix(path: Path, class_names: Sequence[str]) -> np.ndarray:
    """A csv table: a row per true class with its name under `true`, a column per given label."""
    matrix = np.full((len(class_names), len(class_names)), np.nan)
    for line, values in csv_rows(path, ("true", *class_names)):
        place = f"{path}:{line}"
        name = canonical_name(values["true"])
        if name not in class_names:
            raise DataError.at(
                place, expected=", ".join(class_names), got=name, remedy="Take the line out."
            )
        for i, given in enumerate(class_names):
            if not _is_number(values[given]):
                raise DataError.at(
                    f"{place}: {given}",
                    expected="a probability",
                    got=repr(values[given]),
                    remedy="Example: 0.25.",
                )
            matrix[class_names.index(name), i] = float(values[given])
    missing = [name for name, row in zip(class_names, matrix, strict=True) if np.isnan(row).any()]
    if missing:
        raise DataError.at(
            str(path),
            expected="a row for every class",
            got=f"none for {', '.join(missing)}",
            remedy="The first column, named true, holds the class.",
        )
    return matrix


def read_list(path: Path, pack: Pack) -> dict[int, int]:
    """Labels by row of the pack, from lines `image class`; the image by its path or file name.

    Raises:
        DataError: If a line has no two words, an image or class is unknown, an image is named
            twice, or a file name is that of several images; with the line.
    """
    paths = [str(name) for name in pack.path]
    by_path = {name: i for i, name in enumerate(paths)}
    by_name: dict[str, list[int]] = {}
    for i, name in enumerate(paths):
        by_name.setdefault(PurePosixPath(name).name, []).append(i)
    labels: dict[int, int] = {}
    for number, line in table_lines(path):
        place, words = f"{path}:{number}", line.replace(",", " ").split()
        if len(words) != 2:
            raise DataError.at(
                place, expected="an image and a class", got=repr(line), remedy="Repair the line."
            )
        rows = [by_path[words[0]]] if words[0] in by_path else by_name.get(words[0], [])
        if len(rows) != 1 or rows[0] in labels or canonical_name(words[1]) not in pack.class_names:
            raise DataError.at(
                place,
                expected=f"an image of {pack.name}, once, and one of {', '.join(pack.class_names)}",
                got=f"{line!r}, which names {len(rows)} images"
                + (", named before" if len(rows) == 1 and rows[0] in labels else ""),
                remedy="Repair the line; names that occur twice need their folder before them.",
            )
        labels[rows[0]] = pack.class_names.index(canonical_name(words[1]))
    return labels


def _long_tail(
    pack: Pack, truth: np.ndarray, imbalance: float, rng: np.random.Generator
) -> np.ndarray:
    train = np.flatnonzero((pack.subset == TRAIN) & (truth != UNKNOWN_TRUTH))
    try:
        kept = train[long_tailed_rows(truth[train], imbalance, rng)]
    except ValueError as error:
        raise DataError(f"--imbalance: {error}") from None
    rest = np.flatnonzero((pack.subset != TRAIN) | (truth == UNKNOWN_TRUTH))
    return np.sort(np.concatenate([kept, rest]))


def _plain(noise: str | None) -> str | None:
    """The noise without folders of this machine."""
    kind, _, rest = (noise or "").partition(":")
    return f"{kind}:{Path(rest).name}" if kind in ("matrix", "list") else noise


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d*\.?\d+", text) is not None
