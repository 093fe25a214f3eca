"""The load generator against a real server of the standard library, which counts what it gets."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.gpu.client import UnreadableError, whole_answer
from benchmarks.gpu.load import Count, Load, run_clients, send, shares

BODY = bytes(range(256)) * 40


class Counting(ThreadingHTTPServer):
    """Counts requests, and answers as `answer` says: by the number of the request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, statuses: list[int], *, chunked: bool = False, hangs: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = statuses
        self.chunked = chunked
        self.hangs = hangs
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.requests = 0
        self.bodies: Counter[bytes] = Counter()
        self.answered: Counter[int] = Counter()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Counting)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            status = server.statuses[server.requests % len(server.statuses)]
            server.requests += 1
            server.bodies[body] += 1
            server.answered[status] += 1
        if server.hangs:
            server.over.wait()
        if status == 0:  # no answer at all
            self.close_connection = True
            return
        self.send_response(status)
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")
            return
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        pass


@contextmanager
def serving(*statuses: int, chunked: bool = False, hangs: bool = False) -> Iterator[Counting]:
    server = Counting(list(statuses), chunked=chunked, hangs=hangs)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def load(tmp_path: Path) -> Load:
    file = tmp_path / "image.jpg"
    file.write_bytes(BODY)
    return Load("127.0.0.1", 0, "/v1/classify", str(file), "image/jpeg", clients=4, seconds=10)


def counted(load: Load, server: Counting) -> Count:
    """Return what the clients of one process counted."""
    count = Count(load.seconds)
    found = asyncio.run(run_clients(replace(load, port=server.server_port)))
    count.add(found)
    return count


def test_several_processes_count_what_the_server_counts(load: Load) -> None:
    with serving(200) as server:
        count = send(replace(load, port=server.server_port, clients=5, most=37), processes=2)

    assert count.sent == server.requests
    # Requests are counted one by one, so a process sends exactly as many as it may.
    assert count.sent == 2 * 37
    assert count.statuses == {200: 74}
    assert len(count.latencies_ms) == 74
    assert server.bodies == {BODY: 74}, "every request has the whole body"
    assert (count.broken, count.refused, count.unanswered) == (0, 0, 0)


def test_the_time_ends_the_load_and_every_answer_that_is_due_is_waited_for(load: Load) -> None:
    with serving(200) as server:
        count = counted(replace(load, seconds=0.3), server)

    assert count.sent == server.requests > 0
    assert count.statuses == {200: count.sent}
    assert count.unanswered == 0


def test_other_statuses_are_counted_and_have_no_latency(load: Load) -> None:
    with serving(200, 503, 200, 429) as server:
        count = counted(replace(load, most=40), server)

    assert count.statuses == {200: 20, 503: 10, 429: 10}
    assert server.answered == count.statuses
    assert len(count.latencies_ms) == 20


def test_a_connection_that_ends_without_an_answer_is_broken_and_replaced(load: Load) -> None:
    with serving(200, 200, 200, 0) as server:
        count = counted(replace(load, most=40), server)

    assert count.sent == server.requests == 40
    assert count.statuses == {200: 30}
    assert count.broken == 10


def test_answers_that_never_come_are_unanswered(load: Load) -> None:
    with serving(200, hangs=True) as server:
        count = counted(replace(load, clients=3, seconds=0.1, grace_seconds=0.1), server)

    assert count.sent == count.unanswered == server.requests == 3
    assert count.statuses == {}


def test_chunked_answers_are_read(load: Load) -> None:
    with serving(200, chunked=True) as server:
        count = counted(replace(load, most=20), server)

    assert count.statuses == {200: 20}


def test_answers_before_the_warm_time_is_over_are_not_measured(load: Load) -> None:
    with serving(200) as server:
        count = counted(replace(load, warm_seconds=60, most=10), server)

    assert count.statuses == {200: 10}
    assert count.latencies_ms == []


def test_a_server_that_is_not_there_refuses_each_client_once(load: Load) -> None:
    with serving(200) as server:
        port = server.server_port
    found = asyncio.run(run_clients(replace(load, port=port, clients=3)))

    assert (found["refused"], found["sent"]) == (3, 0)


def test_a_summary_has_the_rate_and_the_percentiles() -> None:
    count = Count(2.0)
    for first in (1, 51):
        count.add(
            {
                "sent": 50,
                "statuses": {"200": 50},
                "broken": 1,
                "refused": 0,
                "unanswered": 2,
                "latencies_ms": [float(ms) for ms in range(first, first + 50)],
            }
        )

    found = count.summary()

    assert found["images_per_second"] == 50
    assert (found["p50_ms"], found["p99_ms"]) == (50, 99)
    assert found["statuses"] == {"200": 100}
    assert (found["sent"], found["broken"], found["unanswered"]) == (100, 2, 4)


@pytest.mark.parametrize(
    ("clients", "processes", "expected"),
    [(1, 1, [1]), (512, 4, [128] * 4), (5, 2, [3, 2]), (2, 8, [1, 1]), (7, 3, [3, 2, 2])],
)
def test_the_clients_are_shared_out(clients: int, processes: int, expected: list[int]) -> None:
    assert shares(clients, processes) == expected


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200),
    ],
)
def test_an_answer_is_whole_when_all_of_it_has_come(received: bytes, status: int | None) -> None:
    assert whole_answer(bytearray(received)) == status


@pytest.mark.parametrize(
    "received",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_refused(received: bytes) -> None:
    with pytest.raises(UnreadableError):
        whole_answer(bytearray(received))
