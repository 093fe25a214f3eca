"""Models that are sent slowly, or many at once: what they hold is bounded, and nobody waits for them."""

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import httpx

from service.api.ingest.model_upload import DRAFT
from tests.hostile_networks import crashing
from tests.images import plain
from tests.keys import bearer, write_keys
from tests.live import Live, problem, serve, start
from tests.servables import write_servable

CHAOS = int(os.environ.get("CHAOS", "1"))
KEY = bearer("root")["Authorization"]
_VERSIONS = count(2)


@dataclass(frozen=True)
class Service:
    live: Live
    models: Path

    def drafts(self) -> list[Path]:
        return list(self.models.glob(f"{DRAFT}*"))

    def put(self, file: bytes) -> httpx.Response:
        path = f"/v1/models/colors/versions/{next(_VERSIONS)}"
        return httpx.put(
            f"{self.live.url}{path}", content=file, headers=bearer("root"), timeout=120
        )

    @contextlib.contextmanager
    def sending(self, *parts: bytes) -> Iterator[socket.socket]:
        """Announce a model of 10 MB, send so much of it, and leave with the block."""
        head = (
            f"PUT /v1/models/colors/versions/{next(_VERSIONS)} HTTP/1.1\r\nHost: x\r\nAuthorization: {KEY}\r\n"
            "Connection: close\r\nContent-Length: 10000000\r\n\r\n"
        )
        with socket.create_connection(self.live.address, timeout=30) as connection:
            connection.sendall(head.encode())
            for part in parts:
                connection.sendall(part)
            yield connection


@contextlib.contextmanager
def service_of(tmp_path: Path, **settings: Any) -> Iterator[Service]:
    models, keys = tmp_path / "models", write_keys(tmp_path / "keys.toml")
    write_servable(models)
    with serve(models=models, keys=keys, admin=True, **settings) as live:
        yield Service(live, models)


def servable_bytes(folder: Path) -> bytes:
    return write_servable(folder).read_bytes()


def until(true: Callable[[], object]) -> None:
    """Return when it is true; the test's time limit ends what never is."""
    while not true():
        time.sleep(0.01)


@contextlib.contextmanager
def trickling(connection: socket.socket) -> Iterator[None]:
    """Send a byte now and then while the block runs."""
    ended = Event()

    def trickle() -> None:
        with contextlib.suppress(ConnectionError):
            while not ended.wait(0.02):
                connection.sendall(b"x")

    with ThreadPoolExecutor(1) as thread:
        thread.submit(trickle)
        try:
            yield
        finally:
            ended.set()


def test_a_model_that_comes_byte_by_byte_is_given_up_and_nothing_of_it_stays(
    tmp_path: Path,
) -> None:
    with (
        service_of(tmp_path, timeout_ms=500, min_bytes_per_second=10_000) as service,
        service.sending(b"half a model") as connection,
    ):
        with trickling(connection):
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b'"code":"deadline_exceeded"' in answer
        assert b"fewer than 10000 bytes per second" in answer
        until(lambda: not service.drafts())
        assert [path.name for path in (service.models / "colors").iterdir()] == ["1"]


def test_a_model_above_the_least_rate_holds_its_place_no_longer_than_it_may(tmp_path: Path) -> None:
    with (
        service_of(
            tmp_path, max_uploads=1, max_upload_seconds=0.5, min_bytes_per_second=1
        ) as service,
        service.sending(b"half a model") as connection,
    ):
        with trickling(connection):
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b'"code":"deadline_exceeded"' in answer
        assert b"FOVEAL_MAX_UPLOAD_SECONDS" in answer
        until(lambda: not service.drafts())
        assert [path.name for path in (service.models / "colors").iterdir()] == ["1"]


def test_as_many_models_arrive_at_once_as_may_and_one_more_is_told_to_wait(tmp_path: Path) -> None:
    file = servable_bytes(tmp_path / "made")
    with service_of(tmp_path, max_uploads=2) as service:
        with service.sending(b"half a model"):
            until(lambda: len(service.drafts()) == 1)
            with service.sending():
                assert service.put(file).status_code == 200, "one is announced only"
            with service.sending(b"another half"):
                until(lambda: len(service.drafts()) == 2)
                refused = service.put(file)
                assert "2 models are arriving already" in problem(refused, 503, "overloaded")
                assert refused.headers["retry-after"]
        until(lambda: not service.drafts())
        assert service.put(file).status_code == 200


def test_images_are_answered_while_many_models_are_sent(tmp_path: Path) -> None:
    file = servable_bytes(tmp_path / "made") + bytes(2**20)
    with service_of(tmp_path) as service, ThreadPoolExecutor(8) as clients:
        sent = [clients.submit(service.put, file) for _ in range(16 * CHAOS)]
        while not all(one.done() for one in sent):
            image = httpx.post(
                f"{service.live.url}/v1/classify?model=colors:1",
                content=plain("red"),
                headers=bearer("ada"),
                timeout=30,
            )
            assert image.status_code == 200
        assert {one.result().status_code for one in sent} <= {422, 503}
        assert not service.drafts()
        assert [path.name for path in (service.models / "colors").iterdir()] == ["1"]


def test_a_model_that_ends_its_process_is_sent_once_and_not_loaded_at_each_start(
    tmp_path: Path,
) -> None:
    url = "/v1/models/ending/versions/1"
    models, keys = (
        tmp_path / "models",
        write_keys(tmp_path / "keys.toml", {"all": ["infer", "admin"]}),
    )
    good = write_servable(models).read_bytes()
    ending = write_servable(tmp_path / "beside", model=crashing()).read_bytes()
    settings = {"models": models, "keys": keys, "admin": "true"}
    with start(**settings) as service:
        with contextlib.suppress(httpx.TransportError):
            httpx.put(f"{service.url}{url}", content=ending, headers=bearer("all"), timeout=60)
        service.process.wait()
    with (
        start(**settings) as service,
        httpx.Client(base_url=service.url, headers=bearer("all"), timeout=60) as client,
    ):
        assert client.get("/health/ready").status_code == 200
        assert client.post("/v1/classify?model=colors", content=plain("red")).status_code == 200
        (refused,) = service.logged(r"refused: (.*)")
        assert re.search(r"ending/1/model\.onnx: .* ended while it was loaded", refused[1])
        detail = problem(client.put(url), 422, "refused_model")
        assert "Send it again" in detail
        sent = client.put(url, content=good)
        assert sent.status_code == 200, sent.text
        answer = client.post("/v1/classify?model=ending", content=plain("red"))
        assert answer.status_code == 200
        assert [one.name for one in (models / "ending/1").iterdir()] == ["model.onnx"]
