"""Where Ray runs: an embedded cluster of this machine by default, or one that is there already."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fer_ray.config import WorkerConfig
from fer_ray.core.errors import ConfigError
from fer_ray.on_ray.environment import RAY_SETTINGS, prepare

_OBJECT_STORE_BYTES = 200 * 2**20
# The process that drives a trial's workers takes one of these, not a CPU that a worker needs.
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
def connect(address: str | None = None, *, nested: bool = False) -> Iterator[Resources]:
    """Start Ray on this machine or connect to the cluster at `address`, until the block ends.

    The embedded cluster listens on loopback only and requires a token that exists only in the
    environment of its processes. Where Ray Train runs inside trials, its placement-group cleaner
    frees what a stopped trial held. It asks the State API, whose address is pinned, so that another
    Ray on the same machine is never asked instead (the cleaner would give up or remove the wrong
    groups). The dashboard that serves it starts for such trials only: it costs two seconds of a
    start and a tenth of a CPU all along. What a run outside of trials holds ends with its command,
    and its cleaner finds no server at the address.

    Args:
        address: "auto", "host:port" or "ray://..."; None takes RAY_ADDRESS or starts a cluster.
        nested: Whether Ray Train will run inside trials there.

    Raises:
        ConfigError: If there is no cluster at the address.
    """
    prepare()
    import ray

    address = address or os.environ.get("RAY_ADDRESS")
    env = {name: os.environ[name] for name in RAY_SETTINGS if name in os.environ} | {
        "RAY_BACKEND_LOG_LEVEL": "fatal"
    }
    if address is None:
        _start_embedded(env, nested)
    else:
        try:
            ray.init(
                address=address,
                logging_level="error",
                log_to_driver=False,
                runtime_env={"env_vars": env},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"--address {address}: no Ray cluster to connect to: {error}"
            ) from None
    try:
        have = ray.cluster_resources()
        yield Resources(
            cpus=have.get("CPU", 0.0), gpus=have.get("GPU", 0.0), drivers=have.get(DRIVER, 0.0)
        )
    finally:
        ray.shutdown()


def _start_embedded(env: dict[str, str], nested: bool) -> None:
    import ray

    port = _free_port()
    env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
    ray.init(
        address="local",
        include_dashboard=nested,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        object_store_memory=_OBJECT_STORE_BYTES,
        resources={DRIVER: _MAX_DRIVERS},
        logging_level="error",
        log_to_driver=False,
        runtime_env={"env_vars": env},
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
