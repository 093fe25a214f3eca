"""Clients that send or read slowly, never or too much: each costs little, gets its answer, and harms nobody else."""

import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from service.api.ingest.body import LARGE_BYTES
from service.processes.transport import LINGER_BYTES
from tests.clips import counting
from tests.full_table import most_files
from tests.images import photograph, plain
from tests.live import Live, problem, serve, start
from tests.servables import write_servable

MIB = 2**20
CHAOS = int(os.environ.get("CHAOS", "1"))
"""How many times as many clients, requests and rounds; `make chaos` sets it."""
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def head_of(size: int, *headers: str, path: str = "/v1/classify") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {size}", *headers, "", "")
    return "\r\n".join(lines).encode()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    return root


@pytest.fixture(scope="module")
def live(models: Path) -> Iterator[Live]:
    """A service with small limits."""
    with serve(
        models=models,
        threads=2,
        max_body_bytes=MIB,
        max_unfinished_bytes=4 * MIB,
        timeout_ms=1000,
        max_timeout_ms=20_000,
        write_timeout_ms=300,
    ) as service:
        yield service


@contextmanager
def connected(live: Live, *sent: bytes, count: int = 1) -> Iterator[list[socket.socket]]:
    """Yield connections on each of which so much is sent."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_connection(live.address, timeout=20))
            for _ in range(count)
        ]
        for one in made:
            for part in sent:
                one.sendall(part)
        yield made


def answer_of(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """Return the status and the JSON of the one answer that comes before the connection is closed."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            received += data
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def eventually(live: Live, name: str, value: float) -> None:
    latest = time.monotonic() + 10
    while live.sample(name) != value:
        assert time.monotonic() < latest, (name, live.sample(name))
        time.sleep(0.01)


def classify(live: Live, body: bytes) -> httpx.Response:
    """Send an image that has more time than a busy machine needs."""
    allowed = {"X-Timeout-Ms": "10000"}
    return httpx.post(f"{live.url}/v1/classify", content=body, headers=allowed, timeout=20)


# Bodies that do not come.


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/video?task=classify"])
@pytest.mark.parametrize("size", [1000, MIB])
@pytest.mark.parametrize("begun", [b"", b"{"])
def test_a_body_that_never_comes_gets_its_deadline(
    live: Live, path: str, size: int, begun: bytes
) -> None:
    close = ("X-Timeout-Ms: 200", "Connection: close")
    with connected(live, head_of(size, *close, path=path) + begun) as (one,):
        status, problem = answer_of(one)
    assert (status, problem["code"]) == (504, "deadline_exceeded")


def test_the_operator_caps_the_deadline_of_a_client(models: Path) -> None:
    hour = ("X-Timeout-Ms: 3600000", "Connection: close")
    with (
        serve(models=models, timeout_ms=200, max_timeout_ms=400) as live,
        connected(live, head_of(1000, *hour) + b"x") as (one,),
    ):
        assert "within 400 ms" in str(answer_of(one)[1]["detail"])


