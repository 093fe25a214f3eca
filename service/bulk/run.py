"""The images of the sources through the engine, as many at once as keep it busy; their answers in order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from service.bulk.chunks import Chunks, Read, read_some
from service.bulk.item import Item
from service.runtime.daemon_call import begin_daemon_call
from service.whole_call import whole_call

R = TypeVar("R")
T = TypeVar("T")

READ_SECONDS = 5.0
"""How long a run that is stopped waits for images that are being read: a place elsewhere may take minutes to say no."""


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
        read_seconds: see `READ_SECONDS`.
    """

    def __init__(
        self,
        chunks: Chunks,
        *,
        answer: Callable[[Read], Awaitable[Sequence[R]]],
        write: Callable[[Sequence[R]], None],
        in_flight: int,
        failed: Callable[[], Coroutine[Any, Any, Exception]] | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._chunks = chunks
        self._answer = answer
        self._write = write
        self._in_flight = in_flight
        self._failed = failed
        self._read_seconds = read_seconds
        self._turn = asyncio.Lock()
        self._taking: asyncio.Future[list[Item] | None] | None = None
        self._reading = set[asyncio.Future[Read | None]]()
        self._stopped = False
        self._reads_no_more = False
        self._ended = False

    def stop(self) -> None:
        """Take no further images; `complete` returns when those in flight are written. Called on the event loop.

        A list that keeps its reader waiting is left at once. Images that are still being read after `read_seconds` are
        dropped, and so are all behind them.
        """
        self._stopped = True
        if self._taking is not None:
            _leave(self._taking)
        asyncio.get_running_loop().call_later(self._read_seconds, self._leave_reading)

    def _leave_reading(self) -> None:
        self._reads_no_more = True
        for reading in self._reading:
            _leave(reading)

    async def complete(self) -> bool:
        """Run until the sources end, and return whether they did: False after `stop`.

        Raises:
            Exception: what the sources, the function or the writing raise. What was in flight is dropped.
        """
        flight: deque[asyncio.Task[_Answered[R]]] = deque()
        failing = None if self._failed is None else asyncio.create_task(self._failed())
        try:
            while True:
                while not self._no_more and len(flight) < self._in_flight:
                    flight.append(asyncio.create_task(self._chunk()))
                if not flight:
                    return self._ended
                found, whole = list[R](), True
                while flight and whole and (not found or flight[0].done()):
                    answered = await _unless(failing, flight[0])
                    found += answered.answers
                    whole = answered.whole
                    flight.popleft()
                if found:
                    await whole_call(self._write, found)
                if not whole:
                    return False
        finally:
            self._chunks.close()
            if failing is not None:
                failing.cancel()
            for task in flight:
                task.cancel()
            for task in flight:
                with suppress(asyncio.CancelledError, Exception):
                    await task

    @property
    def _no_more(self) -> bool:
        return self._ended or self._stopped

    async def _chunk(self) -> "_Answered[R]":
        """Return the answers of the next chunk; none where there is none, or it shall not be taken."""
        async with self._turn:  # tasks get it in the order in which they were made
            items = await self._taken()
        answers: list[R] = []
        while items:
            read = await self._read(items)
            if read is None:
                return _Answered(answers, whole=False)
            items = items[len(read) :]
            answers += await self._answer(read)
        return _Answered(answers)

    async def _taken(self) -> list[Item]:
        """Return the next images; none at the end, and after `stop`."""
        if self._no_more:
            return []
        self._taking = begin_daemon_call(self._chunks.take, "foveal-sources")
        items = await self._taking
        self._ended = items == []
        return items or []

    async def _read(self, items: list[Item]) -> Read | None:
        """Return the first images, read; None where nobody waits for them any more."""
        if self._reads_no_more:
            return None
        # A place elsewhere may keep its reader waiting; that must not keep the process from ending.
        reading: asyncio.Future[Read | None]
        reading = begin_daemon_call(partial(read_some, items), "foveal-read")
        self._reading.add(reading)
        try:
            return await reading
        finally:
            self._reading.discard(reading)


@dataclass(frozen=True, slots=True)
class _Answered(Generic[R]):
    """The answers of a chunk, or of the images before one that did not come in time."""

    answers: list[R]
    whole: bool = True


def _leave(call: "asyncio.Future[T | None]") -> None:
    """Let nobody wait for a call any more."""
    if not call.done():
        call.set_result(None)


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
