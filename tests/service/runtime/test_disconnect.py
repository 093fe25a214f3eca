import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from service.runtime.disconnect import WATCH_AFTER_SECONDS, DisconnectWatch

pytestmark = pytest.mark.anyio


class ManualTimer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.fire: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.fire = None


class ManualLoop:
    """Stands in for an event loop: keeps what is to be called later until the test calls it."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, ManualTimer]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(callback)
        self.timers.append((delay, timer))
        return timer


class Caller:
    """One whose disconnection the test decides, and whose watch it begins."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.watched = asyncio.Event()
        self.unwatched = asyncio.Event()
        self.noticed = asyncio.Event()
        self._loop = ManualLoop()
        self.watch = DisconnectWatch(
            cast(asyncio.AbstractEventLoop, self._loop), self._disconnected, self.noticed.set
        )

    async def _disconnected(self) -> None:
        self.watched.set()
        try:
            await self.left.wait()
        finally:
            self.unwatched.set()

    def wait_out(self) -> None:
        ((delay, timer),) = self._loop.timers
        assert delay == WATCH_AFTER_SECONDS
        if timer.fire is not None:
            timer.fire()


async def test_a_caller_that_disconnects_is_noticed_once_the_watch_has_begun() -> None:
    caller = Caller()
    caller.wait_out()
    await caller.watched.wait()
    assert not caller.noticed.is_set()
    caller.left.set()
    await asyncio.wait_for(caller.noticed.wait(), 5)


async def test_a_caller_that_has_its_answer_early_is_never_watched() -> None:
    caller = Caller()
    caller.watch.end()
    caller.wait_out()
    await asyncio.sleep(0)
    assert not caller.watched.is_set()


async def test_a_watch_that_was_ended_calls_nothing() -> None:
    caller = Caller()
    caller.wait_out()
    await caller.watched.wait()
    caller.watch.end()
    await asyncio.wait_for(caller.unwatched.wait(), 5)
    await asyncio.sleep(0)
    assert not caller.noticed.is_set()
