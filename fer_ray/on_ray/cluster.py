"""Where Ray runs: on an embedded cluster of this machine by default, or on an existing cluster."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fer_ray.config import WorkerConfig
from fer_ray.core.errors import ConfigError, StartError
from fer_ray.on_ray.environment import RAY_SETTINGS, prepare
from fer_ray.on_ray.head_watch import HeadWatch
from fer_ray.on_ray.interrupts import held, was_signalled
from fer_ray.on_ray.reach import check_reachable, refused
from fer_ray.record.text import error_text

_OBJECT_STORE_BYTES = 200 * 2**20
# Ray itself waits 30 s for its own processes, which is too short on a busy machine.
_START_S = 120.0
# Resource of the processes that drive a trial's workers; with it they take no CPU from a worker.
DRIVER = "trial_driver"
_MAX_DRIVERS = 1000


@dataclass(frozen=True, slots=True)
class Resources:
    """The total resources of a cluster.

    Attributes:
        cpus: Number of CPUs.
        gpus: Number of GPUs.
        drivers: Number of processes that may drive a trial's workers (resource `trial_driver`).
        is_embedded: Whether it is this machine alone, which does not grow.
    """

    cpus: float
    gpus: float
    drivers: float
    is_embedded: bool = False


@contextmanager
def connect(address: str | None = None, *, nested: bool = False) -> Iterator[Resources]:
    """Start Ray on this machine or connect to the cluster at `address`, until the block ends.

    The embedded cluster listens on loopback only and requires a token that exists only in the
    environment of its processes.

    Where Ray Train runs inside trials, its placement-group cleaner frees what a stopped trial held.
    The cleaner asks the State API. The address of that API is pinned; otherwise the cleaner could
    ask another Ray on the same machine, and give up or remove the wrong groups. The dashboard,
    which serves the API, takes two seconds to start and a tenth of a CPU all the time, so it runs
    only if `nested`. Without nesting, the end of the command frees everything, and the cleaner
    finds no server at the address.

    Args:
        address: "auto", "host:port" or "ray://..."; `None` uses RAY_ADDRESS or starts a cluster.
        nested: Whether Ray Train will run inside trials.

    Yields:
        The resources of the cluster.

    Raises:
        ConfigError: If there is no cluster at the address, or it does not let us in.
        StartError: If Ray does not start on this machine.
    """
    prepare()
    import ray

    address = address or os.environ.get("RAY_ADDRESS")
    env = {name: os.environ[name] for name in RAY_SETTINGS if name in os.environ} | {
        "RAY_BACKEND_LOG_LEVEL": "fatal"
    }
    watch = None
    try:
        with held(), _own_handlers():
            if address is None:
                _start_embedded(env, nested)
            else:
                _join(address, env)
        if address is None or "://" not in address:  # else the head is asked through a server
            watch = HeadWatch(ray.get_runtime_context().gcs_address)
        have = ray.cluster_resources()
        yield Resources(
            cpus=have.get("CPU", 0.0),
            gpus=have.get("GPU", 0.0),
            drivers=have.get(DRIVER, 0.0),
            is_embedded=address is None,
        )
    finally:
        if watch is not None and not was_signalled():
            watch.stop()  # the end of an embedded cluster is no loss
        with held():  # half of an end would leave processes
            ray.shutdown()
        if watch is not None:
            watch.stop()


@contextmanager
def _replaced(module: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Replace a private function of Ray, by what is made of it; nothing where there is none."""
    original = getattr(module, name, None)
    if original is None:
        yield
        return
    setattr(module, name, make(original))
    try:
        yield
    finally:
        setattr(module, name, original)


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray's start replaces by one that exits."""
    from ray._private import utils

    with _replaced(utils, "set_sigterm_handler", lambda _: lambda handler: None):
        yield


@contextmanager
def _patient() -> Iterator[None]:
    """Let Ray's start wait longer for its processes."""
    from ray._private import services

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def get_node(*args: Any, **options: Any) -> Any:
            deadline = time.monotonic() + _START_S
            while True:
                try:
                    return original(*args, **options)
                except RuntimeError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)

        return get_node

    with _replaced(services, "get_node", make):
        yield


def _join(address: str, env: dict[str, str]) -> None:
    """Connect to a cluster that runs."""
    import ray
    from ray.exceptions import RayError

    check_reachable(address)
    try:
        ray.init(
            address=address,
            logging_level="error",
            log_to_driver=False,
            runtime_env={"env_vars": env},
        )
    except (RayError, OSError, RuntimeError, ValueError) as error:
        raise refused(address, error_text(error)) from None


def _start_embedded(env: dict[str, str], nested: bool) -> None:
    """Start a cluster of this machine alone."""
    import ray

    port = _free_port()
    env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
    try:
        with _patient():
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
    except Exception as error:  # Ray raises errors of no class of its own, too
        raise StartError(
            f"Ray does not start on this machine: {error_text(error)}. Things to check: space in "
            "/dev/shm and in the temporary folder; a temporary folder (RAY_TMPDIR, TMPDIR) of less "
            "than 40 letters, because Ray puts sockets there; memory and processes that this user "
            "may have"
        ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def max_concurrent(workers: WorkerConfig, have: Resources, asked: int | None = None) -> int:
    """Return how many runs of this size Tune may start at the same time: as many as fit.

    Tune must not start more on a cluster that does not grow. They would not queue: the drivers of
    nested runs would hold the resources that the workers of other runs need.

    Args:
        workers: Size of a run, with a number for `gpus_per_worker`.
        have: Resources of the cluster.
        asked: A number that the user gives, because the cluster grows or others need a part of it.
            A cluster that is embedded does not grow, so it has no more than fit.

    Raises:
        ConfigError: If not even one run fits; names what it needs and what the cluster has.
    """
    if asked is not None and not have.is_embedded:
        return asked
    gpus_per_worker = workers.gpus_per_worker
    assert gpus_per_worker != "auto"
    room = have.cpus // workers.cpus_per_worker
    if gpus_per_worker:
        room = min(room, have.gpus // gpus_per_worker)
    fewest = workers.sizes[0]
    if room < fewest:
        cpus, gpus = fewest * workers.cpus_per_worker, fewest * gpus_per_worker
        raise ConfigError(
            f"workers: {fewest} workers with {workers.cpus_per_worker:g} CPUs and "
            f"{gpus_per_worker:g} GPUs each need {cpus:g} CPUs and {gpus:g} GPUs; the cluster has "
            f"{have.cpus:g} and {have.gpus:g}. Lower workers.num_workers, workers.cpus_per_worker "
            "or workers.gpus_per_worker, or connect to a larger cluster with --address. "
            "For a cluster that grows, give --address, and the number of trials at a time: "
            "--concurrent."
        )
    fits = max(1, int(room // workers.num_workers))
    return fits if asked is None else min(asked, fits)
