"""What encoded images announce, read on a thread for as long as their client waits."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from service.errors import ClientLeftError
from service.imaging.announced import Announced
from service.imaging.decoder import Decoder


async def read_announced(
    decoder: Decoder,
    images: Sequence[bytes],
    until: float,
    disconnected: Callable[[], Coroutine[Any, Any, None]] | None,
) -> list[Announced]:
    """Return what each image announces; after the end of its request no further one is read.

    Args:
        decoder: reads their headers.
        images: encoded.
        until: when it gives up, by the clock of the decoder.
        disconnected: returns when the client has disconnected; None: nobody looks.

    Raises:
        DeadlineError: not all were read in time.
        ClientLeftError: the client left before.
    """
    wanted = _Wanted(images)
    reading = asyncio.create_task(asyncio.to_thread(decoder.announced, wanted, until))
    awaited: set[asyncio.Task[Any]] = {reading}
    if disconnected is not None:
        awaited.add(asyncio.create_task(disconnected()))
    try:
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            return reading.result()
        raise ClientLeftError("The client closed its connection.")
    finally:
        wanted.end()
        for task in awaited:
            task.cancel()
        await asyncio.gather(*awaited, return_exceptions=True)


class _Wanted:
    """Images, one after the other, until nobody wants to know of the next one."""

    def __init__(self, images: Sequence[bytes]) -> None:
        self._images = images
        self._ended = False

    def end(self) -> None:
        self._ended = True

    def __iter__(self) -> Iterator[bytes]:
        for image in self._images:
            if self._ended:
                return
            yield image
