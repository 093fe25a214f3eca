"""Docker's question to a running container: exit 0 when it is ready; else exit 1 and say why."""

import os
import sys
from http.client import HTTPConnection, HTTPException


def main() -> None:
    """Ask this container's own `/health/ready`; a plain connection, so that no proxy variable can come between."""
    connection = HTTPConnection("127.0.0.1", int(os.environ.get("FOVEAL_PORT", "8000")), timeout=4)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        reasons = answer.read().decode(errors="replace")
    except (OSError, HTTPException) as exc:
        sys.exit(f"no answer: {exc!r}")
    finally:
        connection.close()
    if answer.status != 200:
        sys.exit(f"{answer.status} {reasons}")


if __name__ == "__main__":
    main()
