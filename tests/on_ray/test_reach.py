"""Clusters that do not answer are refused in time and by name."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fer_ray.core.errors import ConfigError
from fer_ray.on_ray import reach
from fer_ray.on_ray.reach import check_reachable


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("", 0)) as server:  # Ray reads 127.0.0.1 as this host's address
        yield f"127.0.0.1:{server.getsockname()[1]}"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_closed_port_is_refused_by_name(scheme: str) -> None:
    address = f"{scheme}127.0.0.1:{closed_port()}"
    with pytest.raises(ConfigError, match=rf"--address {address}: .*no connection to \d"):
        check_reachable(address)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:port", "ray://:10001"])
def test_what_is_no_address_is_refused_by_name(address: str) -> None:
    with pytest.raises(ConfigError, match=rf"--address {address}: expected a running Ray cluster"):
        check_reachable(address)


def test_auto_without_a_cluster_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    services = pytest.importorskip("ray._private.services")
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    with pytest.raises(ConfigError, match=r"--address auto: .*not find any running Ray instance"):
        check_reachable("auto")


def test_a_command_ends_when_nothing_answers(silent: str) -> None:
    """In a process of its own, because a question that is still asked must not keep it."""
    code = (
        "import sys; from fer_ray.on_ray import reach; reach.ANSWER_S = 0.5\n"
        "from fer_ray.on_ray.cluster import connect\n"
        "from fer_ray.commands.process import command\n"
        "def work(argv):\n"
        f"    with connect({silent!r}): pass\n"
        "sys.exit(command(work, []))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 2, ran.stderr
    assert f"error: --address {silent}: expected a running Ray cluster, got no answer" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_it_takes_less_than_15_seconds() -> None:
    assert reach.CONNECT_S + reach.ANSWER_S < 15
