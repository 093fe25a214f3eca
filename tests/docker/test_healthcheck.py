"""The container's health check against a real socket."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme

from tests.docker.files import ROOT
from tests.live import serve


@contextmanager
def service_that_answers(status: int, body: bytes) -> Iterator[int]:
    """Serve one answer to `/health/ready` and 404 to all else; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it
            """Keep the tests' output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def check(port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "docker/healthcheck.py"],
        env={"FOVEAL_PORT": str(port), "http_proxy": "http://192.0.2.1:9", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_ready_service_is_healthy() -> None:
    with service_that_answers(200, b'{"status": "ready"}') as port:
        done = check(port)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_service_that_is_not_ready_is_unhealthy_and_the_reason_is_kept() -> None:
    with service_that_answers(503, b'{"reasons": ["lenet5 is warming up"]}') as port:
        done = check(port)

    assert done.returncode == 1
    assert "503" in done.stderr
    assert "lenet5 is warming up" in done.stderr


def test_a_service_that_does_not_answer_is_unhealthy() -> None:
    with service_that_answers(200, b"") as port:
        pass

    done = check(port)

    assert done.returncode == 1
    assert "no answer" in done.stderr


@pytest.mark.parametrize("mutual", [False, True])
def test_a_service_with_a_certificate_is_checked_by_https(
    repository: Path, tmp_path: Path, *, mutual: bool
) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("vision.example.org")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    made.cert_chain_pems[0].write_to_path(str(files["certificate"]))
    made.private_key_pem.write_to_path(str(files["key"]))
    settings: dict[str, Any] = {
        "ssl_certfile": files["certificate"],
        "ssl_keyfile": files["key"],
        **({"ssl_ca_certs": files["ca"]} if mutual else {}),
    }
    with serve(models=repository, **settings) as live:
        given = {f"FOVEAL_{name.upper()}": str(path) for name, path in settings.items()}
        done = check(live.address[1], **given)
        assert (done.returncode, done.stderr) == (0, "")
        assert check(live.address[1]).returncode == 1
