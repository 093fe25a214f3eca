"""Headers are read for as long as the client waits, and no further one after it has left."""

import asyncio
import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from service.errors import ClientLeftError, DeadlineError
from service.imaging.announced import Announced
from service.imaging.announcing import read_announced

pytestmark = pytest.mark.anyio

IMAGES = [b"a", b"b", b"c"]


class Slow:
    """A decoder that waits at each image until it may go on."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.begun, self.go_on, self.ended = (threading.Event() for _ in range(3))

    def announced(self, images: Iterable[bytes], until: float) -> list[Announced]:
        assert until == 7
        found = []
        for image in images:
            self.read.append(image)
            self.begun.set()
            assert self.go_on.wait(10)
            found.append(Announced(len(self.read), 0))
        self.ended.set()
        return found


async def stays() -> None:
    await asyncio.Event().wait()


async def test_what_all_images_announce_is_returned_in_order() -> None:
    slow: Any = Slow()
    slow.go_on.set()
    for disconnected in (None, stays):
        slow.read.clear()
        found = await read_announced(slow, IMAGES, 7, disconnected)
        assert found == [(1, 0), (2, 0), (3, 0)]


@pytest.mark.parametrize("way", ["left", "canceled"])
async def test_after_the_end_of_the_request_no_further_image_is_read(way: str) -> None:
    slow: Any = Slow()

    async def leaves() -> None:
        await asyncio.to_thread(slow.begun.wait, 10)

    disconnected = leaves if way == "left" else stays
    reading = asyncio.create_task(read_announced(slow, IMAGES, 7, disconnected))
    await asyncio.to_thread(slow.begun.wait, 10)
    if way == "canceled":
        reading.cancel()
    with pytest.raises(ClientLeftError if way == "left" else asyncio.CancelledError):
        await reading
    slow.go_on.set()
    assert await asyncio.to_thread(slow.ended.wait, 10)
    assert slow.read == [b"a"]


async def test_an_error_of_the_decoder_is_that_of_the_request() -> None:
    def late(images: Iterable[bytes], until: float) -> list[Announced]:
        raise DeadlineError(f"late for {list(images)} at {until}")

    decoder: Any = SimpleNamespace(announced=late)
    with pytest.raises(DeadlineError, match="late for"):
        await read_announced(decoder, IMAGES, 7, stays)
