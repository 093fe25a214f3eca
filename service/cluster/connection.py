"""A connection to Ray: to a cluster that runs, or to one on this machine that ends with the block.

Ray's usage statistics are off before Ray is imported: nothing here calls home.
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.errors import ConfigurationError

ANSWER_SECONDS = 15.0
"""How long a cluster's address may take to accept a connection, and again to say its first word."""
LOCAL, AUTO = "local", "auto"
"""The address of a cluster that is started on this machine, and of the one that is found."""
PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Names the function that returns what stands around Ray Serve's own proxy."""
GCS_PORT, CLIENT_PORT = 6379, 10001
"""Ray's own defaults, for an address without a port."""
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
"""With what a client of HTTP/2 begins, and so of gRPC: its preface, and no settings (RFC 9113, 3.4)."""
_HEAD_BYTES, _SETTINGS = 9, 4
"""Of a frame of HTTP/2: the bytes of its head, and the type of the one with which a server begins."""


def switch_off_usage_statistics() -> None:
    """Let Ray report nothing about its use, in this process and in the cluster that it starts.

    A cluster of `ray start` that has its statistics off reports just that, so the address goes too.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_USAGE_STATS_REPORT_URL"] = ""


def show_token() -> None:
    """Let Ray show its token to a cluster, where there is one; to be called before this process connects.

    A cluster checks tokens as soon as its machine has one; who connects shows none unless the environment says so.
    """
    named = os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    has_token = named or (Path.home() / ".ray" / "auth_token").is_file()
    if not has_token or "RAY_AUTH_MODE" in os.environ:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if "ray" in sys.modules:  # it has read its environment already: `serve run` imports it first
        import_ray("ray._raylet").Config.initialize("")


def prepare_environment() -> None:
    """Set what the processes of a cluster that this process starts inherit.

    A cluster that `ray start` started has it only where its machines set it too.
    """
    switch_off_usage_statistics()
    os.environ.setdefault(PROXY_CALLBACK, "service.cluster.resending.middlewares")


def import_ray(module: str = "ray") -> Any:  # noqa: ANN401  # a module that may not be there
    """Return Ray, or one of its modules.

    Raises:
        ConfigurationError: it is not installed.
    """
    switch_off_usage_statistics()
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"Ray is not installed ({error.name or error} is missing). In a clone: pip install -e '.[ray]'."
        ) from error


@contextmanager
def connected(
    address: str | None = None,
    *,
    cpus: int | None = None,
    object_store_bytes: int | None = None,
    namespace: str | None = None,
) -> Iterator[Any]:
    """Give Ray, connected, for the length of the block.

    Args:
        address: `HOST:PORT` or `ray://HOST:PORT` of a cluster, `auto` for the one of RAY_ADDRESS or of this machine;
            None or `local`: a cluster on this machine is started, and ends with the block. It has no dashboard.
        cpus: of a cluster that is started: how many; None: all of this machine.
        object_store_bytes: of a cluster that is started: the memory of its object store; None: as Ray chooses.
        namespace: of the named actors; None: one of its own.

    Raises:
        ConfigurationError: Ray is not installed, there is no cluster at the address, it has another version of Ray or
            of Python, or none can be started here.
    """
    show_token()
    ray = import_ray()
    if address == AUTO:
        address = found_address()
    options: dict[str, Any] = {"namespace": namespace, "log_to_driver": False}
    if address in {None, LOCAL}:
        options |= {
            "address": LOCAL,
            "num_cpus": cpus,
            "object_store_memory": object_store_bytes,
            "include_dashboard": False,
        }
    else:
        assert address is not None
        require_answer(address)
        options["address"] = address
    where = "on this machine" if address in {None, LOCAL} else f"at {address}"
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises bare ones, too: of a node that does not start
        ray.shutdown()
        raise ConfigurationError(f"There is no Ray {where}: {_first_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def found_address() -> str:
    """Return the address that `auto` stands for: that of RAY_ADDRESS, or of the cluster that runs on this machine.

    Raises:
        ConfigurationError: there is none.
    """
    services = import_ray("ray._private.services")
    try:
        found: str = services.get_ray_address_from_environment(AUTO, None)
    except ConnectionError as error:
        raise ConfigurationError(
            "There is no Ray on this machine, and RAY_ADDRESS names none. `ray start --head` starts one."
        ) from error
    return found


def require_answer(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """Refuse an address where no Ray answers, which Ray itself would wait for for minutes.

    Args:
        address: see `connected`.
        seconds: how long it may take to accept a connection, and again to say its first word.

    Raises:
        ConfigurationError
    """
    if address == AUTO:
        address = found_address()
    if address == LOCAL:
        return
    is_client = "://" in address
    try:
        parts = urlsplit(address if is_client else f"ray-gcs://{address}")
        host, port = parts.hostname, parts.port or (CLIENT_PORT if is_client else GCS_PORT)
    except ValueError:
        host = None
    if not host or (is_client and parts.scheme != "ray"):
        raise ConfigurationError(
            f"{address!r} is no address of Ray. It is HOST:PORT, ray://HOST:PORT, auto or local."
        )
    try:
        with socket.create_connection((host, port), seconds) as connection:
            _require_grpc(connection)
    except OSError as error:
        raise ConfigurationError(
            f"There is no Ray at {address}: {error.strerror or error}. `ray status` on one of its machines says "
            f"whether it runs, and `ray start --head` starts one."
        ) from error


def _require_grpc(connection: socket.socket) -> None:
    """Raise where what listens does not begin as gRPC does, which all of Ray speaks.

    Raises:
        OSError
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() in {"1", "true"}:
        return  # it says nothing before it has seen a certificate
    connection.sendall(_GREETING)
    head = b""
    while len(head) < _HEAD_BYTES:
        try:
            part = connection.recv(_HEAD_BYTES - len(head))
        except TimeoutError as error:
            raise OSError("something listens there and does not answer") from error
        if not part:
            break
        head += part
    if len(head) < _HEAD_BYTES or head[3] != _SETTINGS:
        raise OSError("something else listens there")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
