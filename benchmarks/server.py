"""Starts a server in its own process group on a free port, waits until it is ready, sends requests, ends it."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.usage import Tree

HOST = "127.0.0.1"
POLL_SECONDS = 0.05
START_SECONDS = 90.0
END_SECONDS = 8.0
ANSWER_SECONDS = 60.0


TIED = ("setpriv", "--pdeathsig", "TERM")
"""Of util-linux: the kernel ends a server whose benchmark was killed; it would disturb the next run."""


class StartError(Exception):
    """A server did not start; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  # any JSON
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    port: int
    tree: Tree
    ready_seconds: float
    """From the start of its process to its first answer with status 200."""

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.port}{path}"

    def ask(self, path: str, body: bytes | None = None, content_type: str = "") -> Response:
        return _ask(self.port, path, body, content_type)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def run_server(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    port: int,
    probe: tuple[str, bytes | None, str],
    log: Path,
    folder: Path | None = None,
    patience_seconds: float = START_SECONDS,
) -> Iterator[Server]:
    """Start a server, yield it when it answers `probe` (path, body, content type) with 200, and end it after the block.

    Raises:
        StartError: it ended before that, or took longer than `patience_seconds`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*(TIED if shutil.which(TIED[0]) else ()), *command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, probe, log, patience_seconds)
        yield Server(port, Tree(process.pid), time.perf_counter() - began)
    finally:
        _end(process)


def _wait_until_ready(
    process: "subprocess.Popen[bytes]",
    port: int,
    probe: tuple[str, bytes | None, str],
    log: Path,
    patience_seconds: float,
) -> None:
    until = time.perf_counter() + patience_seconds
    while time.perf_counter() < until:
        if process.poll() is not None:
            raise StartError(f"ended with {process.returncode}: {_end_of(log)}")
        try:
            if _ask(port, *probe).status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(POLL_SECONDS)
    raise StartError(f"not ready after {patience_seconds:g} s: {_end_of(log)}")


def _ask(port: int, path: str, body: bytes | None, content_type: str) -> Response:
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        headers = {"Content-Type": content_type} if content_type else {}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return Response(response.status, response.read())
    finally:
        connection.close()


def _end_of(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-4:])[-600:]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and its child processes."""
    family = Tree(process.pid).processes() if process.poll() is None else []
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.resume()  # it may be suspended
    if family:
        process.send_signal(signal.SIGINT)
    _, left = psutil.wait_procs(family, timeout=END_SECONDS)
    for one in left:
        one.kill()
    psutil.wait_procs(left, timeout=END_SECONDS)
    process.wait()
