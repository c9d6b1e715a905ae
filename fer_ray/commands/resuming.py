"""A resumed run is the one that was started: its configuration is read back and compared."""

import yaml

from fer_ray.config import RunConfig, flat_values
from fer_ray.core.errors import ConfigError
from fer_ray.data.verified_file import verified_digest
from fer_ray.record.storage import Folder

_CONFIG = "config.yaml"
_FREE = ("workers.", "checkpoint.")
_VERIFIED = "verified.digest"


def stored_run(folder: Folder) -> RunConfig:
    """Read the configuration that a run was started with.

    Raises:
        ConfigError: If there is none, or it cannot be read.
    """
    place = folder / _CONFIG
    if not folder.exists(_CONFIG):
        raise ConfigError(f"--resume: {folder} holds no run ({place} is missing); start a new one")
    try:
        content = yaml.safe_load(folder.read_text(_CONFIG))
        if not isinstance(content, dict):
            raise ConfigError("it is not a mapping")
        return RunConfig.from_dict(content)
    except (yaml.YAMLError, ConfigError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--resume: {place}: expected the configuration that the run was started with, got "
            f"something else ({reason}). A copy is in every folder of {folder / 'checkpoints'}"
        ) from None


def check_same_run(folder: Folder, stored: RunConfig, asked: RunConfig) -> None:
    """Refuse to go on with another configuration or other data.

    On which and how many workers a run is trained, and how often it is saved, may differ.

    Raises:
        ConfigError: If another key differs; names it.
    """
    before, now = flat_values(stored.to_dict()), flat_values(asked.to_dict())
    changed = [
        f"{key} ({before.get(key)!r}, asked {now.get(key)!r})"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not key.startswith(_FREE)
    ]
    if changed:
        raise ConfigError(
            f"--resume: {', '.join(changed)} differs from what {folder} was started with; leave it "
            "out, or start a new run"
        )


def check_verified(folder: Folder, place: str | None, *, resume: bool) -> None:
    """Refuse to go on with other verified labels than the run was started with.

    Their digest is kept in the run's folder when it is started. It is not there for runs of earlier
    versions: their workers compare it with that of the checkpoint.

    Args:
        folder: The run's.
        place: The file of verified labels (`data.verified`).
        resume: Whether the run goes on.

    Raises:
        ConfigError: If the file has changed since.
    """
    now = verified_digest(place)
    if not resume and now:
        folder.write_text(_VERIFIED, f"{now}\n")
    elif now and folder.exists(_VERIFIED) and folder.read_text(_VERIFIED).strip() != now:
        raise ConfigError(
            f"data.verified: expected the verified labels that {folder} was started with, got "
            f"other ones: {place} has changed since. Put it back to resume, or start a new run"
        )
