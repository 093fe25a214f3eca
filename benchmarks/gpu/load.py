"""The load generator: asyncio clients in several processes, each of which counts exactly what it sent and got.

A process is `python -m benchmarks.gpu.load`: it reads a `Load` as JSON, prints `ready`, begins at the line `go`, and
prints what it counted.
"""

import asyncio
import contextlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.client import Connection, Course, Record, clock
from benchmarks.gpu.percentiles import percentile

CLIENTS_A_PROCESS = 128
GRACE_SECONDS = 10.0
"""How long clients wait for answers that are due when the time is over."""
START_SECONDS = 5.0


class LoadError(Exception):
    """A process of the load generator ended without a count."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent.

    Attributes:
        host: the server's address.
        port: its port.
        path: with the query.
        body: the file with the body of each request.
        content_type: of the body.
        clients: connections, each with one request at a time.
        seconds: how long answers count.
        warm_seconds: how long requests are sent before that.
        most: requests that the clients of one process send together at most; None: any number.
        grace_seconds: how long answers are waited for afterwards.
    """

    host: str
    port: int
    path: str
    body: str
    content_type: str
    clients: int
    seconds: float
    warm_seconds: float = 0.0
    most: int | None = None
    grace_seconds: float = GRACE_SECONDS

    def request(self) -> bytes:
        content = Path(self.body).read_bytes()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Content-Type: {self.content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


@dataclass(slots=True)
class Count:
    """What all clients counted.

    Attributes:
        seconds: how long answers counted.
        sent: requests, with those before and after that time.
        statuses: answers by status, likewise.
        broken: requests whose connection ended before the answer, likewise.
        refused: connections that could not be opened.
        unanswered: requests without an answer in the end.
        latencies_ms: of each answer with status 2xx that came in the time that counts.
    """

    seconds: float
    sent: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    broken: int = 0
    refused: int = 0
    unanswered: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def add(self, found: dict[str, Any]) -> None:
        """Add the count of one process, as JSON has it."""
        for name in ("sent", "broken", "refused", "unanswered"):
            setattr(self, name, getattr(self, name) + found[name])
        for status, count in found["statuses"].items():
            self.statuses[int(status)] = self.statuses.get(int(status), 0) + count
        self.latencies_ms += found["latencies_ms"]

    def summary(self) -> dict[str, Any]:
        """Return the figures of a page."""
        return {
            "images_per_second": round(len(self.latencies_ms) / self.seconds, 2),
            "p50_ms": percentile(self.latencies_ms, 0.5),
            "p99_ms": percentile(self.latencies_ms, 0.99),
            "sent": self.sent,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "broken": self.broken,
            "refused": self.refused,
            "unanswered": self.unanswered,
        }


def shares(clients: int, processes: int) -> list[int]:
    """Return how many clients each process has; none has more than one more than another, and none has none."""
    processes = max(1, min(clients, processes))
    return [clients // processes + (index < clients % processes) for index in range(processes)]


def send(load: Load, processes: int | None = None) -> Count:
    """Send requests from several processes at once, and return what they counted; blocking.

    Args:
        load: what is sent.
        processes: how many; None: one for each 128 clients.

    Raises:
        LoadError: a process failed.
    """
    count = Count(load.seconds)
    parts = shares(load.clients, processes or -(-load.clients // CLIENTS_A_PROCESS))
    patience = load.warm_seconds + load.seconds + load.grace_seconds + START_SECONDS
    with ExitStack() as stack:
        running = [stack.enter_context(_started(replace(load, clients=part))) for part in parts]
        for one in running:
            _expect(one, "ready")
        for one in running:
            _tell(one, "go")
        for one in running:
            out, _ = one.communicate(timeout=patience)
            if one.returncode:
                raise LoadError(f"a process of the load generator ended with {one.returncode}")
            count.add(json.loads(out))
    return count


@contextlib.contextmanager
def _started(load: Load) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        _tell(process, json.dumps(asdict(load)))
        yield process
    finally:
        process.kill()
        process.communicate()


def _tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _expect(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != line:
        raise LoadError("a process of the load generator did not start")


async def run_clients(load: Load) -> dict[str, Any]:
    """Run the clients of one process, and return what they counted as plain values of JSON."""
    loop, record, request = asyncio.get_running_loop(), Record(), load.request()
    begin = clock() + load.warm_seconds
    end = begin + load.seconds
    course = Course(end, load.most)
    open_ones: set[Connection] = set()

    async def client() -> None:
        while course.goes_on(clock(), record.sent):
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(request, record, course), load.host, load.port
                )
            except OSError:
                record.refused += 1
                return
            open_ones.add(connection)
            await connection.over
            open_ones.discard(connection)

    clients = [asyncio.ensure_future(client()) for _ in range(load.clients)]
    await asyncio.wait(clients, timeout=end + load.grace_seconds - clock())
    for connection in tuple(open_ones):
        connection.abandon()
    await asyncio.gather(*clients)
    return {
        "sent": record.sent,
        "statuses": record.statuses,
        "broken": record.broken,
        "refused": record.refused,
        "unanswered": record.unanswered,
        "latencies_ms": [
            round(taken * 1e3, 3) for at, taken in record.answers if begin <= at <= end
        ],
    }


def main() -> None:
    """Run the clients that the first line of standard input describes."""
    load = Load(**json.loads(sys.stdin.readline()))
    print("ready", flush=True)
    sys.stdin.readline()
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        print(json.dumps(runner.run(run_clients(load))), flush=True)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop where it is installed."""
    try:
        made: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
            "uvloop"
        ).new_event_loop
    except ImportError:
        return None
    return made


if __name__ == "__main__":
    main()
