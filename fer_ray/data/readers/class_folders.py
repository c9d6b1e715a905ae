"""Images in folders that are named after their expression."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fer_ray.data.classes import CANONICAL, canonical_name
from fer_ray.data.faces import DataError
from fer_ray.data.formats import IMAGE_SUFFIXES
from fer_ray.data.readers.class_ids import is_id, which_ids

_NUM_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Images in class folders, sorted by path; entry i of every field but the notes is image i.

    Attributes:
        path: Below the root, with slashes.
        top: Folder that holds the class folder, such as `train`; empty: the root itself.
        class_name: Canonical.
        folders: Absolute paths of all folders and lists that were read.
        notes: What was left out.
        listed: Where an image is listed; empty: nowhere but in its folder.
    """

    path: tuple[str, ...]
    top: tuple[str, ...]
    class_name: tuple[str, ...]
    folders: tuple[str, ...]
    notes: tuple[str, ...]
    listed: tuple[str, ...] = ()

    def below_class(self, i: int) -> str:
        """Path of image i below its class folder; the whole one if a list says the class."""
        if self.listed:
            return self.path[i]
        return self.path[i].split("/", 2 if self.top[i] else 1)[-1]


def list_classes(
    root: Path,
    tops: Collection[str],
    known: Collection[str] = CANONICAL,
    ids: Mapping[int, str] | None = None,
) -> Listing:
    """List the images in the class folders of some folders; hidden files do not count.

    Args:
        root: The data set's folder.
        tops: Folders in it that hold class folders; empty text is the root itself.
        known: Canonical names that class folders may stand for.
        ids: Canonical names of class folders that are named by numbers.

    Raises:
        DataError: If a folder cannot be read, there are no images, or class folders that hold
            images have names that stand for none of `known`; with all of them.
    """
    found, loose, others = [], [], Counter[str]()
    folders: list[str] = []
    for top in tops:
        prefix = f"{top}/" if top else ""
        for path in files_below(root / top, prefix, frozenset(), folders):
            suffix = os.path.splitext(path)[1].lower()
            folder, slash, _ = path.removeprefix(prefix).partition("/")
            if suffix not in IMAGE_SUFFIXES:
                others[suffix or "without an ending"] += 1
            elif slash:
                found.append((path, top, folder))
            else:
                loose.append(path)
    notes = tuple(_notes(loose, others))
    if not found:
        raise DataError.at(
            str(root),
            expected="images in folders named after expressions, such as train/happy/1.jpg",
            got="; ".join(["none", *notes]),
            remedy=_remedy_without_classes(root),
        )
    classes = _canonical(root, Counter((top, folder) for _, top, folder in found), known, ids)
    found.sort()
    return Listing(
        path=tuple(path for path, _, _ in found),
        top=tuple(top for _, top, _ in found),
        class_name=tuple(classes[folder] for _, _, folder in found),
        folders=tuple(folders),
        notes=notes,
    )


def left_beside(root: Path, tops: Collection[str]) -> Iterator[str]:
    """A note on what lies beside the folders that were read, if anything does."""
    names = [entry.name for entry in visible(root) if entry.name not in tops]
    if tops and names:
        more = f" and {len(names) - _NUM_LISTED} more" if len(names) > _NUM_LISTED else ""
        beside = ", ".join(sorted(tops))
        yield f"left out beside {beside}: {', '.join(names[:_NUM_LISTED])}{more}"


def _remedy_without_classes(root: Path) -> str:
    remedy = "Is this the folder that holds train/, or the class folders?"
    tables = sorted(path.name for path in root.glob("*.csv"))
    if tables:
        remedy += (
            f" If {tables[0]} names images and labels: folder:{root},labels={root / tables[0]}."
        )
    return remedy


def _canonical(
    root: Path,
    num_images: Counter[tuple[str, str]],
    known: Collection[str],
    ids: Mapping[int, str] | None,
) -> dict[str, str]:
    """Canonical name of every class folder.

    Raises:
        DataError: If there is none; with all such folders and their numbers of images.
    """
    names: dict[str, str] = {}
    unknown, numbers = [], []
    for (top, folder), num in sorted(num_images.items()):
        names[folder] = _name_of(folder, ids)
        if names[folder] not in known:
            unknown.append(f"{top}{'/' if top else ''}{folder} ({num} images)")
            numbers.append(folder)
    if unknown and all(map(is_id, numbers)):
        raise DataError.at(
            str(root),
            expected="class folders whose meaning is known",
            got=f"numbers: {', '.join(unknown)}",
            remedy=f"{which_ids(f'folder:{root}', [int(x) for x in names if is_id(x)])}.",
        )
    if ids is not None and not any(is_id(folder) for folder in names):
        raise DataError.at(
            f"{root}: ids",
            expected="class folders named by numbers",
            got=", ".join(sorted(names)),
            remedy="Take ids= out.",
        )
    if unknown:
        raise DataError.at(
            str(root),
            expected=f"class folders named {', '.join(known)} (or happy, 4_sad and the like)",
            got=", ".join(unknown),
            remedy=f"Rename these folders, or move them out. {_remedy_without_classes(root)}",
        )
    return names


def _name_of(folder: str, ids: Mapping[int, str] | None) -> str:
    """Canonical name that a class folder stands for; empty if none is known."""
    if is_id(folder):
        return "" if ids is None else ids.get(int(folder), "")
    try:
        return canonical_name(folder)
    except DataError:
        return ""


def _notes(loose: list[str], others: Counter[str]) -> Iterator[str]:
    if loose:
        yield (
            f"{len(loose)} images outside of class folders were left out, the first {min(loose)}"
        )
    if others:
        kinds = ", ".join(f"{num} {suffix}" for suffix, num in sorted(others.items()))
        yield f"{others.total()} files that are no images were left out: {kinds}"


def files_below(
    folder: Path, below: str, above: frozenset[tuple[int, int]], read: list[str]
) -> Iterator[str]:
    """`below` and the path of every visible file in a folder; links are followed.

    Args:
        folder: Where to begin.
        below: What its path begins with.
        above: Device and number of the folders above.
        read: Takes the folders that were read.

    Raises:
        DataError: If a folder cannot be read or contains itself through a link.
    """
    entries = visible(folder)
    read.append(str(folder.absolute()))
    status = folder.stat()
    own = status.st_dev, status.st_ino
    if own in above:
        raise DataError.at(
            str(folder),
            expected="folders that end somewhere",
            got="a link to a folder above",
            remedy="Remove the link.",
        )
    for entry in entries:
        if entry.is_dir():
            yield from files_below(Path(entry.path), f"{below}{entry.name}/", above | {own}, read)
        else:
            yield f"{below}{entry.name}"


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, without hidden files, in the order of the names.

    Raises:
        DataError: If it cannot be read, or a name is not UTF-8.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry for entry in entries if not entry.name.startswith(".")),
                key=lambda entry: entry.name.encode(),
            )
    except (OSError, UnicodeEncodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"the name {error.object!r}"
        raise DataError.at(
            str(folder),
            expected="a folder that can be read, with names in UTF-8",
            got=str(reason),
            remedy="Check permissions and names.",
        ) from None
    return found
