"""Where Ray runs: an embedded cluster of this machine by default, or one that is there already.

Importing this module sets the environment that Ray reads when it is imported; values the user has set
stand.
"""

import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer_ray.config import ConfigError, WorkerConfig

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
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
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)


def _require_token() -> None:
    """Turn on token authentication, with a token of this process unless the user has one."""
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


_require_token()

import ray  # noqa: E402

_OBJECT_STORE_BYTES = 200 * 2**20
# The process that drives a trial's workers takes one of these, and no CPU that a worker waits for.
DRIVER = "trial_driver"
_MAX_DRIVERS = 1000


@dataclass(frozen=True, slots=True)
class Resources:
    """What a cluster has in all.

    Attributes:
        cpus: CPUs.
        gpus: GPUs.
        drivers: Places for processes that drive a trial's workers (`trial_driver`).
    """

    cpus: float
    gpus: float
    drivers: float


@contextmanager
def connect(address: str | None = None) -> Iterator[Resources]:
    """Start Ray on this machine, or connect to the cluster at `address`, for the length of a block.

    The embedded cluster listens on loopback only and wants a token that exists nowhere but in the
    environment of its processes. Its State API address is pinned, so that another Ray on the same
    machine is never asked instead (Ray's placement-group cleaner would give up or remove the wrong
    groups).

    Args:
        address: "auto", "host:port" or "ray://..."; None starts a cluster, unless RAY_ADDRESS is set.

    Raises:
        ConfigError: If there is no cluster at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    env = {name: os.environ[name] for name in _QUIET if name in os.environ}
    if address is None:
        _start_embedded(env)
    else:
        try:
            ray.init(
                address=address,
                logging_level="error",
                log_to_driver=False,
                runtime_env={"env_vars": env},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"--address {address}: no Ray cluster to connect to: {error}") from None
    try:
        have = ray.cluster_resources()
        yield Resources(cpus=have.get("CPU", 0.0), gpus=have.get("GPU", 0.0), drivers=have.get(DRIVER, 0.0))
    finally:
        ray.shutdown()


def _start_embedded(env: Mapping[str, str]) -> None:
    port = _free_port()
    ray.init(
        address="local",
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        object_store_memory=_OBJECT_STORE_BYTES,
        resources={DRIVER: _MAX_DRIVERS},
        logging_level="error",
        log_to_driver=False,
        runtime_env={"env_vars": {**env, "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}},
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def max_concurrent(workers: WorkerConfig, have: Resources) -> int:
    """How many runs of this size fit the cluster at once.

    More would not wait in line: the drivers of nested runs would hold what their workers need.

    Raises:
        ConfigError: If not even one fits, naming what is asked and what is there.
    """
    gpus_per_worker = workers.gpus_per_worker
    assert gpus_per_worker != "auto"
    cpus = workers.num_workers * workers.cpus_per_worker
    gpus = workers.num_workers * gpus_per_worker
    fits = have.cpus // cpus if not gpus else min(have.cpus // cpus, have.gpus // gpus)
    if fits < 1:
        raise ConfigError(
            f"workers: {workers.num_workers} workers with {workers.cpus_per_worker:g} CPUs and "
            f"{gpus_per_worker:g} GPUs each need {cpus:g} CPUs and {gpus:g} GPUs; the cluster has "
            f"{have.cpus:g} and {have.gpus:g}. Lower workers.num_workers, workers.cpus_per_worker "
            "or workers.gpus_per_worker, or connect to a larger cluster with --address."
        )
    return int(fits)
