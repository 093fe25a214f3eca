"""Docker's health check in the running container: exits with 0 if the service is ready, else with 1 and the reason."""

import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection

PORT = int(os.environ.get("FOVEAL_PORT", "8000"))
TIMEOUT_SECONDS = 4


def connect() -> HTTPConnection:
    """Return a connection to this container, by HTTPS where the service speaks it.

    The certificate is for the name that clients use, so it is not compared with the address here. Where clients need a
    certificate too, the service's own is presented.
    """
    certfile = os.environ.get("FOVEAL_SSL_CERTFILE")
    if not certfile:
        return HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT_SECONDS)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if os.environ.get("FOVEAL_SSL_CA_CERTS"):
        keyfile = os.environ.get("FOVEAL_SSL_KEYFILE")
        password = os.environ.get("FOVEAL_SSL_KEYFILE_PASSWORD", "")
        context.load_cert_chain(certfile, keyfile, lambda: password)
    return HTTPSConnection("127.0.0.1", PORT, timeout=TIMEOUT_SECONDS, context=context)


def main() -> None:
    """Request `/health/ready` of this container. A plain connection ignores the environment's proxy variables."""
    connection = None
    try:
        connection = connect()
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        reasons = response.read().decode(errors="replace")
    except (OSError, HTTPException) as exc:
        sys.exit(f"no answer: {exc!r}")
    finally:
        if connection is not None:
            connection.close()
    if response.status != 200:
        sys.exit(f"{response.status} {reasons}")


if __name__ == "__main__":
    main()
