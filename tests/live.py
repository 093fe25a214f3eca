"""The service on a real socket, as a thread of the test or as the process that users start."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.api.deps import Services
from service.app import create_app
from service.engine import Engine
from service.imaging.isolated.child import PROGRAM
from service.processes.server import Server, listen, url_of
from service.processes.worker import connection_limits, tls_of
from service.settings import Settings
from service.tasks.task import Task
from service.tasks.tasks import TASKS
from tests.samples import total

MODELS = Path(__file__).parents[1] / "models"


def bundled(folder: Path, *names: str) -> Path:
    """Return a folder of these bundled models alone: all of them take two seconds of a processor to load."""
    models = folder / "bundled"
    models.mkdir()
    for name in names:
        (models / name).symlink_to(MODELS / name)
    return models


@dataclass(frozen=True)
class Live:
    """A running service: where it listens, and the parts that it runs on."""

    url: str
    services: Services

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.split("//")[1].split(":")
        return host, int(port)

    def sample(self, name: str, **labels: str) -> float:
        return total(self.services.metrics.registry, name, **labels) or 0.0


@contextmanager
def serve(
    *, tasks: Mapping[str, Task] = TASKS, decoder_program: str = PROGRAM, **settings: object
) -> Iterator[Live]:
    """Run uvicorn with the app in a thread until the block ends; its models are loaded when the block begins."""
    loaded = threading.Event()
    chosen = Settings.model_validate({"models": MODELS, "port": 0, **settings})
    engine = Engine(
        chosen,
        tasks=tasks,
        on_loaded=loaded.set,
        decoder_program=decoder_program,
        environment=os.environ,
    )
    app = create_app(engine, chosen)
    listener = listen(chosen.host, chosen.port)
    limits = connection_limits(chosen)
    server = Server(
        app,
        grace_seconds=0,
        drain_seconds=10,
        limits=limits,
        tls=tls_of(chosen),
        trusted_proxies=chosen.trusted_proxies,
    )
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert loaded.wait(60), "the models did not load"
        yield Live(url_of(listener, "https" if chosen.ssl_certfile else "http"), app.services)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@dataclass
class Process:
    """`foveal serve` as users start it."""

    process: "subprocess.Popen[str]"
    url: str
    lines: list[dict[str, object]]
    reader: threading.Thread

    def logged(self, pattern: str) -> list[re.Match[str]]:
        """Return where the log's messages match, line by line."""
        messages = [str(line["message"]) for line in self.lines]
        return [found for message in messages if (found := re.search(pattern, message))]

    def wait_for_exit(self) -> int:
        code = self.process.wait(timeout=45)
        self.reader.join()
        return code


@contextmanager
def start(program: str = "service.cli", /, **settings: object) -> Iterator[Process]:
    """Start the process, read its log, and end it with the block.

    Args:
        program: the module that is run; it has a command `serve`.
        settings: of the service.
    """
    given = {f"FOVEAL_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {**os.environ, "FOVEAL_PORT": "0", "FOVEAL_MODELS": str(MODELS), **given}
    process = subprocess.Popen(
        [sys.executable, "-m", program, "serve"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    stdout = process.stdout
    lines = []
    for line in stdout:
        lines.append(json.loads(line))
        if found := re.search(r"Foveal at (https?://\S+)", str(lines[-1]["message"])):
            break
    else:
        raise AssertionError(f"no line names a URL: {lines}")
    reader = threading.Thread(target=lambda: lines.extend(json.loads(line) for line in stdout))
    reader.start()
    try:
        yield Process(process, found[1], lines, reader)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


def problem(response: httpx.Response, status: int, code: str) -> str:
    """Assert that the answer is this problem, and return its detail."""
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["title"]
    detail: str = body["detail"]
    return detail
