"""The way of an image: batch queue → session → head → result. Only the head changes from task to task."""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.card import Card
from service.errors import DeadlineError, FovealError, ImageError, TooManyPixelsError
from service.heavy_jobs import HeavyJobs, Weight
from service.imaging.ahead import DecodingAhead
from service.imaging.announced import Announced, quick_pixels
from service.imaging.announcing import read_announced
from service.imaging.decode import Limits
from service.imaging.decoder import Decoder
from service.imaging.geometry import Geometry
from service.imaging.room import SMALL_PIXELS, TIGHT_JPEG_SHARE, KeptPixels, PixelRoom
from service.imaging.source_image import SourceImage
from service.imaging.work import REQUEST_WORK, quick_announced, quick_work, work_together
from service.imaging.work_weights import LARGE_WORK, LONG_WORK
from service.runtime.entry import without_frames
from service.runtime.job import Job, JobResult, Outputs, Tensor
from service.runtime.model import Model
from service.spans import span

T = TypeVar("T")
C = TypeVar("C")
Head = Callable[[Outputs, SourceImage], T]
"""One image's outputs, and what may be seen of the image → its result; runs on a worker thread."""
EncodedImage = bytes | ImageError
"""An encoded image, or why there is none in this place."""
Disconnected = Callable[[], Coroutine[Any, Any, None]]
"""Returns when the client has disconnected."""
Require = Callable[[int], None]
"""Raises ImageError where an image of so many pixels is not run: its result could not be drawn."""


