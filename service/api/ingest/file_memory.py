"""The memory of a video's file while it arrives: taken for all of it, and left where its sender pauses."""

import asyncio

from service.api.ingest.growing_file import BEGUN_BYTES
from service.body_memory import LEAVE_BYTES, LEAVE_SECONDS, BodyPlace
from service.video_memory import VideoMemory


class FileMemory:
    """What one video's file takes of the memory; everything runs on the event loop.

    Args:
        memory: of all videos.
        place: the file's.
        size: which is announced; None: none is.
        most_bytes: that the file may have.
        patience_seconds: how long it waits.
    """

    def __init__(
        self,
        memory: VideoMemory,
        place: BodyPlace,
        *,
        size: int | None,
        most_bytes: int,
        patience_seconds: float,
    ) -> None:
        self._memory = memory
        self._place = place
        self._size = size
        self._most_bytes = most_bytes
        self._patience_seconds = patience_seconds
        self._has_begun = False
        self._came = self._counted_from = 0
        self._leaving: asyncio.TimerHandle | None = None

    async def before(self, size: int) -> None:
        """Wait for the memory before the file is read on to so many bytes; nothing is taken for what hardly begins.

        Raises:
            BodyTooLargeError: it never fits.
            OverloadedError: there was none in time.
        """
        limit = self._memory.files.limit
        if limit is None:
            return
        self._memory.require(size)
        if self._has_begun or size < BEGUN_BYTES:
            return
        self._has_begun = True
        needed = min(limit, self._most_bytes) if self._size is None else max(self._size, size)
        await self._memory.take_file(self._place, needed, self._patience_seconds)
        self._leave_later()

    def came(self, size: int) -> None:
        """Note that so many bytes have arrived."""
        self._came = size
        if self._leaving is not None and size - self._counted_from >= LEAVE_BYTES:
            self._leaving.cancel()
            self._leave_later()

    def complete(self) -> None:
        """Keep what has arrived, and nothing for more."""
        self.close()
        self._place.keep(self._came)

    def close(self) -> None:
        """Stop to look at the time."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def leave(self) -> None:
        """Give back what was taken for bytes that have not come."""
        self._leaving = None
        self._place.leave(self._came)

    def _leave_later(self) -> None:
        self._counted_from = self._came
        self._leaving = asyncio.get_running_loop().call_later(LEAVE_SECONDS, self.leave)
