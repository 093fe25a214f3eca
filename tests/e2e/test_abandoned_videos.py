"""However a video ends, nothing of it stays, not even until the garbage collector runs: it is off here."""

import gc
import io
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import av
import httpx
import numpy as np
import pytest
from av.video.frame import VideoFrame
from httpx import codes
from PIL import Image

from service.api.ingest.growing_file import GrowingFile
from service.imaging.source_image import SourceImage
from service.video.frame import Frame
from service.video.reader import Clip
from tests.clips import encode_clip
from tests.live import Live, serve
from tests.servables import write_servable

SIZE = (700, 500)
FRAMES = 24
KINDS = (VideoFrame, Frame, Clip, GrowingFile, SourceImage, Image.Image, np.ndarray)


@pytest.fixture(scope="module")
def video() -> bytes:
    """Return frames of noise, so that reading takes longer than a client needs to leave."""
    noise = np.random.default_rng(5).integers(0, 256, (FRAMES, SIZE[1], SIZE[0], 3))
    return encode_clip(
        noise.astype(np.uint8), form="avi", codec="mjpeg", pixel_format="yuvj420p"
    )  # fmt: skip


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    with serve(models=root, threads=1) as live:
        yield live


@pytest.fixture
def no_collector(service: Live) -> Iterator[Live]:
    """The service without the garbage collector, which runs once before and once after."""
    gc.collect()
    gc.disable()
    yield service
    gc.enable()
    gc.collect()


def of_the_video() -> Counter[str]:
    """Count the objects that hold a video or a frame of its size."""
    found = Counter[str]()
    for one in gc.get_objects():
        # Asking an object for its class may run code of its own.
        if not issubclass(type(one), KINDS):
            continue
        if isinstance(one, VideoFrame) and (one.width, one.height) != SIZE:
            continue
        if isinstance(one, Image.Image) and one.size != SIZE:
            continue
        if isinstance(one, np.ndarray) and one.shape[:2] != SIZE[::-1]:
            continue
        found[type(one).__name__] += 1
    return found


def wait_until(happened: Callable[[], object]) -> None:
    patience = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < patience
        threading.Event().wait(0.01)


def ask(live: Live, body: bytes, *headers: str, query: str = "every_n=1") -> socket.socket:
    connection = socket.create_connection(live.address, timeout=10)
    lines = [
        f"POST /v1/video?{query} HTTP/1.1", "Host: x", "Accept: application/x-ndjson",
        *headers, f"Content-Length: {len(body)}", "", "",
    ]  # fmt: skip
    connection.sendall("\r\n".join(lines).encode() + body)
    return connection


def read_until(connection: socket.socket, mark: bytes) -> None:
    received = b""
    while mark not in received:
        part = connection.recv(65536)
        assert part, received
        received += part


def leaves_after_a_frame(live: Live, body: bytes) -> None:
    with ask(live, body) as connection:
        read_until(connection, b'"event":"frame"')


def leaves_at_once(live: Live, body: bytes) -> None:
    ask(live, body, query="max_frames=9").close()


def leaves_while_it_sends(live: Live, body: bytes) -> None:
    with ask(live, body[: len(body) // 2], "X-Nothing: 1") as connection:
        connection.sendall(body[len(body) // 2 :][:10_000])


def leaves_an_overlay(live: Live, body: bytes) -> None:
    with ask(live, body, query="every_n=1&format=overlay") as connection:
        read_until(connection, b"mdat")


def has_no_time(live: Live, body: bytes) -> None:
    with ask(live, body, "X-Timeout-Ms: 60") as connection:
        read_until(connection, b"deadline_exceeded")


def has_no_time_for_an_overlay(live: Live, body: bytes) -> None:
    """Let the deadline come while a frame is encoded: two threads in one encoder end the process."""
    request = partial(httpx.post, f"{live.url}/v1/video?every_n=1&format=overlay", content=body)
    response = request(headers={"X-Timeout-Ms": "150"}, timeout=20)
    if response.status_code == codes.OK:
        with av.open(io.BytesIO(response.content), "r") as shown:
            assert len(list(shown.decode(video=0))) < FRAMES
    else:
        assert response.json()["code"] == "deadline_exceeded"


def is_cut_short(live: Live, body: bytes) -> None:
    with ask(live, body[: len(body) // 2]) as connection:
        read_until(connection, b'"event":"summary"')


def reads_all(live: Live, body: bytes) -> None:
    with ask(live, body) as connection:
        read_until(connection, b'"event":"summary"')


ENDINGS = [
    leaves_after_a_frame, leaves_at_once, leaves_while_it_sends, leaves_an_overlay, has_no_time,
    has_no_time_for_an_overlay, is_cut_short, reads_all,
]  # fmt: skip


def answered(live: Live) -> float:
    """Return how many requests for videos have ended."""
    return sum(
        sample.value
        for metric in live.services.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "foveal_requests_total" and sample.labels["route"] == "/v1/video"
    )


def is_answered(live: Live, count: float) -> bool:
    return answered(live) >= count


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
def test_nothing_of_a_video_stays(
    no_collector: Live, video: bytes, ending: Callable[[Live, bytes], None]
) -> None:
    before = of_the_video()
    for _ in range(3):
        done = answered(no_collector) + 1
        ending(no_collector, video)
        wait_until(partial(is_answered, no_collector, done))
    for thread in threading.enumerate():
        if thread.name.startswith("foveal-video"):
            thread.join(10)
    batcher = no_collector.services.engine.registry.find(["classify"], None, None).batcher
    wait_until(lambda: not batcher.busy)
    httpx.get(f"{no_collector.url}/health/live")
    wait_until(lambda: of_the_video() == before)
