"""What a reader of files returns: every image that a data set lists, nothing decoded yet."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from fer_ray.data.classes import CANONICAL
from fer_ray.data.faces import UNKNOWN_TRUTH, UNLABELED, DataError
from fer_ray.data.packs.stage import local_copy

TRAIN, VAL, TEST = 0, 1, 2
SUBSETS = ("train", "val", "test")
"""Names of the codes of `Records.subset`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What stands after the scheme of a spec: a path on this machine, and options.

    Attributes:
        scheme: Such as `raf-db`.
        path: The data set's file or folder; it exists.
        options: Values by key, as text.
    """

    scheme: str
    path: Path
    options: Mapping[str, str] = field(default_factory=dict)

    def file(self, key: str) -> Path | None:
        """The file that an option names, on this machine; `None` if the option is not given.

        Raises:
            DataError: If there is no such file.
        """
        if key not in self.options:
            return None
        path = local_copy(self.options[key])
        if not path.is_file():
            raise DataError.at(
                f"{self.scheme}: {key}={self.options[key]}",
                expected="a file",
                got="a folder" if path.is_dir() else "no such file",
                remedy=f"Check the path (it is taken from {Path.cwd()}).",
            )
        return path

    def choice(self, key: str, known: Sequence[str], default: str) -> str:
        """An option's value, one of `known`.

        Raises:
            DataError: If it is none of them.
        """
        value = self.options.get(key, default)
        if value not in known:
            raise DataError.at(
                f"{self.scheme}: {key}",
                expected=f"one of {', '.join(known)}",
                got=repr(value),
                remedy=f"Example: {self.scheme}:PATH,{key}={known[0]}.",
            )
        return value


def split_words(rest: str) -> list[str]:
    """The path and the options of what follows a scheme; a path may hold commas.

    >>> split_words("/faces, all/basic,noise=noise03.txt")
    ['/faces, all/basic', 'noise=noise03.txt']
    """
    return re.split(r",(?=[A-Za-z_]+=)", rest)


def parse_source(scheme: str, rest: str, keys: Sequence[str], *, refresh: bool = False) -> Source:
    """Read `PATH[,key=value,...]`; a place like `s3://bucket/faces` is copied here once.

    With `refresh` it is copied again.

    Raises:
        DataError: If nothing is at the path, or a key is unknown or given twice.
    """
    path, *words = split_words(rest)
    options: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in keys or key in options or not value:
            raise DataError.at(
                f"{scheme}: {word!r}",
                expected=f"key=value, each key once, of {', '.join(keys) or 'no keys at all'}",
                got="the key twice" if key in options else repr(word),
                remedy=f"Example: {scheme}:PATH{f',{keys[0]}=...' if keys else ''}.",
            )
        options[key] = value
    local = local_copy(path, refresh=refresh) if path else Path()
    if not path or not local.exists():
        raise DataError.at(
            f"{scheme}:{path}",
            expected="the data set's file or folder",
            got="nothing there" if path else "no path",
            remedy=f"Check the path (it is taken from {Path.cwd()}).",
        )
    return Source(scheme=scheme, path=local, options=options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Every image that a data set lists; index i of every field is image i.

    Attributes:
        name: What errors and reports call the data set, such as `raf-db:basic`.
        root: Folder that `path` starts from.
        path: Image file below `root`, with slashes; for images held in a table (`pixels`) what
            names the image best, such as `fer2013.csv:17`.
        listed: Where the image is listed, such as `list_patition_label.txt:17`; empty where its
            place in a folder is all there is.
        label: int64 [sample]; given class, an index into `class_names`; `UNLABELED` if none.
        true_label: int64 [sample]; true class, `UNKNOWN_TRUTH` if it is not known.
        subset: int64 [sample]; `TRAIN`, `VAL` or `TEST`.
        class_names: Canonical names in canonical order.
        box: int64 [sample, 4]; left, top, right, bottom of the face in pixels, right and bottom
            exclusive; all 0: the whole image. `None`: whole images throughout.
        pixels: uint8 [sample, height, width] or [sample, height, width, 3]: the images themselves,
            where a table holds them; else `None`.
        row: int64 [sample]; the image's row in the data set's own numbering; by default 0, 1, ...
        group: int64 [sample]; equal numbers >= 0: the same image; -1: there is no other. `None`:
            images are compared.
        near_train: float32 [sample]; highest pixel correlation of held-out images with a training
            image. `None`: images are compared.
        verified: int64 [sample, 2]; `Verified.label`, and 1 for images drawn at random, else 0.
            `None`: nothing is verified.
        num_channels: Channels that images get when they are prepared: 3 (RGB) or 1 (grey).
        sources: Absolute paths of all files and folders that were read to make the list.
        notes: What the user must be told, such as how many rows were dropped and why.

    Raises:
        DataError: If a path leads out of `root` or names no image type, lengths differ or a label
            or split is out of range.
    """

    name: str
    root: Path
    path: tuple[str, ...]
    listed: tuple[str, ...]
    label: np.ndarray
    true_label: np.ndarray
    subset: np.ndarray
    class_names: tuple[str, ...]
    box: np.ndarray | None = None
    pixels: np.ndarray | None = None
    row: np.ndarray | None = None
    group: np.ndarray | None = None
    near_train: np.ndarray | None = None
    verified: np.ndarray | None = None
    num_channels: int = 3
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        num = len(self.path)
        columns = {key: getattr(self, key) for key in ("label", "true_label", "subset")}
        keys = ("box", "pixels", "row", "group", "near_train", "verified")
        optional = {key: getattr(self, key) for key in keys}
        columns |= {key: value for key, value in optional.items() if value is not None}
        for key, column in {"listed": self.listed, **columns}.items():
            if len(column) != num:
                raise DataError(f"{self.name}: {key}: expected {num} values, got {len(column)}.")
        for key, lowest, highest in (
            ("label", UNLABELED, len(self.class_names) - 1),
            ("true_label", UNKNOWN_TRUTH, len(self.class_names) - 1),
            ("subset", TRAIN, TEST),
        ):
            bad = np.flatnonzero((columns[key] < lowest) | (columns[key] > highest))
            if bad.size:
                raise DataError(
                    f"{self.place(int(bad[0]))}: {key}: expected {lowest} to {highest}, "
                    f"got {columns[key][bad[0]]}."
                )
        if self.pixels is None:
            for i, path in enumerate(self.path):
                self._check_path(i, PurePosixPath(path))

    def __len__(self) -> int:
        return len(self.path)

    @property
    def row_numbers(self) -> np.ndarray:
        """The `row` of every image, or 0, 1, ... where there is none."""
        return np.arange(len(self)) if self.row is None else self.row

    def place(self, i: int) -> str:
        """What an error says of image i: the file, and where it is listed."""
        listed = f" ({self.listed[i]})" if self.listed[i] else ""
        return f"{self.name}: {self.path[i]}{listed}"

    def _check_path(self, i: int, path: PurePosixPath) -> None:
        if path.is_absolute() or ".." in path.parts:
            raise DataError.at(
                self.place(i),
                expected=f"a path inside {self.root}",
                got="one that leads out of it",
                remedy="Take the line out, or copy the image into the data set's folder.",
            )


