"""Floods of several kinds at once: chains, explanations, videos, shadows and kept answers, with single images beside.

Each request gets an answer, none is a fault, single images get theirs, and nothing is left afterwards. `make chaos`
runs them for longer.
"""

import asyncio
import itertools
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.images import photograph
from tests.live import MODELS, Process, start

pytestmark = pytest.mark.timeout(300)

CHAOS = int(os.environ.get("CHAOS", "1"))
SECONDS = 1.0 if CHAOS == 1 else 6.0 * CHAOS
"""Of a flood."""
MIB = 2**20
GROWTH = 96 * MIB
"""Of a second flood over the first: what malloc keeps of other sizes."""
SAMPLES = Path(__file__).parents[2] / "service" / "playground" / "samples"
WAITING = "foveal_queue_depth"
CLASSIFY = "/v1/classify?model=efficientnet-lite0"
EXPLAIN = "/v1/explain?view=occlusion&model=efficientnet-lite0"
VIDEO = "/v1/video?task=classify&max_frames=8"
CHAIN = "/v1/chain"
WITH_SHADOW = """
[models.lenet5]
versions = "all"
weights = { 1 = 100 }
shadow = 2
"""


@dataclass
class Crowd:
    """Clients that send as soon as they have an answer.

    Args:
        path: what they ask for.
        body: makes the next body.
        clients: how many there are.
    """

    path: str
    body: Callable[[], bytes]
    clients: int
    answers: Counter[int] = field(default_factory=Counter)
    faults: list[bytes] = field(default_factory=list)
    unanswered: int = 0

    async def send(self, host: str, port: int, until: float) -> None:
        while time.monotonic() < until:
            reader, writer = await asyncio.open_connection(host, port)
            try:
                while time.monotonic() < until and await self._ask(reader, writer):
                    pass
            except (OSError, EOFError):
                self.unanswered += 1
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        body = self.body()
        head = f"POST {self.path} HTTP/1.1\r\nHost: x\r\nX-Timeout-Ms: 60000\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        received = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = re.search(r"content-length: (\d+)", received)
        content = await (
            reader.readexactly(int(size[1])) if size else reader.readuntil(b"\r\n0\r\n\r\n")
        )
        status = int(received.split()[1])
        self.answers[status] += 1
        if status >= 500 and status not in {503, 504}:
            self.faults.append(content)
        return "connection: close" not in received


def same(body: bytes) -> Callable[[], bytes]:
    return lambda: body


def different(body: bytes) -> Callable[[], bytes]:
    """Each is another image for whoever compares bytes, and the same one for a decoder."""
    numbers = itertools.count()
    return lambda: body + next(numbers).to_bytes(8, "big")


def in_waves(body: bytes) -> Callable[[], bytes]:
    """Every tenth of a second all clients send an image that nobody has sent before."""
    return lambda: body + int(time.monotonic() * 10).to_bytes(8, "big")


def images(clients: int = 4) -> Crowd:
    return Crowd(CLASSIFY, different(photograph("rocket")), clients)


def fan_outs() -> list[Crowd]:
    digits, image = (SAMPLES / "digits.jpg").read_bytes(), photograph("rocket")
    return [
        Crowd(CHAIN, same(digits), 10),
        Crowd(f"{CHAIN}?format=overlay", same(digits), 3),
        Crowd(EXPLAIN, same(image), 2),
        Crowd(VIDEO, same((SAMPLES / "motion.webm").read_bytes()), 3),
    ]


def cached() -> list[Crowd]:
    image, digit = photograph("rocket"), photograph("rocket")
    return [
        Crowd(CLASSIFY, same(image), 20),
        Crowd(CLASSIFY, in_waves(image), 20),
        Crowd("/v1/classify?model=lenet5", different(digit), 20),
        *fan_outs(),
    ]


def shadowed() -> list[Crowd]:
    digits = (SAMPLES / "digits.jpg").read_bytes()
    return [
        Crowd("/v1/classify?model=lenet5", different(photograph("rocket")), 40),
        Crowd(CHAIN, same(digits), 10),
    ]


@pytest.fixture(scope="module")
def with_shadow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled models, and a second version of LeNet-5 that runs what the first one answers."""
    root = tmp_path_factory.mktemp("shadowed") / "models"
    shutil.copytree(MODELS, root)
    shutil.copytree(root / "lenet5" / "1", root / "lenet5" / "2")
    with (root / "foveal.toml").open("a") as file:
        file.write(WITH_SHADOW)
    return root


async def flood(service: Process, crowds: list[Crowd]) -> None:
    address = urlsplit(service.url)
    until = time.monotonic() + SECONDS
    await asyncio.gather(
        *(
            one.send(str(address.hostname), address.port or 0, until)
            for one in crowds
            for _ in range(one.clients)
        )
    )


def samples_of(service: Process, name: str) -> Iterator[float]:
    """Yield the values of a metric."""
    for line in httpx.get(f"{service.url}/metrics", timeout=60).text.splitlines():
        if line.startswith(name):
            yield float(line.split()[-1])


def wait_until_idle(service: Process) -> None:
    """Shadows run on after the answers that they compare."""
    latest = time.monotonic() + 60
    while any(samples_of(service, WAITING)):
        assert time.monotonic() < latest, "the queues were not emptied"
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="the clients' memory must not count")
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("fan_outs", {"max_fan_outs": 12}),
        ("cached", {"queue_size": 16, "response_cache_bytes": 8 * MIB}),
        ("shadowed", {"queue_size": 16}),
    ],
)
def test_a_mixed_flood_is_answered_and_leaves_nothing(
    with_shadow: Path, kind: str, settings: dict[str, int]
) -> None:
    crowds_of = {"fan_outs": fan_outs, "cached": cached, "shadowed": shadowed}[kind]
    models = with_shadow if kind == "shadowed" else MODELS
    with start(models=models, threads=2, log_format="json", **settings) as service:
        memory = psutil.Process(service.process.pid).memory_info
        before = httpx.post(f"{service.url}{CLASSIFY}", content=photograph("rocket")).json()
        held = []
        for _ in range(2):
            beside, crowds = images(), crowds_of()
            asyncio.run(flood(service, [beside, *crowds]))
            wait_until_idle(service)
            held.append(memory().rss)
            for one in (beside, *crowds):
                assert (one.unanswered, one.faults) == (0, []), one.path
                assert set(one.answers) <= {200, 503, 504}, (one.path, one.answers)
            if kind == "fan_outs":
                assert set(beside.answers) == {200}, "single images have their turn"
            assert all(one.answers[200] for one in crowds if one.path == CHAIN)
        assert held[1] < held[0] + GROWTH
        after = httpx.post(f"{service.url}{CLASSIFY}", content=photograph("rocket")).json()
        assert after["results"] == before["results"]
        if kind == "shadowed":
            assert sum(samples_of(service, "foveal_shadow_")) > 0
        assert not [line for line in service.lines if line["level"] in {"error", "critical"}]
        assert json.loads(httpx.get(f"{service.url}/health/ready").text)["status"] == "ready"
