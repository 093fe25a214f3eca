"""Calls that take long and give everyone the same: one at a time, shared by all who wait."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedCalls(Generic[T]):
    """Makes each kind of call once for all who wait for it, and one call at a time.

    No result is older than the request for it: who comes while a call runs shares the next one. All get the same
    object.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, kind: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a call gives. It goes on when one who waits for it leaves.

        Args:
            kind: those who wait for the same kind share a call.
            call: makes it.

        Raises:
            Exception: what the call raises.
        """
        running = self._waiting.get(kind)
        if running is None:
            running = self._waiting[kind] = asyncio.create_task(self._in_turn(kind, call))
        return await asyncio.shield(running)

    async def _in_turn(self, kind: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            del self._waiting[kind]
            return await call()
