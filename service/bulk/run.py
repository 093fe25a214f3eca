"""The images of the sources through the engine, as many at once as keep it busy; their answers in order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from service.bulk.chunks import Chunks, Read, read_some
from service.bulk.item import Item
from service.runtime.daemon_call import daemon_call
from service.whole_call import whole_call

R = TypeVar("R")


class Run(Generic[R]):
    """Takes images through a function, a bounded number at once, and writes what it returns in the images' order.

    What takes them is the only part that knows where they are computed, so a cluster can stand in for this process.

    Args:
        chunks: the images.
        answer: returns what is to be written of each image, in order.
        write: writes that; called on a thread, one call at a time.
        in_flight: chunks that are read or computed at once; this bounds the memory.
        failed: returns why the function will answer nothing any more, once that is so: the run then ends, also where
            the sources keep it waiting. None: nothing is known before the function is called.
    """

    def __init__(
        self,
        chunks: Chunks,
        *,
        answer: Callable[[Read], Awaitable[Sequence[R]]],
        write: Callable[[Sequence[R]], None],
        in_flight: int,
        failed: Callable[[], Coroutine[Any, Any, Exception]] | None = None,
    ) -> None:
        self._chunks = chunks
        self._answer = answer
        self._write = write
        self._in_flight = in_flight
        self._failed = failed
        self._turn = asyncio.Lock()
        self._stopped = asyncio.Event()
        self._ended = False

    def stop(self) -> None:
        """Take no further images; `complete` returns when those in flight are written. Called on the event loop."""
        self._stopped.set()

    async def complete(self) -> bool:
        """Run until the sources end, and return whether they did: False after `stop`.

        Raises:
            Exception: what the sources, the function or the writing raise. What was in flight is dropped.
        """
        flight: deque[asyncio.Task[list[R]]] = deque()
        failing = None if self._failed is None else asyncio.create_task(self._failed())
        try:
            while True:
                while not self._no_more and len(flight) < self._in_flight:
                    flight.append(asyncio.create_task(self._chunk()))
                if not flight:
                    return self._ended
                found: list[R] = []
                while flight and (not found or flight[0].done()):
                    found += await _unless(failing, flight[0])
                    flight.popleft()
                if found:
                    await whole_call(self._write, found)
        finally:
            if failing is not None:
                failing.cancel()
            for task in flight:
                task.cancel()
            for task in flight:
                with suppress(asyncio.CancelledError, Exception):
                    await task

    @property
    def _no_more(self) -> bool:
        return self._ended or self._stopped.is_set()

    async def _chunk(self) -> list[R]:
        """Return the answers of the next chunk; none where there is none, or it shall not be taken."""
        async with self._turn:  # tasks get it in the order in which they were made
            items = await self._taken()
        answers: list[R] = []
        while items:
            # A place elsewhere may keep its reader waiting; that must not keep the process from ending.
            read = await daemon_call(partial(read_some, items), "foveal-read")
            items = items[len(read) :]
            answers += await self._answer(read)
        return answers

    async def _taken(self) -> list[Item]:
        """Return the next images; none at the end, and after `stop`, which does not wait for a list that blocks."""
        if self._no_more:
            return []
        taking = asyncio.create_task(daemon_call(self._chunks.take, "foveal-sources"))
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([taking, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not taking.done():
                return []
            items = await taking
            self._ended = not items
            return items
        finally:
            taking.cancel()
            stopping.cancel()


async def _unless(failing: asyncio.Task[Exception] | None, task: asyncio.Task[R]) -> R:
    """Return what a task returns, unless there is a failure first.

    Raises:
        Exception: that of the task, or the failure.
    """
    if failing is not None:
        await asyncio.wait({failing, task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise failing.result()
    return await task
