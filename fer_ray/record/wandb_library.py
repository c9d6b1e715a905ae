"""The library of Weights & Biases, and what this package asks of it.

This is the only module that imports it, and it does so when a run needs it.
"""

import atexit
import logging
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from threading import Event, Thread
from types import ModuleType
from typing import Literal, get_args

from fer_ray.core.errors import ConfigError
from fer_ray.record.scratch import libraries_in_scratch
from fer_ray.record.text import error_text

logger = logging.getLogger(__name__)

WandbMode = Literal["offline", "online", "disabled"]
PROJECT = "fer_ray"
"""Where runs go if neither the user nor the file of a search names a project."""
_OTHER_MODES: dict[str, WandbMode] = {"dryrun": "offline", "run": "online", "shared": "online"}


def wandb_library() -> ModuleType:
    """The library, without its own messages unless the user asked for them."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    if "wandb" in sys.modules:
        return sys.modules["wandb"]
    with libraries_in_scratch():
        import wandb

    return wandb


def wandb_mode(requested: WandbMode | None = None) -> WandbMode:
    """What W&B should do: as requested, else as `WANDB_MODE` says, else online if there is a key.

    Args:
        requested: What the command line asks for.

    Raises:
        ConfigError: `WANDB_MODE` is not a mode.
    """
    if requested:
        return requested
    value = os.environ.get("WANDB_MODE", "")
    modes: dict[str, WandbMode] = {mode: mode for mode in get_args(WandbMode)} | _OTHER_MODES
    if value:
        if value not in modes:
            raise ConfigError(f"WANDB_MODE: expected one of {', '.join(modes)}, got {value!r}")
        return modes[value]
    try:
        return "online" if wandb_library().login(prompt=False, verify=False) else "offline"
    except Exception as error:
        logger.warning("W&B: the API key cannot be used (%s); recording offline", error_text(error))
        return "offline"


def server_answers(timeout_s: float) -> bool:
    """Ask before a run is opened, because W&B cannot close one whose server did not answer."""
    try:
        if not wandb_library().login(prompt=False, verify=False):
            logger.warning("W&B: there is no API key (`wandb login` sets one); recording offline")
            return False
        wandb_library().Api(timeout=math.ceil(timeout_s))
    except Exception as error:
        logger.warning("W&B: the server refused access (%s); recording offline", error_text(error))
        return False
    finally:
        _close_at_exit()
    return True


def close_wandb(timeout_s: float = 5.0) -> None:
    """End W&B's own process, and wait only so long.

    W&B itself would wait without end for a process that misses the request to end, as it does if
    the answer to an earlier request, which took too long, comes at that moment. A process that is
    not waited for ends with this one.
    """
    if "wandb" in sys.modules:
        closer = _closer()
        _closer.cache_clear()
        atexit.unregister(close_wandb)
        closer.asked.set()
        closer.join(timeout_s)


def _close_at_exit() -> None:
    """Close W&B before it does so itself: what is registered last runs first."""
    _closer()
    atexit.unregister(close_wandb)
    atexit.register(close_wandb)


class _Closer(Thread):
    """Closes W&B when it is asked to; it starts early, because none starts while Python ends."""

    def __init__(self) -> None:
        super().__init__(name="W&B's closer", daemon=True)
        self.asked = Event()
        self.start()

    def run(self) -> None:
        self.asked.wait()
        wandb_library().teardown()


@lru_cache(maxsize=1)
def _closer() -> _Closer:
    return _Closer()


def run_wandb(words: Sequence[str], timeout_s: float) -> None:
    """Run a command of W&B's own, such as `wandb sync`.

    Raises:
        OSError: If it failed or took too long; with the last line that it printed.
    """
    line = [sys.executable, "-m", "wandb", *words]
    try:
        with libraries_in_scratch():  # where it writes a log
            env = {**os.environ, "WANDB_SILENT": "false"}
            done = subprocess.run(
                line, check=False, capture_output=True, text=True, timeout=timeout_s, env=env
            )
    except subprocess.TimeoutExpired:
        raise OSError(f"wandb {words[0]} did not end within {timeout_s:.0f} s") from None
    if done.returncode:
        said = [text for text in (done.stdout + done.stderr).splitlines() if text.strip()]
        raise OSError(f"wandb {words[0]}: {said[-1].strip() if said else 'failed'}")
