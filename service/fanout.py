"""The other verb: one request becomes many jobs, in order, a few at a time, after all single images."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from service.errors import FovealError, OverloadedError
from service.runtime.job import Job, JobResult
from service.runtime.model import Model
from service.spans import begin

T = TypeVar("T")
Jobs = Iterable[Job[Any, T]] | AsyncIterable[Job[Any, T]]
_Flight = asyncio.Task[list[JobResult[T] | FovealError]]


class Place:
    """The place of one request that fans out. It is given back while the request has nothing to do."""

    def __init__(self, fan_out: "FanOut") -> None:
        self.held = True
        self._fan_out = fan_out

    def leave(self) -> None:
        """Give the place to others; again does nothing."""
        if self.held:
            self.held = False
            self._fan_out.give()

    async def come_back(self, timeout_seconds: float) -> None:
        """Have the place again, after those that came back before.

        Raises:
            OverloadedError: none was free in time.
        """
        if self.held:
            return
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._fan_out.take_again()
        except TimeoutError:
            raise OverloadedError(
                "The body arrived so slowly that its place was given to others, and none was free again within "
                f"{timeout_seconds:g} s. Send it again, and faster."
            ) from None
        self.held = True


class FanOut:
    """Takes the frames of a video, or the perturbed copies of an image, through a model's background line.

    Args:
        requests: how many requests may fan out at once; each costs memory for as long as it lasts.
        in_flight: jobs of one request that are queued or running at once, which bounds that memory.
    """

    def __init__(self, *, requests: int, in_flight: int) -> None:
        self._free = self.requests = requests
        self.in_flight = in_flight
        self._returning: deque[asyncio.Future[None]] = deque()

    @contextmanager
    def admit(self) -> "Iterator[Place]":
        """Hold a place for one request; called on the event loop.

        Raises:
            OverloadedError: all places are taken.
        """
        if self._free <= 0:
            raise OverloadedError(
                f"{self.requests} videos, explanations or chains are being worked on already, which is this service's "
                "limit. Try again in a moment."
            )
        self._free -= 1
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()

    def keep_until(self, call: "Future[Any]") -> None:
        """Have a place taken until a call on a thread has ended that works for a request which has ended."""
        loop = asyncio.get_running_loop()
        self._free -= 1

        def ended(_: "Future[Any]") -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.give)

        call.add_done_callback(ended)

    def give(self) -> None:
        """For `Place`: take it back, and pass it on to the request that has waited longest for its own."""
        self._free += 1
        while self._returning and self._free > 0:
            returning = self._returning.popleft()
            if not returning.done():
                self._free -= 1
                returning.set_result(None)

    async def take_again(self) -> None:
        """For `Place`: wait until there is one."""
        if self._free > 0:
            self._free -= 1
            return
        returning = asyncio.get_running_loop().create_future()
        self._returning.append(returning)
        try:
            await returning
        except asyncio.CancelledError:
            if not returning.cancelled():  # it was given in the same step of the event loop
                self.give()
            raise

    async def run(
        self, model: Model, jobs: Jobs[T], *, timeout_seconds: float
    ) -> AsyncGenerator[JobResult[T] | FovealError, None]:
        """Yield each job's answer or its own error, in order.

        Jobs are drawn as places in flight become free, never ahead of that. What has not run yet is dropped when the
        iteration is closed or its task canceled: iterate inside `contextlib.aclosing`.

        Args:
            model: whose queue they go through.
            jobs: what to run; may be endless, may be made as it is drawn. Drawing happens on the event loop, so what
                takes long belongs into the job's `prepare`, or behind an asynchronous iterator.
            timeout_seconds: how long each job may take from when it is queued.

        Raises:
            UnavailableError: the model is not ready, or the service is shutting down.
        """
        model.require_served()
        span = begin("fan_out")
        places, ran = asyncio.Semaphore(self.in_flight), 0
        flying: set[_Flight[T]] = set()
        started: asyncio.Queue[_Flight[T] | None] = asyncio.Queue()

        async def feed() -> None:
            try:
                async with aclosing(_drawn(jobs)) as source:
                    await places.acquire()
                    async for job in source:
                        flight = asyncio.create_task(run_alone(model, job, timeout_seconds))
                        flying.add(flight)
                        started.put_nowait(flight)
                        await places.acquire()
            finally:
                started.put_nowait(None)

        feeder = asyncio.create_task(feed(), context=None if span is None else span.context())
        try:
            while (flight := await started.get()) is not None:
                (outcome,) = await flight
                flying.discard(flight)
                ran += 1
                yield outcome
                places.release()
            await feeder
        finally:
            for task in (feeder, *flying):
                task.cancel()
            await asyncio.gather(feeder, *flying, return_exceptions=True)
            if span is not None:
                span.end(attributes={"foveal.model.name": model.name, "foveal.images": ran})


class HeldBytes:
    """Bounds the bytes of one request's images in flight; a single image always has room.

    Args:
        most: how many bytes.
    """

    def __init__(self, most: int) -> None:
        self._bytes, self._most = 0, most
        self._less = asyncio.Event()

    def add(self, size: int) -> None:
        self._bytes += size

    def remove(self, size: int) -> None:
        self._bytes -= size
        self._less.set()

    async def room_for(self, size: int) -> None:
        """Wait until an image of so many bytes may be made."""
        while self._bytes and self._bytes + size > self._most:
            self._less.clear()
            await self._less.wait()


async def run_alone(
    model: Model, job: Job[Any, T], timeout_seconds: float
) -> list[JobResult[T] | FovealError]:
    """Run one low-priority job of few in flight; the model is loaded first where it is not in memory.

    Raises:
        UnavailableError: the model is not ready, or the service is shutting down.
    """
    queue = model.queue
    if queue is None:
        queue, timeout_seconds = await model.awake(timeout_seconds)
    return await queue.submit(
        [job], timeout_seconds=timeout_seconds, low_priority=True, bounded=True
    )


async def _drawn(jobs: Jobs[T]) -> AsyncGenerator[Job[Any, T], None]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job