_NOTHING = Announced(0, 0)
"""What an image announces that is not run."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Takes images through a model. What waits, waits in the model's queue; a large image also for `room`.

    Args:
        decoder: decodes the images.
        max_request_pixels: of all images of a request together, by their headers.
        room: for the pixels of the images that are decoded or drawn on at once.
        ahead: decodes very large images beside the workers, which go on with others.
        heavy: bounds how many images that take long are in a queue at once.
        clock: the clock of the deadlines, in seconds.
    """

    decoder: Decoder
    max_request_pixels: int
    room: PixelRoom
    ahead: DecodingAhead
    heavy: HeavyJobs
    clock: Callable[[], float] = time.perf_counter

    async def predict(
        self,
        model: Model,
        images: Sequence[EncodedImage],
        head: Head[T],
        *,
        timeout_seconds: float,
        disconnected: Disconnected | None = None,
        low_priority: bool = False,
        is_request: bool = True,
        require: Require | None = None,
        draws: bool = False,
        announced: Sequence[Announced] | None = None,
    ) -> list[JobResult[T] | FovealError]:
        """Return each image's answer or its own error, in order.

        A job holds two functions: one makes its tensor, the other reads its outputs. So `runtime` never sees an image,
        and the thread that runs a batch also decodes its images and runs their heads. `draws` says that the head draws
        on the image. Images that take long, and all of a request that takes long, are queued one by one at low
        priority.
        `announced` is what `announce` has returned for these images.

        Raises:
            TooManyPixelsError: all images together have more than `max_request_pixels`.
            DeadlineError: their headers were not read before the deadline.
            UnavailableError: the model is not ready, its queue is full or the service is shutting down.
        """
        began = self.clock()
        until = began + timeout_seconds
        works = await self._works(images, until, announced, disconnected)
        timeout_seconds = max(0.0, until - self.clock())
        if require is not None:
            images = [_if_allowed(image, require) for image in images]
            works = [
                work if isinstance(image, bytes) else 0
                for image, work in zip(images, works, strict=True)
            ]
        jobs = [self.job(image, model.card, head, until, require, draws=draws) for image in images]
        are_many = work_together(images, works) > REQUEST_WORK
        if are_many or max(works, default=0) > min(LONG_WORK, self._most_work):
            runs = [
                partial(
                    self._run_heavy,
                    model,
                    job,
                    work,
                    until,
                    is_request=is_request,
                    is_only=len(jobs) == 1,
                    waits_since=None if are_many else began,
                )
                for job, work in zip(jobs, works, strict=True)
            ]
            return await self.heavy.run(runs, disconnected=disconnected)
        if is_request:
            self.heavy.note_other()
        queue = model.queue
        if queue is None:
            queue, timeout_seconds = await model.awake(timeout_seconds)
        return await queue.submit(
            jobs,
            timeout_seconds=timeout_seconds,
            disconnected=disconnected,
            low_priority=low_priority,
            is_request=is_request,
        )

    def job(
        self,
        image: EncodedImage,
        card: Card,
        head: Head[T],
        until: float = math.inf,
        require: Require | None = None,
        *,
        draws: bool = False,
    ) -> Job[SourceImage, T]:
        """Return the job of one image for a network with this card; it gives up at `until` by the clock."""
        prepare: Callable[[], tuple[NDArray[np.uint8], SourceImage]]
        if require is not None:
            image = _if_allowed(image, require)
        if isinstance(image, ImageError):
            prepare = partial(refuse, image)
        else:
            prepare = partial(self.decoder.prepare, image, card.image_input, until, draws=draws)
            if require is not None:
                prepare = partial(_prepared_if_allowed, prepare, require)
        return self.finishing(prepare, head, until, draws=draws)

    def finishing(
        self,
        prepare: Callable[[], tuple[NDArray[Any], SourceImage]],
        head: Head[T],
        until: float,
        *,
        draws: bool = True,
    ) -> Job[SourceImage, T]:
        """Return a job whose head has a large image only while there is room for it; `draws`: it draws on the image."""
        share = 1 if draws else TIGHT_JPEG_SHARE
        hold = partial(self.room.hold, until=until, tight_share=share, on_worker=True)
        return Job(prepare, partial(_finish, head, hold, draws=draws))

    async def prepared_if_large(
        self, image: EncodedImage, job: Job[C, T], until: float
    ) -> Job[C, T]:
        """Return the job of an image without that part where it takes long: it was prepared beside the workers.

        Raises:
            OverloadedError: too many wait already.
            DeadlineError: it was not ready before the clock reached `until`.
        """
        (work,) = await self._works([image], until, None, None)
        if work <= self._most_work:
            return job
        return await self._prepared(job, max(0.0, until - self.clock()))

    async def prepared_aside(
        self,
        prepare: Callable[[], tuple[NDArray[Any], SourceImage]],
        pixels: int,
        until: float,
    ) -> Callable[[], tuple[NDArray[Any], SourceImage]]:
        """Prepare a large part of an image beside the workers, while there is room for it; return what is ready.

        Args:
            prepare: makes the network's frame and what a head may see; blocking.
            pixels: of the part.
            until: when it must be ready, by the clock.

        Raises:
            OverloadedError: too many wait already.
            DeadlineError: it was not ready in time.
        """
        left = max(0.0, until - self.clock())
        (ready,) = await self.ahead.run(
            [partial(_held, prepare, self.room, pixels, until)],
            timeout_seconds=left,
            disconnected=None,
        )
        return partial(_ready, ready)

    @asynccontextmanager
    async def displayed(self, source: SourceImage, until: float) -> AsyncIterator[Image.Image]:
        """Yield the whole image as displayed, mode RGB; an encoded one is decoded on a thread.

        What it holds is counted in `room` for the length of the block.

        Raises:
            DeadlineError: there was no room for its pixels before the clock reached `until`.
            ImageError: it can not be read.
        """
        if isinstance(source.body, Image.Image):
            yield source.body
            return
        decoding = _Decoding(source, self.room, until)
        try:
            yield await asyncio.to_thread(decoding.run)
        finally:
            decoding.leave()

    @property
    def _most_work(self) -> int:
        """What an image may take on a thread that decodes: less where there is no other, or it would wait for room.

        Videos are lent half of the room, and their frames need these threads, which must not wait for them.
        """
        most = LARGE_WORK if self.heavy.decoders > 1 else LONG_WORK
        if self.room.largest is None:
            return most
        return min(most, max(SMALL_PIXELS, self.room.pixels // max(2, self.heavy.threads)))

    def _weight(self, work: int, *, are_many: bool) -> Weight:
        if work > self._most_work or (are_many and work > LONG_WORK):
            return Weight.LONG
        return Weight.MEDIUM if work > LONG_WORK else Weight.SHORT

    async def _works(
        self,
        images: Sequence[EncodedImage],
        until: float,
        announced: Sequence[Announced] | None,
        disconnected: Disconnected | None,
    ) -> list[int]:
        if announced is None and len(images) == 1:  # its pixels are checked where it is opened
            (image,) = images
            work = quick_work(image) if isinstance(image, bytes) else 0
            if work is not None:
                return [work]
        if announced is None:
            announced = await self.announce(images, until, disconnected)
        return [one.work for one in announced]

    async def _run_heavy(
        self,
        model: Model,
        job: Job[SourceImage, T],
        work: int,
        until: float,
        *,
        is_request: bool,
        is_only: bool,
        waits_since: float | None,
    ) -> JobResult[T] | FovealError:
        """Run one job of few in the queue; decode it beside the workers where it is very large."""
        weight = self._weight(work, are_many=waits_since is None)
        try:
            if work > self._most_work:
                job = await self._prepared(job, max(0.0, until - self.clock()))
            left = max(0.0, until - self.clock())
            async with self.heavy.place(weight, seconds=left):
                left = max(0.0, until - self.clock())
                queue = model.queue
                if queue is None:
                    queue, left = await model.awake(left)
                (outcome,) = await queue.submit(
                    [job],
                    timeout_seconds=left,
                    low_priority=True,
                    is_request=is_request,
                    bounded=True,
                    spreads=is_only,
                    waits_since=waits_since,
                )
                return outcome
        except DeadlineError as error:
            return without_frames(error)

    async def _prepared(self, job: Job[C, T], seconds: float) -> Job[C, T]:
        """Prepare a job beside the workers; return it without that part."""
        with span("decode", {"foveal.images": 1}):
            (ready,) = await self.ahead.run(
                [job.prepare], timeout_seconds=seconds, disconnected=None
            )
        return Job(partial(_ready, ready), job.finish)

    async def announce(
        self,
        images: Sequence[EncodedImage],
        until: float,
        disconnected: Disconnected | None = None,
    ) -> list[Announced]:
        """Return each image's pixels and work by its header; refuse several that have too many pixels together.

        After the end of the request no further header is read.

        Raises:
            TooManyPixelsError: they have more than `max_request_pixels`.
            DeadlineError: not all headers were read before the clock reached `until`.
            ClientLeftError: `disconnected` has returned before.
        """
        quick = [quick_announced(one) if isinstance(one, bytes) else _NOTHING for one in images]
        known = [one for one in quick if one is not None]
        self._check_pixels(known, len(images))
        if len(known) == len(images):
            return known
        unknown = [
            image
            for image, found in zip(images, quick, strict=True)
            if found is None and isinstance(image, bytes)
        ]
        read = iter(await read_announced(self.decoder, unknown, until, disconnected))
        found = [next(read) if one is None else one for one in quick]
        self._check_pixels(found, len(images))
        return found

    def _check_pixels(self, announced: Sequence[Announced], count: int) -> None:
        total = sum(one.pixels for one in announced)
        if count > 1 and total > self.max_request_pixels:
            raise TooManyPixelsError(
                f"The {count} images have {total / 1e6:.0f} million pixels together by their headers, more than "
                f"the {self.max_request_pixels / 1e6:g} million allowed. Send them in several requests."
            )


def _if_allowed(image: EncodedImage, require: Require) -> EncodedImage:
    """Return the image, or why its result could not be drawn, where its first bytes say that."""
    pixels = quick_pixels(image) if isinstance(image, bytes) else None
    try:
        if pixels is not None:
            require(pixels)
    except ImageError as error:
        return error
    return image


def _prepared_if_allowed(
    prepare: Callable[[], tuple[NDArray[np.uint8], SourceImage]], require: Require
) -> tuple[NDArray[np.uint8], SourceImage]:
    frame, source = prepare()
    require(source.geometry.width * source.geometry.height)
    return frame, source


def refuse(error: ImageError) -> NoReturn:
    """Prepare an image that may not be run."""
    raise error


def _ready(prepared: tuple[Tensor, C] | FovealError) -> tuple[Tensor, C]:
    if isinstance(prepared, FovealError):
        raise prepared
    return prepared


def _held(
    prepare: Callable[[], tuple[NDArray[Any], SourceImage]],
    room: PixelRoom,
    pixels: int,
    until: float,
) -> tuple[NDArray[Any], SourceImage]:
    with room.hold(pixels, until):
        return prepare()


class _Decoding:
    """A whole image that is decoded on a thread, for a caller that may leave before it is ready."""

    def __init__(self, source: SourceImage, room: PixelRoom, until: float) -> None:
        self._source = source
        self._room = room
        self._until = until
        self._lock = threading.Lock()
        self._left = False
        self._place: KeptPixels | None = None

    def run(self) -> Image.Image:
        """Return the image; blocking."""
        with self._room.keep(self._source.held_pixels, self._until) as place:
            image = self._source.displayed()
        with self._lock:
            self._place = place
            left = self._left
        if left:
            place.release()
        return image

    def leave(self) -> None:
        """Count the image no more, now or when it is ready."""
        with self._lock:
            self._left = True
            place = self._place
        if place is not None:
            place.release()


def _finish(
    head: Head[T],
    hold: Callable[[int], AbstractContextManager[None]],
    outputs: Outputs,
    source: SourceImage,
    *,
    draws: bool,
) -> T:
    """Let a head have the whole image only while there is room for it: masks and drawings have its size."""
    geometry = source.geometry
    pixels = source.held_pixels if draws else geometry.width * geometry.height
    if pixels <= SMALL_PIXELS:
        return head(outputs, source)
    with hold(pixels):
        return head(outputs, source)


def whole_frame(card: Card) -> SourceImage:
    """Return an image without pixels that is the network's frame: results of the same input are compared on it."""
    height, width = card.image_input.height, card.image_input.width
    geometry = Geometry(width, height, (0, 0, width, height), (0, 0, width, height))
    return SourceImage(b"", geometry, Limits(max_pixels=0))
