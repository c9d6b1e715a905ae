"""Chooses the folder that a command writes to."""

import random
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fer_ray.core.errors import ConfigError
from fer_ray.record import scratch
from fer_ray.record.claims import claimed
from fer_ray.record.storage import Folder

_JITTER_S = 0.2


def choose_folder(storage: str, name: str | None, stem: str, *, resume: bool) -> Folder:
    """Choose the folder of a run: a new one, or with `resume` an existing one.

    Args:
        storage: Folder or URI that holds the folders.
        name: Name of the folder; by default `stem` and a number. A new folder gets the next number,
            and the folder with the highest number is resumed.
        stem: Start of the name, such as the name of the search space.
        resume: Whether the folder must exist.

    Raises:
        ConfigError: If the name is invalid, a new folder exists, or the one to resume does not.
        StorageError: If the storage cannot be written to.
    """
    root = Folder(storage)
    root.check_writable()
    is_numbered = name is None
    if name is None:
        name = _numbered(root, folder_name(stem), after=not resume)
    if re.fullmatch(r"[\w.-]+", name) is None:
        raise ConfigError(f"--name {name!r}: expected only letters, digits, '.', '_' and '-'")
    exists = (root / name).exists()
    if resume and not exists:
        known = ", ".join(root.names()) or "nothing"
        raise ConfigError(f"--resume: {root / name} does not exist; {root} holds {known}")
    if exists and not resume and not is_numbered:
        raise _exists(root, name)
    return root / name


@contextmanager
def claim_folder(storage: str, name: str | None, stem: str, *, resume: bool) -> Iterator[Folder]:
    """Choose the folder of a run, and use it alone until the end of the block.

    Of commands that start at the same time without a name, each gets a folder of its own. Temporary
    files of commands that were killed are deleted. See `choose_folder` for the arguments.

    Raises:
        ConfigError: If `choose_folder` does, or another command uses the folder.
        StorageError: If the storage cannot be written to.
    """
    scratch.sweep()
    with ExitStack() as stack:
        stack.callback(scratch.sweep)  # what processes of this command have left
        while True:
            folder = choose_folder(storage, name, stem, resume=resume)
            try:
                stack.enter_context(claimed(folder, is_new=not resume))
            except FileExistsError:  # made by another command since it was chosen
                if name is not None:
                    raise _exists(Folder(storage), name) from None
                time.sleep(_JITTER_S * random.random())
                continue
            break
        yield folder


def _exists(root: Folder, name: str) -> ConfigError:
    return ConfigError(
        f"--name {name}: {root / name} exists; resume it with --resume, or use another name"
    )


def _numbered(root: Folder, stem: str, *, after: bool) -> str:
    """Return the name with the highest number, or the one after it."""
    numbers = _numbers(root, stem)
    return f"{stem}-{max(numbers, default=0) + (after or not numbers):03d}"


def folder_name(text: str) -> str:
    """A name for a folder, from words of any kind, such as the name of a sweep.

    >>> folder_name("My sweep (lr)"), folder_name("!?")
    ('My-sweep-lr', 'search')
    """
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "search"


def _numbers(root: Folder, stem: str) -> list[int]:
    pattern = re.compile(rf"{re.escape(stem)}-(\d{{3,}})")
    return [int(match[1]) for match in map(pattern.fullmatch, root.names()) if match]


def wandb_directory(folder: Folder) -> Path:
    """Return the folder of W&B's local files: the run's, or the current one if that is remote."""
    return folder.local_path if folder.is_local else Path.cwd()


def check_new_file(option: str, path: Path) -> None:
    """Refuse to write over what is there, or into a folder that is not.

    Args:
        option: How the command line names the file, such as `--out`.
        path: The file to be written.

    Raises:
        ConfigError: With the remedy.
    """
    if path.exists():
        raise ConfigError(
            f"{option} {path}: expected a new file, got one that exists. Delete it, or choose "
            "another name"
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"{option} {path}: expected a file in a folder that exists, got {path.parent}. Make it "
            "first"
        )
