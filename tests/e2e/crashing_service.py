"""`python -m tests.e2e.crashing_service PORT NOTES`: a service on a local Ray whose replicas a request can end."""

import os
import signal
import sys
import threading
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.cluster.connection import connected, import_ray

OBJECT_STORE_BYTES = 100_000_000
METHODS = ["GET", "POST", "DELETE"]


class Ingress:
    """Notes the process that got each request; `/crash` and what is below end it, as a fault of a library does."""

    def __init__(self, notes: str) -> None:
        self._notes = Path(notes)

    def __serve_build_asgi_app__(self) -> Starlette:  # Ray Serve calls it by this name
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=METHODS)])

    async def _answer(self, request: Request) -> Response:
        with self._notes.open("a") as file:
            file.write(f"{request.url.path} {os.getpid()}\n")
        if request.url.path.startswith("/crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        return PlainTextResponse("well", headers={"Server-Timing": "total"})


def deployed_mark(notes: Path) -> Path:
    """Return the file that is there once all replicas are: a replica that ends before fails the deployment."""
    return notes.with_name("deployed")


def main(port: str, notes: str) -> None:
    """Serve until SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with connected(cpus=2, object_store_bytes=OBJECT_STORE_BYTES, namespace="serve"):
        serve = import_ray("ray.serve")
        serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
        options = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.1}}
        ingress = serve.deployment(serve.ingress()(Ingress)).options(**options)
        serve.run(ingress.bind(notes))
        deployed_mark(Path(notes)).touch()
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
