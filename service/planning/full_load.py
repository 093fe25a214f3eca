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
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from service.card import DATA_SUFFIX
from service.errors import ConfigurationError
from service.planning.sample_image import SampleImage
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
PROC = Path("/proc")
_URL = re.compile(r"https?://([^\s:]+):(\d+)")


@dataclass(frozen=True, slots=True)
class FullLoad:
    """What one process does at full load.

    Attributes:
        per_second: requests that it answers, as if the load generator had taken no core.
        loop: seconds of a core that its event loop takes for a request; None where the system does not state it.
        memory_bytes: the most that it has held; 0 where the system does not state it.
        foreign_cores: what other programs used meanwhile; None where that is unknown.
    """

    per_second: float
    loop: float | None
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
    with _serving(servable, environment) as (process, host, port):
        request = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Length: {len(image.content)}\r\n\r\n"
        ).encode() + image.content
        return asyncio.run(_load(process, host, port, request, clients=clients, seconds=seconds))


@contextmanager
def _serving(servable: Servable, environment: Mapping[str, str]) -> Iterator[tuple[int, str, int]]:
    """Give the process and the address of a service with this model alone, and end it with the block."""
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
            host, port = _address(process, log)
            reader.start()  # a full pipe would stop the service
            yield process.pid, host, port
        finally:
            _end(process)
            if reader.is_alive():
                reader.join()
            log.close()


def _is_setting(name: str) -> bool:
    return name.upper().startswith("FOVEAL_")


def _address(process: "subprocess.Popen[str]", log: IO[str]) -> tuple[str, int]:
    """Read the log up to the line with the service's address.

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
                return found[1], int(found[2])
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
    family = _family(process)
    count = _Count()
    connections = []
    for _ in range(clients):
        _, connection = await loop.create_connection(lambda: _Client(request, count), host, port)
        connections.append(connection)
    try:
        await _wait(count, WARM_SECONDS)
        before, began = _Usage.of(family), time.perf_counter()
        answers = count.answers
        await _wait(count, seconds)
        taken, used = time.perf_counter() - began, _Usage.of(family)
        answers = count.answers - answers
    finally:
        for connection in connections:
            connection.close()
    cores = granted_threads()
    left = max(0.1, 1 - (used.own - before.own) / taken / cores)
    return FullLoad(
        per_second=answers / taken / left,
        loop=None if used.loop is None else (used.loop - (before.loop or 0.0)) / answers,
        memory_bytes=sum(map(_peak_bytes, family)),
        foreign_cores=_foreign(before, used, taken),
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


@dataclass(frozen=True, slots=True)
class _Usage:
    """CPU seconds until now: of this process, of the service and its event loops' threads, of the whole machine."""

    own: float
    service: float | None
    loop: float | None
    machine: float | None

    @classmethod
    def of(cls, family: list[int]) -> "_Usage":
        return cls(
            time.process_time(),
            _seconds([PROC / str(pid) / "stat" for pid in family]),
            _seconds([PROC / str(pid) / "task" / str(pid) / "stat" for pid in family]),
            _machine_seconds(),
        )


def _family(process: int) -> list[int]:
    """Return a process and its children, which are the workers of a service with several."""
    try:
        text = (PROC / str(process) / "task" / str(process) / "children").read_text()
    except OSError:
        text = ""
    return [process, *map(int, text.split())]


def _seconds(files: list[Path]) -> float | None:
    found = [_thread_seconds(file) for file in files]
    return None if None in found else sum(one for one in found if one is not None)


def _thread_seconds(file: Path) -> float | None:
    """Return user and system time; None where the system has no such file."""
    try:
        fields = file.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _machine_seconds() -> float | None:
    """Return the CPU time of all programs; None where this process may use a part of the machine only."""
    try:
        lines = (PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    cores = sum(line.startswith("cpu") for line in lines) - 1
    if cores != granted_threads():
        return None
    user, nice, system, _, _, irq, soft = map(int, lines[0].split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _foreign(before: _Usage, after: _Usage, seconds: float) -> float | None:
    if before.machine is None or after.machine is None:
        return None
    if before.service is None or after.service is None:
        return None
    known = after.own - before.own + after.service - before.service
    return max(0.0, (after.machine - before.machine - known) / seconds)


def _peak_bytes(pid: int) -> int:
    try:
        text = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
