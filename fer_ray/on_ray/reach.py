"""Why Ray does not start or a cluster does not answer, in a sentence and within seconds."""

import socket
import threading
from urllib.parse import urlsplit

from fer_ray.core.errors import ConfigError
from fer_ray.record.text import error_text

CONNECT_S = 5.0
ANSWER_S = 8.0
_CLIENT_PORT = 10001


def check_reachable(address: str) -> None:
    """Refuse a cluster that does not answer; Ray itself would wait for minutes, without a word.

    It first tries to connect, then asks what the cluster is, if the address is that of its head.
    Call it after `prepare`.

    Args:
        address: "auto", "host:port" or "ray://...".

    Raises:
        ConfigError: With the address, and what came instead of an answer within 15 s.
    """
    is_client = "://" in address
    host_port = address if is_client else _head_address(address)
    parts = urlsplit(host_port if is_client else f"//{host_port}")
    try:
        host, port = parts.hostname or "", parts.port or (_CLIENT_PORT if is_client else 0)
    except ValueError:
        host, port = "", 0
    if not host or not port:
        raise refused(address, "an address without a host or a port")
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        raise refused(address, f"no connection to {host}:{port} ({error_text(error)})") from None
    if not is_client:
        _check_answer(address, host_port)


def _head_address(address: str) -> str:
    """The host and port of the head, which Ray finds itself for "auto"."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError, OSError) as error:
        raise refused(address, error_text(error)) from None
    if found is None:
        raise refused(address, "no cluster that was started on this machine")
    return str(found)


def _check_answer(address: str, head: str) -> None:
    """Ask the head for the versions of the cluster; Ray's client alone would wait 40 s."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    errors: list[Exception] = []

    def ask() -> None:
        try:
            GcsClient(address=head).internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster")
        except Exception as error:
            errors.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_S)
    if asking.is_alive():
        raise refused(address, f"no answer from {head} within {ANSWER_S:g} s")
    if errors:
        raise refused(address, error_text(errors[0]))


def refused(address: str, got: str) -> ConfigError:
    """The error for a cluster that is not used."""
    return ConfigError(
        f"--address {address}: expected a running Ray cluster, got {got}. Check the address and "
        "RAY_ADDRESS, that the cluster runs, that a firewall lets this machine in, and the token "
        "(RAY_AUTH_TOKEN, or ~/.ray/auth_token); without an address, Ray starts on this machine"
    )
