"""Many clients at once: each gets its own answer, batches form, those who leave strand nobody."""

import asyncio
import itertools
import socket
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.images import encode, photograph
from tests.live import Live, bundled, serve

pytestmark = pytest.mark.anyio
MODEL = "efficientnet-lite0"
CLIENTS = 64


def different_images(count: int) -> list[bytes]:
    """Cut as many different squares from real photographs."""
    sources = [
        Image.open(BytesIO(photograph(name)))
        for name in ("chelsea", "coffee", "rocket", "astronaut")
    ]
    random = np.random.default_rng(3)
    images = []
    for source in itertools.islice(itertools.cycle(sources), count):
        left, top = (int(random.integers(0, side - 200)) for side in source.size)
        images.append(encode(source.crop((left, top, left + 200, top + 200)), "JPEG", quality=90))
    return images


async def classify(http: httpx.AsyncClient, image: bytes) -> dict[int, float]:
    response = await http.post("/v1/classify?top_k=3", content=image)
    assert response.status_code == 200, response.text
    (result,) = response.json()["results"]
    return {one["class_id"]: one["probability"] for one in result["predictions"]}


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service that batches even where, on a CPU, that gains nothing."""
    models = bundled(tmp_path_factory.mktemp("batching"), MODEL)
    with serve(models=models, max_batch=8) as service:
        yield service


async def test_64_clients_at_once_get_their_own_answers_in_batches(batching: Live) -> None:
    live = batching
    images = different_images(CLIENTS)
    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=live.url, limits=limits, timeout=15) as http:
        alone = [await classify(http, image) for image in images]
        batches = live.sample("foveal_batch_size_count", model=MODEL)
        ones = live.sample("foveal_batch_size_bucket", model=MODEL, le="1.0")
        together = await asyncio.gather(*(classify(http, image) for image in images))
    for mine, there in zip(alone, together, strict=True):
        assert there == pytest.approx(mine, abs=1e-4)
    ran = live.sample("foveal_batch_size_count", model=MODEL) - batches
    assert ran < CLIENTS / 2, "the histogram must show that images traveled together"
    assert live.sample("foveal_batch_size_bucket", model=MODEL, le="1.0") - ones < ran / 2


async def test_clients_that_leave_strand_nobody(live: Live) -> None:
    images = different_images(24)
    abandoned = live.sample("foveal_images_total", model=MODEL, outcome="abandoned")
    async with httpx.AsyncClient(base_url=live.url, timeout=15) as http:
        expected = await classify(http, images[0])
        leaving = [send_and_keep(live.address, image) for image in images]
        staying = [asyncio.create_task(classify(http, images[0])) for _ in range(8)]
        await asyncio.sleep(0)
        for connection in leaving:
            hang_up(connection)
        for answer in await asyncio.gather(*staying):
            assert answer == pytest.approx(expected, abs=1e-4)
        assert live.services.engine.registry.versions(MODEL)[0].batcher.depth == 0
    assert live.sample("foveal_images_total", model=MODEL, outcome="abandoned") > abandoned


def send_and_keep(address: tuple[str, int], image: bytes) -> socket.socket:
    connection = socket.create_connection(address)
    head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(image)}\r\n\r\n"
    connection.sendall(head.encode() + image)
    return connection


def hang_up(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def test_a_queue_that_overflows_refuses_some_and_loses_none(tmp_path: Path) -> None:
    image = photograph("chelsea")
    models = bundled(tmp_path, MODEL)
    with serve(models=models, queue_size=4, max_batch=2) as service:
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(base_url=service.url, limits=limits, timeout=15) as http:
            answers = await asyncio.gather(
                *(http.post("/v1/classify", content=image) for _ in range(40))
            )
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 503}
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
        served = service.sample("foveal_images_total", model=MODEL, outcome="answered")
        assert served == statuses.count(200) + 1  # and the health check
