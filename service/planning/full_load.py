"""A service of one model in a process of its own, with its queue never empty: how many requests a second it answers."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from service.card import DATA_SUFFIX
from service.errors import ConfigurationError
from service.planning.sample_image import SampleImage
from service.planning.usage import Usage, family_of, foreign_cores, peak_bytes
from service.runtime.host import granted_threads
from service.runtime.repository import MODEL_FILE, Servable

COMMAND = (sys.executable, "-m", "service.cli", "serve", "--host", "127.0.0.1", "--port", "0")
START_SECONDS = 300.0
"""A device may compile."""
END_SECONDS = 20.0
WARM_SECONDS = 1.0
LOAD_SECONDS = 3.0
LEAST_ANSWERS = 10
PATIENCE_SECONDS = 120.0
"""How long the load goes on for so few answers."""
LAST_LINES = 6
"""Of the log of a service that did not start."""
_URL = re.compile(r"https?://([^\s:]+):(\d+)(?:.* on (\w+) \()?")


@dataclass(frozen=True, slots=True)
class FullLoad:
    """What one process does at full load.

    Attributes:
        per_second: requests that it answers, as if the load generator had taken no core.
        loop: seconds of a core that its event loop takes for a request; None where the system does not state it.
        cpu: seconds of a core that all of it takes for a request; None where the system does not state it.
        device: where its network runs.
        memory_bytes: the most that it has held; 0 where the system does not state it.
        foreign_cores: what other programs used meanwhile; None where that is unknown.
    """

    per_second: float
    loop: float | None
    cpu: float | None
    device: str
    memory_bytes: int
    foreign_cores: float | None


def measure_full_load(
    servable: Servable,
    image: SampleImage,
    path: str,
    environment: Mapping[str, str],
    *,
    clients: int,
    seconds: float = LOAD_SECONDS,
) -> FullLoad:
    """Start the service with one model, and send the image from so many clients that wait for each answer; blocking.

    Args:
        servable: the model.
        image: the body of each request.
        path: where it is sent, with the query.
        environment: `FOVEAL_…` of the service; none is taken from this process.
        clients: requests in flight.
        seconds: how long answers count.

    Raises:
        ConfigurationError: the service does not start, or does not answer the image.
    """
    with _serving(servable, environment) as (process, host, port, device):
        request = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Length: {len(image.content)}\r\n\r\n"
        ).encode() + image.content
        load = _load(process, host, port, request, clients=clients, seconds=seconds)
        return replace(asyncio.run(load), device=device)


@contextmanager
def _serving(
    servable: Servable, environment: Mapping[str, str]
) -> Iterator[tuple[int, str, int, str]]:
    """Give process, address and device of a service with this model alone, and end it with the block."""
    with TemporaryDirectory(prefix="foveal-plan-") as folder:
        version = Path(folder) / servable.name / str(servable.version)
        version.mkdir(parents=True)
        for ending in ("", DATA_SUFFIX):
            if (file := servable.path.with_name(servable.path.name + ending)).exists():
                (version / (MODEL_FILE + ending)).symlink_to(file.resolve())
        others = {name: text for name, text in os.environ.items() if not _is_setting(name)}
        process = subprocess.Popen(  # noqa: S603  # our own command
            COMMAND,
            env={
                **others,
                **environment,
                "FOVEAL_MODELS": folder,
                "FOVEAL_LOG_FORMAT": "json",
                "FOVEAL_GRACE_SECONDS": "0",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        log = process.stdout
        reader = threading.Thread(target=lambda: deque(log, maxlen=0), daemon=True)
        try:
            address = _address(process, log)
            reader.start()  # a full pipe would stop the service
            yield process.pid, *address
        finally:
            _end(process)
            if reader.is_alive():
                reader.join()
            log.close()


def _is_setting(name: str) -> bool:
    return name.upper().startswith("FOVEAL_")


def _address(process: "subprocess.Popen[str]", log: IO[str]) -> tuple[str, int, str]:
    """Read the log up to the line with the service's address, and return host, port and device.

    Raises:
        ConfigurationError: there is none.
    """
    late = threading.Timer(START_SECONDS, process.kill)
    late.start()
    lines = deque[str](maxlen=LAST_LINES)
    try:
        for line in log:
            lines.append(_message(line))
            if found := _URL.search(lines[-1]):
                return found[1], int(found[2]), found[3] or ""
    finally:
        late.cancel()
    raise ConfigurationError(
        f"The service to be measured did not start: {' '.join(lines) or 'it printed nothing'}"
    )


def _message(line: str) -> str:
    """Return the message of a line of the log, or the line itself where it is no JSON."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError):
        return line.strip()


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _load(
    process: int, host: str, port: int, request: bytes, *, clients: int, seconds: float
) -> FullLoad:
    loop = asyncio.get_running_loop()
    family = family_of(process)
    count = _Count()
    connections = []
    for _ in range(clients):
        _, connection = await loop.create_connection(lambda: _Client(request, count), host, port)
        connections.append(connection)
    try:
        await _wait(count, WARM_SECONDS)
        before, began = Usage.of(family), time.perf_counter()
        answers = count.answers
        await _wait(count, seconds)
        taken, used = time.perf_counter() - began, Usage.of(family)
        answers = count.answers - answers
    finally:
        for connection in connections:
            connection.close()
    cores = granted_threads()
    left = max(0.1, 1 - (used.own - before.own) / taken / cores)
    return FullLoad(
        per_second=answers / taken / left,
        loop=None if used.loop is None else (used.loop - (before.loop or 0.0)) / answers,
        cpu=None if used.service is None else (used.service - (before.service or 0.0)) / answers,
        device="",
        memory_bytes=sum(map(peak_bytes, family)),
        foreign_cores=foreign_cores(before, used, taken),
    )


async def _wait(count: "_Count", seconds: float) -> None:
    """Wait so long and for some answers.

    Raises:
        ConfigurationError: there was another answer than 200, or there were too few.
    """
    enough = count.answers + LEAST_ANSWERS
    until = time.perf_counter() + seconds
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(count.wrong.wait(), seconds)
    late = time.perf_counter() + PATIENCE_SECONDS
    while not count.wrong.is_set() and (count.answers < enough or time.perf_counter() < until):
        if time.perf_counter() > late:
            raise ConfigurationError(
                f"The measured service answered fewer than {LEAST_ANSWERS} images in {PATIENCE_SECONDS:g} s."
            )
        count.more.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(count.more.wait(), 1.0)
    if count.wrong.is_set():
        raise ConfigurationError(f"The measured service did not answer the image: {count.reason}")


class _Count:
    """What all clients got."""

    def __init__(self) -> None:
        self.answers = 0
        self.reason = ""
        self.more = asyncio.Event()
        self.wrong = asyncio.Event()


class _Client(asyncio.Protocol):
    """Sends a request, waits for its answer, and sends it again."""

    def __init__(self, request: bytes, count: _Count) -> None:
        self._request = request
        self._count = count
        self._received = b""
        self._closed = False
        self._transport: asyncio.Transport | None = None

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if not ended:
            return
        found = re.search(rb"\r\ncontent-length:\s*(\d+)", head, re.IGNORECASE)
        if len(body) < (int(found[1]) if found else 0):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._wrong((body or head).decode(errors="replace")[:300])
            return
        self._received = b""
        self._count.answers += 1
        self._count.more.set()
        assert self._transport is not None
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self._wrong(f"it closed the connection ({exc or 'without an answer'})")

    def _wrong(self, reason: str) -> None:
        self._count.reason = self._count.reason or reason
        self._count.wrong.set()
        self.close()
