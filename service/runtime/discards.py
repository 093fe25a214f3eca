"""Versions that are let go, each in a task that goes on whatever becomes of the call that began it."""

import asyncio
from collections.abc import Coroutine, Iterable

from service.runtime.model import Model
from service.runtime.opening import Opener
from service.runtime.served import Served
from service.runtime.wanted import key_of


class Discards:
    """Lets versions go. All methods are called on the event loop.

    Args:
        opener: brings them out of memory.
        served: what is served.
    """

    def __init__(self, opener: Opener, served: Served) -> None:
        self._opener = opener
        self._served = served
        self._running: set[asyncio.Task[None]] = set()

    def drain(self, model: Model) -> "asyncio.Task[None]":
        """Let a version go, which was served, once everything that it has accepted has been answered."""
        return self._keep(self._drain(model))

    async def at_once(self, models: Iterable[Model]) -> None:
        """Let versions go that no request has found; this goes on when the caller is canceled."""
        await asyncio.shield(self._keep(self._let_go(tuple(models))))

    async def close(self) -> None:
        """Return when all that was let go has gone."""
        await asyncio.gather(*self._running)

    async def _drain(self, model: Model) -> None:
        if model.state == "loading":
            async with self._opener.turn:  # a load that has begun ends first
                pass
        await self._opener.discard(model)
        self._end_series(model)

    async def _let_go(self, models: Iterable[Model]) -> None:
        for model in models:
            await self._opener.discard(model, at_once=True)
            self._end_series(model)

    def _end_series(self, model: Model) -> None:
        # Another file of the same version goes on counting.
        if self._served.at(key_of(model.servable)) is None:
            self._opener.series.end(model)

    def _keep(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
