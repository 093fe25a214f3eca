"""What `serve run` itself would find out late or never: a cluster that is not there, a port that is taken."""

import errno
import os
import socket
from typing import Any

from service.cluster.connection import LOCAL, import_ray, require_answer, show_token
from service.errors import ConfigurationError

HOST = "127.0.0.1"
"""Where Ray Serve listens unless its environment says another address."""


def require_usable(*, connected: bool) -> None:
    """Refuse what `serve run` was given, where it can not be, and let it show its token; nothing in another command.

    Args:
        connected: whether this process is connected to Ray already.

    Raises:
        ConfigurationError: nothing listens at the address, or the port of a new cluster is taken.
    """
    # Ray Serve's commands are made with Click, and so have it.
    context = import_ray("click").get_current_context(silent=True)
    if context is None or context.info_name != "run" or connected:
        return
    show_token()
    address = context.params.get("address") or os.environ.get("RAY_ADDRESS")
    if address and address != LOCAL:
        require_answer(address)
    else:
        _require_free(import_ray("ray.serve._private.constants"))


def _require_free(constants: Any) -> None:  # noqa: ANN401  # a module
    host, port = constants.DEFAULT_HTTP_HOST or HOST, constants.DEFAULT_HTTP_PORT
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return  # Ray Serve says why
        raise ConfigurationError(
            f"Port {port} of {host} is taken. End what listens there, or give another port in a file for Ray Serve: "
            "http_options in docs/cluster.md."
        ) from error
