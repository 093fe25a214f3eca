"""Docker's health check in the running container: exits with 0 if the service is ready, else with 1 and the reason."""

import os
import sys
from http.client import HTTPConnection, HTTPException


def main() -> None:
    """Request `/health/ready` of this container. A plain connection ignores the environment's proxy variables."""
    connection = HTTPConnection("127.0.0.1", int(os.environ.get("FOVEAL_PORT", "8000")), timeout=4)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        reasons = response.read().decode(errors="replace")
    except (OSError, HTTPException) as exc:
        sys.exit(f"no answer: {exc!r}")
    finally:
        connection.close()
    if response.status != 200:
        sys.exit(f"{response.status} {reasons}")


if __name__ == "__main__":
    main()
