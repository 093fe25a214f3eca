"""What videos may hold of the memory of this process: their files, and the frames and decoders of those that run."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

from service.body_memory import BodyMemory, BodyPlace
from service.errors import BodyTooLargeError, OverloadedError, TooManyPixelsError
from service.imaging.room import TIGHT_BYTES_PER_PIXEL, PixelRoom

if TYPE_CHECKING:
    from concurrent.futures import Future

MOST_HELD_BYTES = 256 << 20
"""How many bytes the frames of one video may take that wait for the network or run through it."""
HELD_SHARE = 8
"""Where memory is short, those of one video take one in so many bytes of what all may hold, or one frame does."""
LEAST_BYTES = 24 << 20
"""What videos have in any case."""


class VideoMemory:
    """Lends videos what bodies and large images do not use, and half of what these need at most.

    So what fits into the other half never waits for a video. Without a limit nothing ever waits. A video takes the
    memory for its file first, and then, of another part, what its frames and its decoder need: those that have both
    never wait for those that wait. Everything runs on the event loop.

    Args:
        bodies: those of requests with images.
        room: for large images.
        most_file_bytes: what the files of all videos may have together.
        capacity: how many videos may wait.
    """

    def __init__(
        self, bodies: BodyMemory, room: PixelRoom, *, most_file_bytes: int, capacity: int = 256
    ) -> None:
        self.files, self.work = BodyMemory(capacity=capacity), BodyMemory(capacity=capacity)
        self.files.beside = lambda size: self._fits(size + self.work.bytes)
        self.work.beside = lambda size: self._fits(size + self.files.bytes)
        for one in (self.files, self.work):
            one.on_change = self._lend
        bodies.on_change = self._settle
        self._bodies, self._room = bodies, room
        self._most_file_bytes = most_file_bytes
        self._free = self._shared_bodies = self._shared_pixels = self._total = 0
        self._is_bound = False

    @property
    def bytes(self) -> int:
        """What videos hold, or may hold soon."""
        return self.files.bytes + self.work.bytes

    @property
    def is_bound(self) -> bool:
        """Whether a video is refused that needs more than there is: also where images of any size have room."""
        return self._is_bound or self._room.largest is not None

    def share(self, videos: int) -> int:
        """Return the work memory that each of so many videos may take beside the others."""
        return (self.work.limit or 0) // videos

    def fit(self, free: int, bodies: int, pixels: int, *, is_bound: bool = False) -> None:
        """Follow the memory from now on.

        Args:
            free: bytes that bodies have and can do without.
            bodies: further bytes that bodies have.
            pixels: for which large images have room.
            is_bound: whether a video is refused that needs more than all of it.
        """
        self._is_bound = is_bound
        self._free, self._shared_bodies = free, bodies
        self._shared_pixels = pixels * TIGHT_BYTES_PER_PIXEL
        half = (self._shared_bodies + self._shared_pixels) // 2
        total = self._total = max(LEAST_BYTES, free + half)
        files = min(total * 2 // 3, self._most_file_bytes)
        self._lend()
        self.files.fit(files)
        self.work.fit(total - files)

    def require(self, size: int) -> None:
        """Refuse a file that never fits.

        Raises:
            BodyTooLargeError: it has more bytes than all files may have.
        """
        most = self.files.limit
        if most is not None and size > most:
            raise BodyTooLargeError(
                f"The video is larger than the {most / 2**20:.1f} MiB that the memory of the service has room for. "
                "Send a smaller one, or send it in parts; or its operator gives the service more memory or fewer "
                "workers."
            )

    async def take_file(self, place: BodyPlace, size: int | None, patience_seconds: float) -> None:
        """Wait for the memory of a file of so many bytes; None: its size is not known, and it takes all.

        Raises:
            BodyTooLargeError: it never fits.
            OverloadedError: too many wait, or there was none in time.
        """
        if self.files.limit is None:
            return
        if size is not None:
            self.require(size)
        await self._take(place, size or self.files.limit, patience_seconds)

    @asynccontextmanager
    async def working(
        self,
        decoder_bytes: int,
        frame_bytes: int,
        in_flight: int,
        patience_seconds: float,
        *,
        drawing_bytes: int = 0,
    ) -> AsyncIterator[int]:
        """Wait for the memory of a video's work, hold it while the block runs, and yield what its frames may take.

        One whose decoder and frames need more than the part of videos takes all of that, and may use what else is free:
        few decoders take what is counted. One that is drawn takes what is likely beside that part.

        Args:
            decoder_bytes: what its decoder holds.
            frame_bytes: what a frame in flight takes.
            in_flight: how many frames may be in flight.
            patience_seconds: how long it waits.
            drawing_bytes: where its frames are drawn, what their encoder holds, and what of its decoder is likely, that
                `decoder_bytes` does not count.

        Raises:
            TooManyPixelsError: it needs more than bodies, images and videos have together; or it is drawn, and what is
                likely is more than videos have.
            OverloadedError: too many wait, or there was none in time.
        """
        most = self.work.limit
        if most is None:
            yield MOST_HELD_BYTES
            return
        if drawing_bytes:
            self._require_drawing(frame_bytes + drawing_bytes)
        self._require_work(decoder_bytes + frame_bytes + drawing_bytes)
        held = min(MOST_HELD_BYTES, frame_bytes * in_flight)
        held = max(min(held, most // HELD_SHARE), frame_bytes)
        with closing(self.work.place()) as place:
            size = min(most, decoder_bytes + held)
            if drawing_bytes:
                size = min(self._total, size + drawing_bytes)
            await self._take(place, size, patience_seconds)
            yield held

    def keep_until(self, call: "Future[Any]", file_bytes: int, decoder_bytes: int) -> None:
        """Have what a video holds counted until a call on a thread has ended that goes on after its request.

        Args:
            call: reads the video.
            file_bytes: of its file.
            decoder_bytes: what its decoder holds.
        """
        held = ExitStack()
        for memory, size in ((self.files, file_bytes), (self.work, decoder_bytes)):
            held.enter_context(closing(place := memory.place()))
            place.keep(size)
        close = _on_loop(held.close)
        call.add_done_callback(lambda _: close())

    def _require_work(self, size: int) -> None:
        whole = self._free + self._shared_bodies + self._shared_pixels
        if self.is_bound and size > whole:
            raise TooManyPixelsError(
                f"To decode this video may take {size >> 20} MiB, and the memory of the service has room for "
                f"{whole >> 20}. Send one with smaller frames; or its operator gives the service more memory or fewer "
                "workers."
            )

    def _require_drawing(self, size: int) -> None:
        if self._room.largest is not None and size > self._total:
            raise TooManyPixelsError(
                f"To draw the results on this video takes {size >> 20} MiB, and the memory of the service has room for "
                f"{self._total >> 20}. Send one with smaller frames, or ask for JSON; or its operator gives the "
                "service more memory or fewer workers."
            )

    async def _take(self, place: BodyPlace, size: int, patience_seconds: float) -> None:
        self._room.on_less = _on_loop(self._settle)
        try:
            async with asyncio.timeout(patience_seconds):
                await place.take(size)
        except TimeoutError:
            raise OverloadedError(
                f"No memory for the video was free within {patience_seconds:g} s: others are read, or large images "
                "are decoded. Try again in a moment."
            ) from None
        finally:
            if not (self.files.waiting or self.work.waiting):
                self._room.on_less = _nothing

    def _settle(self) -> None:
        """Admit further videos where bodies or images hold less."""
        self.work.settle()
        self.files.settle()

    def _fits(self, size: int) -> bool:
        """Return whether videos may hold so many bytes beside what bodies and images hold now."""
        bodies, pixels = self._parts(size)
        return self._bodies.can_lend(bodies) and self._room.can_lend(pixels)

    def _lend(self) -> None:
        bodies, pixels = self._parts(self.bytes)
        self._room.lend(pixels)
        self._bodies.lend(bodies)

    def _parts(self, size: int) -> tuple[int, int]:
        """Return the bytes that bodies lend and the pixels that images lend, where videos hold so many bytes."""
        shared = self._shared_bodies + self._shared_pixels
        more = min(max(0, size - self._free), shared // 2)
        bodies = min(size, self._free)
        if more:
            bodies += more * self._shared_bodies // shared
        return bodies, more * self._shared_pixels // max(1, shared) // TIGHT_BYTES_PER_PIXEL


def _nothing() -> None:
    """Nobody waits."""


def _on_loop(call: Callable[[], None]) -> Callable[[], None]:
    """Return what makes a call on the running event loop, from any thread."""
    loop = asyncio.get_running_loop()

    def call_soon() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(call)

    return call_soon