def test_a_video_that_does_not_come_gets_the_default_deadline(models: Path) -> None:
    with serve(models=models, timeout_ms=200) as live:
        for begun in (b"", b"\0\0\0\x20ftyp"):
            sent = head_of(10**8, "Connection: close", path="/v1/video?task=classify") + begun
            with connected(live, sent) as (one,):
                status, problem = answer_of(one)
            assert (status, problem["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("begun", [b"", b"\xff", bytes(4000)])
def test_announcements_without_bytes_get_no_real_image_refused(live: Live, begun: bytes) -> None:
    large = photograph("rocket") + bytes(LARGE_BYTES)
    for_longer = head_of(MIB, "X-Timeout-Ms: 20000")
    with connected(live, for_longer + begun, count=300 * CHAOS):
        answers = [classify(live, body).status_code for body in (large, plain("red")) * 3]
    assert answers == [200] * 6


def test_half_sent_bodies_hold_no_more_than_is_allowed_together(live: Live) -> None:
    half = head_of(MIB, "Connection: close") + bytes(MIB - 1)
    with connected(live, half, count=20 * CHAOS) as silent:
        assert live.sample("foveal_unfinished_body_bytes") <= 4 * MIB
        large = photograph("rocket") + bytes(LARGE_BYTES)
        assert classify(live, large).status_code == 200
        answers = [answer_of(one) for one in silent]
    codes = {str(problem["code"]) for _, problem in answers}
    assert codes == {"overloaded", "deadline_exceeded"}
    eventually(live, "foveal_unfinished_body_bytes", 0)


@pytest.mark.parametrize("begins", ["like a video", "as a video"])
def test_videos_that_do_not_come_keep_no_other_from_its_place(models: Path, begins: str) -> None:
    clip = counting(30)
    begun = clip[: len(clip) // 2] if begins == "as a video" else b"\0\0\0\x20ftyp"
    with (
        serve(models=models, max_fan_outs=2) as live,
        connected(live, head_of(10**8, path="/v1/video?task=classify") + begun, count=6 * CHAOS),
    ):
        url = f"{live.url}/v1/video?task=classify"
        latest = time.monotonic() + 10
        response = httpx.post(url, content=counting(10), timeout=20)
        while response.status_code == 503:
            assert time.monotonic() < latest
            response = httpx.post(url, content=counting(10), timeout=20)
        assert response.status_code == 200


# Answers before the end of a body.


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/classify", 413), ("/v1/nothing", 404), ("/v1/classify?model=x", 404)]
)
@pytest.mark.parametrize("frame", ["announced", "chunked"])
def test_a_refusal_reaches_a_client_that_still_sends(
    live: Live, path: str, status: int, frame: str
) -> None:
    size = 12 * MIB
    if frame == "announced":
        sent = head_of(size, "Connection: close", path=path) + bytes(size)
    else:
        head = head_of(0, "Connection: close", path=path)
        chunks = b"".join(b"%x\r\n%s\r\n" % (MIB, bytes(MIB)) for _ in range(12))
        sent = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + chunks
    with socket.create_connection(live.address, timeout=20) as connection:
        connection.sendall(sent)  # all of it, before a byte is read
        assert answer_of(connection)[0] == status


def test_a_connection_is_used_again_after_a_body_that_was_answered_early(live: Live) -> None:
    with httpx.Client(base_url=live.url, timeout=20) as http:
        for _ in range(3):
            problem(http.post("/v1/nothing", content=bytes(900_000)), 404, "not_found")
            assert http.get("/health/live").status_code == 200


def test_a_body_that_goes_on_after_its_answer_is_read_up_to_a_limit(live: Live) -> None:
    chunk = b"%x\r\n%s\r\n" % (MIB, bytes(MIB))
    head = head_of(0, path="/v1/nothing").replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    sent = 0
    with (
        socket.create_connection(live.address, timeout=20) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(head)
        while sent < 10 * LINGER_BYTES:
            connection.sendall(chunk)
            sent += MIB
    assert sent < 3 * LINGER_BYTES  # what the kernel's buffers hold comes on top


def test_a_client_that_never_reads_does_not_hold_its_connection(live: Live) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(live.address)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
        assert was_reset(connection)


def was_reset(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(10_000))


@pytest.mark.parametrize("pipelined", [1, 3])
def test_a_client_that_has_ended_its_side_gets_its_answers(live: Live, pipelined: int) -> None:
    body = plain("red")
    with connected(live, (head_of(len(body)) + body) * pipelined) as (one,):
        one.shutdown(socket.SHUT_WR)
        received = b""
        while data := one.recv(65536):
            received += data
    assert received.count(b"HTTP/1.1 200 OK") == pipelined
    assert received.count(b'"results"') == pipelined


# Connections.


def test_so_many_connections_are_open_and_one_more_is_refused(models: Path) -> None:
    with serve(models=models, max_connections=20) as live:
        begun = head_of(1000) + b"x"
        with connected(live, begun, count=20):
            with connected(live, GET) as (more,):
                status, problem = answer_of(more)
            assert (status, problem["code"]) == (503, "overloaded")
        eventually(live, "foveal_requests_in_flight", 0)
        assert httpx.get(f"{live.url}/health/live").status_code == 200


def test_of_connections_that_come_in_the_same_moment_the_last_is_refused_too(models: Path) -> None:
    with start(models=models, max_connections=20, log_format="json") as service:
        host, port = service.url.removeprefix("http://").split(":")
        os.kill(service.process.pid, signal.SIGSTOP)
        with ExitStack() as stack:
            made = [
                stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
                for _ in range(21)
            ]
            for one in made:
                one.sendall(head_of(1000))
            os.kill(service.process.pid, signal.SIGCONT)
            status, problem = answer_of(made[-1])
        assert (status, problem["code"]) == (503, "overloaded")


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_full_table_of_file_descriptors_is_logged_and_counted_and_ends(tmp_path: Path) -> None:
    with start(models=tmp_path, max_connections=1000, log_format="json") as service:
        host, port = service.url.removeprefix("http://").split(":")
        with httpx.Client(base_url=service.url, timeout=20) as first:
            assert first.get("/health/live").status_code == 200
            used = len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
            limits = (used + 8, used + 8)
            resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, limits)
            with ExitStack() as stack:
                for _ in range(30):
                    stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
                assert first.get("/health/live").status_code == 200
                metric = r"foveal_accept_errors_total (\d+)"
                latest = time.monotonic() + 10
                while True:
                    found = re.search(metric, first.get("/metrics").text)
                    if found and int(found[1]) >= 2:
                        break
                    assert time.monotonic() < latest
                # One that nobody uses gives way to a client that comes.
                assert httpx.get(f"{service.url}/health/live", timeout=20).status_code == 200
            assert len(service.logged("Can not accept connections")) == 1
        assert httpx.get(f"{service.url}/health/live", timeout=20).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of open files")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_burst_of_connections_leaves_files_to_those_who_come(models: Path, workers: int) -> None:
    """Those that had just been accepted and those that left were not counted: nobody was accepted for seconds."""
    with ExitStack() as stack:
        with most_files(200):
            service = stack.enter_context(
                start(models=models, workers=workers, log_format="json", watch="false")
            )
        host, port = service.url.removeprefix("http://").split(":")
        for _ in range(2 * CHAOS):
            with ExitStack() as burst:
                for _ in range(400 * workers):
                    one = burst.enter_context(socket.socket())
                    one.settimeout(0)
                    one.connect_ex((host, int(port)))
                latest = time.monotonic() + 40
                while httpx.get(f"{service.url}/health/live", timeout=20).status_code != 200:
                    assert time.monotonic() < latest, "connections that nobody uses do not give way"
        assert "foveal_accept_errors_total 0.0" in httpx.get(f"{service.url}/metrics").text
        assert not service.logged("Can not accept connections")


def test_a_flood_of_connections_that_leave_is_forgotten(live: Live) -> None:
    body = plain("red")

    def leave(_: int) -> None:
        with connected(live, head_of(len(body)) + body):
            pass

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(leave, range(200 * CHAOS)))
    eventually(live, "foveal_requests_in_flight", 0)
    assert threading.active_count() < 100


# Small bodies of many pixels.

HUGE = bytes.fromhex("524946461e000000574542505650384c110000002f3fdfcf0707508fe255a1ff8188e87f0000")
"""A WebP of 8000 × 8000 pixels."""


def test_many_pixels_in_few_bytes_are_refused_before_they_are_decoded(models: Path) -> None:
    assert len(HUGE) == 38
    with serve(models=models) as live:
        files = [("file", (f"{number}.webp", HUGE)) for number in range(64)]
        refused = httpx.post(f"{live.url}/v1/classify", files=files, timeout=20)
        assert "4096 million pixels" in problem(refused, 413, "too_many_pixels")


def test_huge_images_leave_threads_to_others_and_end_with_their_deadline(models: Path) -> None:
    files = [("file", (f"{number}.webp", HUGE)) for number in range(4)]
    hurry = {"X-Timeout-Ms": "500"}

    def attack(live: Live) -> int:
        return httpx.post(
            f"{live.url}/v1/classify", files=files, headers=hurry, timeout=20
        ).status_code

    with serve(models=models, threads=2) as live, ThreadPoolExecutor(6) as clients:
        attacks = [clients.submit(attack, live) for _ in range(6 * CHAOS)]
        answers = 0
        while not all(one.done() for one in attacks):
            assert classify(live, plain("red")).status_code == 200
            answers += 1
        assert {one.result() for one in attacks} == {504}
        assert answers >= 2


# More requests than a queue takes.


def test_what_a_full_queue_refuses_is_answered_and_counted_like_any_other(models: Path) -> None:
    body = plain("red", (900, 900))
    head = head_of(len(body), "X-Request-ID: number-%d")
    ids: list[str] = []
    statuses: list[int] = []

    def flood(number: int) -> None:
        with connected(busy) as (one,):
            for turn in range(20 * CHAOS):
                given = (
                    b"X-Request-ID: number-%d" % (10_000 * number + turn) if turn % 2 else b"X: y"
                )
                one.sendall(head.replace(b"X-Request-ID: number-%d", given) + body)
                status, headers, problem = one_answer(one)
                statuses.append(status)
                ids.append(headers["x-request-id"])
                if turn % 2:
                    assert given.endswith(headers["x-request-id"].encode())
                if status == 503:
                    assert headers["retry-after"] == "1"
                    assert headers["content-type"] == "application/problem+json"
                    assert (problem["code"], problem["request_id"]) == ("overloaded", ids[-1])

    with serve(models=models, queue_size=2, threads=1) as busy, ThreadPoolExecutor(24) as clients:
        list(clients.map(flood, range(24)))
        assert set(statuses) == {200, 503}
        assert len(set(ids)) == len(ids) == 480 * CHAOS
        labels = {"route": "/v1/classify", "model": "colors"}
        latest = time.monotonic() + 10
        for status in (200, 503):
            while busy.sample(
                "foveal_requests_total", **labels, status=str(status)
            ) != statuses.count(status):
                assert time.monotonic() < latest
                time.sleep(0.01)
        assert classify(busy, body).status_code == 200


def one_answer(connection: socket.socket) -> tuple[int, dict[str, str], dict[str, object]]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, json.loads(body)