def require_images(records: Records) -> None:
    """Refuse a data set that cannot be trained or tested on, before anything is decoded.

    Raises:
        DataError: If there is no training image, no test image, or none of a class in training.
    """
    for code, word in ((TRAIN, "training"), (TEST, "test")):
        if not (records.subset == code).any():
            raise DataError.at(
                f"{records.name} ({records.root})",
                expected=f"at least one {word} image",
                got="; ".join(["none", *records.notes]),
                remedy="Add some, or check the split.",
            )
    trained = set(records.label[records.subset == TRAIN].tolist())
    missing = [name for i, name in enumerate(records.class_names) if i not in trained]
    if missing:
        raise DataError.at(
            f"{records.name} ({records.root})",
            expected="training images of every class",
            got=f"none of {', '.join(missing)}",
            remedy="Add some, or take the class out of the data set.",
        )


def canonical_labels(
    native: Sequence[int] | np.ndarray, names: Mapping[int, str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Native class ids as labels of canonical classes.

    Args:
        native: Ids, all of them keys of `names`, or `UNLABELED`.
        names: Canonical name of every id.

    Returns:
        int64 labels, and the classes of `names` in canonical order.

    >>> canonical_labels([4, 7, -1], {4: "happiness", 7: "neutral"})
    (array([ 1,  0, -1]), ('neutral', 'happiness'))
    """
    class_names = tuple(name for name in CANONICAL if name in names.values())
    table = {number: class_names.index(name) for number, name in names.items()}
    table[UNLABELED] = UNLABELED
    return np.array([table[int(i)] for i in native], dtype=np.int64), class_names
