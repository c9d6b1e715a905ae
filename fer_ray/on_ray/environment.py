"""What Ray reads from the environment when it is imported, so it must stand there before.

`import fer_ray` calls `prepare` for that reason; values the user has set stand.
"""

import os
import secrets
import sys
from pathlib import Path

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Under `uv run` Ray would start every process through uv in a copy of the working folder, with
    # an environment made anew there; ours have the driver's interpreter.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Ours have an environment of their own, so processes that Ray starts ahead would serve nobody.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # `ray.train.report` waits for the controller's poll: 2 s an epoch by default.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    # Our own rows are the record; Ray's loggers would write each of them three times more.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
    # A killed search forgets at most this many seconds of bookkeeping (no checkpoint is lost).
    "TUNE_GLOBAL_CHECKPOINT_S": "2",
}


def prepare() -> None:
    """Set what is not set: a quiet Ray that wants a token, one of this process if there is none.

    Does nothing if Ray was imported already, for it would believe half of it.
    """
    if "ray" in sys.modules:
        return
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_MODE" in os.environ:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    has_token = (
        "RAY_AUTH_TOKEN" in os.environ
        or "RAY_AUTH_TOKEN_PATH" in os.environ
        or Path("~/.ray/auth_token").expanduser().exists()
    )
    if not has_token:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
