"""Environment variables that Ray reads while it is imported, so they must be set before that."""

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Under `uv run`, Ray would start every process through uv in a copy of the working folder, and
    # build a new environment there. Our processes use the driver's interpreter.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Our processes have their own runtime environment, so workers that Ray prestarts would idle.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # `ray.train.report` waits until the controller polls: 2 s per epoch by default.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    # On a busy machine Ray's own processes need more than the 30 s after which it would end them.
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_agent_register_timeout_ms": "120000",
    # We write the rows ourselves; Ray's loggers would write each of them three more times.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
    # A killed search loses at most this many seconds of bookkeeping, but no checkpoint.
    "TUNE_GLOBAL_CHECKPOINT_S": "2",
}
_TOKEN_FILE = Path("~/.ray/auth_token")


def prepare() -> None:
    """Set the variables that Ray needs and the user has not set. Call it before importing Ray.

    Does nothing if Ray is imported already, because Ray has then read some of the variables.
    """
    if "ray" not in sys.modules:
        os.environ.update(missing_settings(os.environ, _TOKEN_FILE.expanduser().exists()))


def missing_settings(environment: Mapping[str, str], has_token_file: bool) -> dict[str, str]:
    """Return the settings that an environment lacks, with a new token if there is none.

    Args:
        environment: The variables that are set; they are not overridden.
        has_token_file: Whether Ray finds a token in its own file.
    """
    missing = {key: value for key, value in RAY_SETTINGS.items() if key not in environment}
    if "RAY_AUTH_MODE" in environment:
        return missing
    missing["RAY_AUTH_MODE"] = "token"
    has_token = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & environment.keys()
    if not has_token and not has_token_file:
        missing["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return missing
