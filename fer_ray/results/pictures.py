"""Which image files a person means: files, folders, patterns, tables of paths, standard input."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fer_ray.data import DataError
from fer_ray.data.formats import IMAGE_SUFFIXES
from fer_ray.data.readers.class_folders import files_below
from fer_ray.data.readers.tables import csv_rows

STDIN = "-"
_PHOTO_SCALE, _PHOTO_ASPECT = 2.0, 1.3


def list_pictures(words: Sequence[str], stdin: Iterable[str], *, column: str = "path") -> list[str]:
    """Paths of image files, each once.

    Words keep their order, tables and standard input theirs; folders and patterns are sorted.

    Args:
        words: An image file, a folder (all images below it), a pattern such as `faces/**/*.png`, a
            csv file with a column of paths (from its own folder), or `-`.
        stdin: Lines with a path each, for `-`.
        column: Name of that column.

    Raises:
        DataError: If nothing is at a path, a table lacks the column, or there is no image at all.
    """
    found: dict[str, None] = {}
    for word in words:
        if word == STDIN:
            paths = iter([line.rstrip("\r\n") for line in stdin if line.strip()])
        else:
            paths = _expanded(word, column)
        found |= dict.fromkeys(paths)
    if not found:
        raise DataError.at(
            " ".join(words)[:200],
            expected="at least one image",
            got="none",
            remedy=f"Images end in {', '.join(sorted(IMAGE_SUFFIXES))}.",
        )
    return list(found)


def _expanded(word: str, column: str) -> Iterator[str]:
    path = Path(word).expanduser()
    if path.is_dir():
        yield from _images_below(path)
    elif path.is_file():
        yield from _listed(path, column) if path.suffix.lower() == ".csv" else [str(path)]
    elif matches := sorted(glob.glob(str(path), recursive=True)):
        for match in matches:
            if _is_image(match) and not os.path.isdir(match):
                yield match
            elif os.path.isdir(match) and not word.endswith("**"):
                yield from _images_below(Path(match))
    else:
        raise DataError.at(
            word,
            expected="an image, a folder, a pattern, a csv file of paths, or - for standard input",
            got="nothing there",
            remedy=f"Check the path (it is taken from {Path.cwd()}).",
        )


def _images_below(folder: Path) -> list[str]:
    below = files_below(folder, "", frozenset(), [])
    return [str(folder / name) for name in sorted(below) if _is_image(name)]


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def _listed(path: Path, column: str) -> Iterator[str]:
    """Paths in a table, which are taken from its folder."""
    for _, row in csv_rows(path, (column,)):
        if row[column]:
            yield str(path.parent / row[column])


def looks_like_photograph(original: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a picture is likely a photograph of a scene rather than a cropped face.

    Faces are cropped about square and not much larger than networks need them.

    Args:
        original: Height and width of the picture in pixels.
        size: Those of the training images.

    >>> looks_like_photograph((1080, 1920), (48, 48)), looks_like_photograph((224, 224), (48, 48))
    (True, False)
    """
    short, long = min(original), max(original)
    return short > _PHOTO_SCALE * max(size) and long > _PHOTO_ASPECT * short
