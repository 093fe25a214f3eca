"""Large bodies from many clients, quick and slow: bounded in memory, in turn, and nobody waits for a slow link."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from service.api.body import LARGE_BYTES
from tests.live import Live, problem, serve
from tests.pictures import photograph

LARGE = photograph("rocket") + bytes(LARGE_BYTES)
"""A picture with much behind its end, which its decoder does not mind."""


@pytest.fixture(scope="module")
def narrow() -> Iterator[Live]:
    """A service with room for two large bodies and turns for two."""
    with serve(threads=2, max_held_bytes=2 * len(LARGE)) as live:
        yield live


def head_of(size: int, *headers: str) -> bytes:
    lines = ("POST /v1/classify HTTP/1.1", "Host: x", f"Content-Length: {size}", *headers, "", "")
    return "\r\n".join(lines).encode()


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    assert found, answer
    return int(found[1])


def test_many_at_once_are_all_answered_and_then_none_is_held(narrow: Live) -> None:
    most = 0.0
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.001):
            most = max(most, narrow.sample("foveal_held_body_bytes"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with httpx.Client(base_url=narrow.url, timeout=60) as http, ThreadPoolExecutor(24) as crowd:
        answers = list(crowd.map(lambda _: http.post("/v1/classify", content=LARGE), range(72)))
    over.set()
    watcher.join()
    assert {answer.status_code for answer in answers} == {200}
    assert len({str(answer.json()["results"]) for answer in answers}) == 1
    assert most > 0  # and how much at most, tests/service/api/test_intake.py knows
    assert narrow.sample("foveal_held_body_bytes") == 0
    assert narrow.sample("foveal_waiting_bodies") == 0


def test_clients_that_stall_hold_up_nobody_and_get_their_deadline(narrow: Live) -> None:
    stalled = [socket.create_connection(narrow.address, timeout=10) for _ in range(6)]
    began = time.monotonic()
    for connection in stalled:
        connection.sendall(head_of(len(LARGE), "X-Timeout-Ms: 3000") + LARGE[: len(LARGE) // 2])
    with httpx.Client(base_url=narrow.url, timeout=60) as http:
        assert http.post("/v1/classify", content=LARGE).status_code == 200
    assert time.monotonic() - began < 2.5
    for connection in stalled:
        with connection:
            answer = connection.recv(65536)
            assert status_of(answer) == 504
            assert b"The body was not there within 3000 ms" in answer
    assert narrow.sample("foveal_held_body_bytes") == 0


def test_a_small_body_that_never_ends_gets_its_deadline(narrow: Live) -> None:
    with socket.create_connection(narrow.address, timeout=10) as connection:
        connection.sendall(head_of(9000, "X-Timeout-Ms: 200") + bytes(4000))
        assert status_of(connection.recv(65536)) == 504


def test_a_client_that_leaves_gives_its_turn_on(narrow: Live) -> None:
    for _ in range(6):
        with socket.create_connection(narrow.address, timeout=10) as connection:
            connection.sendall(head_of(len(LARGE)) + LARGE[: len(LARGE) // 2])
    with httpx.Client(base_url=narrow.url, timeout=60) as http:
        assert http.post("/v1/classify", content=LARGE).status_code == 200
        refused = http.post("/v1/classify", content=bytes(len(LARGE)))
        assert problem(refused, 415, "unsupported_picture")
    assert narrow.sample("foveal_held_body_bytes") == 0
