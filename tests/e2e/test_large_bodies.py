"""Large bodies from many clients, fast and slow: bounded in memory, in turn, and no client waits for a slow one."""

import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image

from service.api.ingest.body import LARGE_BYTES
from tests.images import encode, photograph
from tests.live import Live, problem, serve

HELD, WAITING = "foveal_held_body_bytes", "foveal_waiting_bodies"
LARGE = photograph("rocket") + bytes(LARGE_BYTES)
"""An image with many bytes after its end, which its decoder ignores."""


@pytest.fixture(scope="module")
def narrow() -> Iterator[Live]:
    """A service with room for two large bodies and turns for two."""
    with serve(threads=2, max_held_bytes=2 * len(LARGE)) as live:
        yield live


def noise(width: int, height: int) -> bytes:
    """Return a PNG that can not be compressed, so that an answer that shows it is large too."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return encode(Image.fromarray(pixels), "PNG")


def detected(live: Live) -> float:
    labels = {"model": "ssdlite-mobilenet-v2", "outcome": "answered"}
    return live.sample("foveal_images_total", **labels)


def wait_for(holds: Callable[[], bool]) -> None:
    latest = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < latest, "it did not happen within 30 s"
        time.sleep(0.01)


def head_of(size: int, *headers: str, path: str = "/v1/classify") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {size}", *headers, "", "")
    return "\r\n".join(lines).encode()


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    assert found, answer
    return int(found[1])


@contextmanager
def watching(live: Live) -> Iterator[dict[str, float]]:
    """Yield the largest value of each gauge while the block runs, by the gauge's name."""
    most = {HELD: 0.0, WAITING: 0.0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.001):
            most.update({name: max(most[name], live.sample(name)) for name in most})

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def test_many_at_once_wait_for_their_turn_and_all_are_answered(narrow: Live) -> None:
    with (
        watching(narrow) as most,
        httpx.Client(base_url=narrow.url, timeout=60) as http,
        ThreadPoolExecutor(24) as clients,
    ):
        answers = list(clients.map(lambda _: http.post("/v1/classify", content=LARGE), range(72)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({str(answer.json()["results"]) for answer in answers}) == 1
    assert most[HELD] > 0  # tests/service/api/ingest/test_admission.py tests the most that is held
    assert most[WAITING] > 0
    assert (narrow.sample(HELD), narrow.sample(WAITING)) == (0, 0)


def test_an_explanation_does_not_keep_other_bodies_waiting(narrow: Live) -> None:
    with watching(narrow) as most, httpx.Client(base_url=narrow.url, timeout=60) as http:
        assert http.post("/v1/explain?view=cam", content=LARGE).status_code == 200
    assert most[HELD] == 0


def test_a_client_that_does_not_read_its_answers_does_not_keep_other_bodies_waiting(
    narrow: Live,
) -> None:
    body = noise(1600, 1600)
    sent = head_of(len(body), "Accept: image/png", path="/v1/detect") + body
    before = detected(narrow)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(narrow.address)
        connection.sendall(sent * 2)  # the second answer waits behind the first
        wait_for(lambda: detected(narrow) == before + 2)
        wait_for(lambda: narrow.sample(HELD) == 0)
        assert narrow.sample("foveal_requests_in_flight") == 1


def test_clients_that_stall_delay_no_other_client_and_get_their_deadline(narrow: Live) -> None:
    stalled = [socket.create_connection(narrow.address, timeout=10) for _ in range(6)]
    for connection in stalled:
        connection.sendall(head_of(len(LARGE), "X-Timeout-Ms: 3000") + LARGE[: len(LARGE) // 2])
    with httpx.Client(base_url=narrow.url, timeout=60) as http:
        assert http.post("/v1/classify", content=LARGE).status_code == 200
    assert not select.select(stalled, [], [], 0)[0], "it was answered after them"
    for connection in stalled:
        with connection:
            answer = connection.recv(65536)
            assert status_of(answer) == 504
            assert b"The body did not arrive within 3000 ms" in answer
    assert narrow.sample(HELD) == 0


def test_a_small_body_that_never_ends_gets_its_deadline(narrow: Live) -> None:
    with socket.create_connection(narrow.address, timeout=10) as connection:
        connection.sendall(head_of(9000, "X-Timeout-Ms: 200") + bytes(4000))
        assert status_of(connection.recv(65536)) == 504


def test_the_deadline_of_a_body_counts_from_the_head(narrow: Live) -> None:
    body = LARGE[:9000]
    with socket.create_connection(narrow.address, timeout=10) as connection:
        for piece in (head_of(len(body), "X-Timeout-Ms: 300"), body[:4000], body[4000:]):
            connection.sendall(piece)
            time.sleep(0.2)
        answer = connection.recv(65536)
    assert status_of(answer) == 504
    assert b"The body did not arrive within 300 ms" in answer


def test_a_client_that_leaves_frees_its_turn(narrow: Live) -> None:
    for _ in range(6):
        with socket.create_connection(narrow.address, timeout=10) as connection:
            connection.sendall(head_of(len(LARGE)) + LARGE[: len(LARGE) // 2])
    with httpx.Client(base_url=narrow.url, timeout=60) as http:
        assert http.post("/v1/classify", content=LARGE).status_code == 200
        refused = http.post("/v1/classify", content=bytes(len(LARGE)))
        assert problem(refused, 415, "unsupported_image")
    assert narrow.sample(HELD) == 0
