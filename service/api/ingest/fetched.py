"""The images that a request fetches: they take their room of the memory as the body of a request does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from service.api.ingest.admission import Alarm, Timer, Turn
from service.api.ingest.arriving import ArrivingBody
from service.api.ingest.body import LARGE_BYTES, BodyLimits
from service.api.record import RequestRecord
from service.body_memory import LEAVE_BYTES, LEAVE_SECONDS, BodyPlace
from service.errors import OverloadedError


@asynccontextmanager
async def fetching(
    limits: BodyLimits,
    record: RequestRecord,
    body_bytes: int = 0,
    *,
    timer: Timer | None = None,
) -> "AsyncIterator[FetchedImages]":
    """Count what the block fetches, with what the request's body holds; it is held until the response starts.

    Args:
        limits: of a body, which the images have together; and what all bodies may hold.
        record: has the deadline, and the place of the body, which gets that of the images.
        body_bytes: of the body, which is not yet held for admission.
        timer: calls a function later; the running event loop's `call_later` by default.

    Raises:
        OverloadedError: too many wait; there was no room in time; or unfinished bodies hold too much and this one most.
    """
    memory, loop = limits.arriving.memory, asyncio.get_running_loop()
    if record.place is None:
        record.place = memory.place()
        record.release_with_response(closing(record.place))
    with limits.arriving.counted(record.place) as body:
        fetched = FetchedImages(limits, record, record.place, body, timer or loop.call_later)
        try:
            async with asyncio.timeout(None) as timeout:
                body.on_give_way = lambda: timeout.reschedule(loop.time())
                yield fetched
                await fetched.complete()
                if body_bytes + fetched.size > LARGE_BYTES:
                    record.release_with_response(limits.admission.hold(body_bytes + fetched.size))
        except TimeoutError:
            if body.gave_way:
                raise body.error() from None
            raise
        finally:
            fetched.close()


class FetchedImages:
    """What one request has fetched: `size` bytes, those of the image that is fetched now among them.

    It takes its room when it knows that an image is large: nothing of what only waits has to give way then. If further
    images may follow, that is all that they may have, but half of the memory at first: requests that hold some of their
    images and wait for room for others would wait for each other, until one of them gave way.
    """

    def __init__(
        self,
        limits: BodyLimits,
        record: RequestRecord,
        place: BodyPlace,
        body: ArrivingBody,
        timer: Timer,
    ) -> None:
        self.size = 0
        self._memory = limits.arriving.memory
        self._admission = limits.admission
        self._most = limits.max_body_bytes
        self._record = record
        self._place = place
        self._before = place.size
        self._unfinished = limits.arriving.fetched.place()
        self._body = body
        self._timer = timer
        self._turn: Turn | None = None
        self._leaving: Alarm | None = None
        self._counted_from = 0
        self._image = 0
        self._announced = 0
        self._is_last = False

    @property
    def left(self) -> int:
        """How many bytes the next image may have."""
        return max(0, self._allowed - self.size)

    @property
    def _allowed(self) -> int:
        """How many bytes the images may have together."""
        limit = self._memory.limit
        return self._most if limit is None else min(self._most, max(0, limit - self._before))

    def begin(self, *, is_last: bool) -> None:
        """Begin with the next image. `is_last`: no further one follows it."""
        self._image, self._announced, self._is_last = 0, 0, is_last

    def announced(self, size: int) -> None:
        """Note that the image says it has so many bytes.

        Raises:
            BodyTooLargeError: as `came` says.
        """
        self._announced = size
        self._require(size)

    def came(self, size: int) -> None:
        """Count a piece of the image.

        Raises:
            BodyTooLargeError: the memory never has room for the image.
        """
        self._image += size
        self._count(size)
        self._require(self._image)
        if self._turn is not None:
            self._turn.received()

    def drop(self) -> None:
        """Count the image no longer: it failed."""
        self._count(-self._image)
        self._image = 0

    @property
    def must_wait(self) -> bool:
        """Whether room has to be taken before more is fetched."""
        known = self._known
        if self._turn is None:
            return known > LARGE_BYTES
        return self._place.taken and self._before + known > self._place.size

    async def wait(self) -> None:
        """Wait for the room that the images take, and for their turn.

        Raises:
            OverloadedError: too many wait, or there was none before the deadline.
        """
        async with self._in_time():
            if self._turn is None:
                exact = self._announced and self._is_last
                await self._unfinished.take(self._known if exact else self._allowed)
            await self._take(self._needed())
            if self._turn is None:
                self._turn = await self._admission.turn()
        self._leave_later()

    @property
    def _known(self) -> int:
        """What the images have with the one that is fetched now, as far as that is known."""
        return self.size - self._image + max(self._announced, self._image)

    def _needed(self) -> int:
        known, limit = self._known, self._memory.limit
        if self._announced and self._is_last:
            return known
        enough = self._allowed if limit is None else min(self._allowed, limit // 2)
        if known <= enough:
            return enough
        return known if self._announced else max(known, self._allowed)

    async def complete(self) -> None:
        """Take the room of all that was fetched, and no more.

        Raises:
            OverloadedError: as `wait` says.
        """
        self._stop_looking()
        if self.size > LARGE_BYTES:
            async with self._in_time():
                await self._take(self.size)

    def close(self) -> None:
        """End the turn, and look at the time no longer."""
        self._stop_looking()
        self._unfinished.close()
        if self._turn is not None:
            self._turn.end()

    async def _take(self, size: int) -> None:
        if self._before + size > self._place.size:
            # What waits has not all that it needs. Else those that wait for each other would never give way.
            self._place.leave(self._before + self.size)
        await self._place.take(self._before + size)

    def _count(self, size: int) -> None:
        self.size += size
        self._body.add(size)
        if self._turn is None and self._place.taken:
            self._place.keep(self._before + self.size)

    def _require(self, size: int) -> None:
        """Refuse an image that never fits; one that a body of any size may not have fails alone."""
        if size <= self._most:
            self._memory.require(size, 1, beside=self._before, what="An image of the request")

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        deadline = self._record.deadline
        try:
            async with asyncio.timeout(deadline.left()) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():  # another one, raised inside the block
                raise
            raise OverloadedError(
                f"No memory for the images of the request was free within {deadline.allowed_seconds:g} s: others are "
                "received or answered. Try again in a moment."
            ) from None

    def _stop_looking(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def _leave_later(self) -> None:
        self._stop_looking()
        self._counted_from = self.size
        self._leaving = self._timer(LEAVE_SECONDS, self._leave_if_slow)

    def _leave_if_slow(self) -> None:
        """Give back what was taken for bytes that hardly come."""
        if self.size - self._counted_from >= LEAVE_BYTES:
            self._leave_later()
        else:
            self._unfinished.leave(self.size)
            self._place.leave(self._before + self.size)
