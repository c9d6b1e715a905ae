"""Where a command puts its files."""

import re
from pathlib import Path

from fer_ray.core.errors import ConfigError
from fer_ray.record.storage import Folder


def choose_folder(storage: str, name: str | None, stem: str, *, resume: bool) -> Folder:
    """The folder of a run: a new one, or with `resume` the one named or the latest of its stem.

    Raises:
        ConfigError: If a new folder exists already, or the one to resume does not.
        StorageError: If the storage cannot be written.
    """
    root = Folder(storage)
    root.check_writable()
    if name is None:
        numbers = _numbers(root, stem)
        number = max(numbers, default=0) + (0 if resume and numbers else 1)
        name = f"{stem}-{number:03d}"
    if re.fullmatch(r"[\w.-]+", name) is None:
        raise ConfigError(f"--name {name!r}: expected letters, digits, '.', '_' and '-' only")
    exists = (root / name).exists()
    if resume and not exists:
        known = ", ".join(root.names()) or "nothing"
        raise ConfigError(f"--resume: there is no {root / name}; {root} holds {known}")
    if exists and not resume:
        raise ConfigError(
            f"--name {name}: {root / name} exists; go on with it by --resume, or take another name"
        )
    return root / name


def _numbers(root: Folder, stem: str) -> list[int]:
    pattern = re.compile(rf"{re.escape(stem)}-(\d{{3,}})")
    return [int(match[1]) for match in map(pattern.fullmatch, root.names()) if match]


def wandb_directory(folder: Folder) -> Path:
    """Where W&B's local files go: into the run's folder if that is on this machine."""
    return folder.local_path if folder.is_local else Path.cwd()
