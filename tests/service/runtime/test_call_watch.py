import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

import pytest

from service.runtime.call_watch import WATCH_AFTER_SECONDS, CallWatch

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

    def call_later(
        self, delay: float, callback: Callable[..., None], *arguments: object
    ) -> ManualTimer:
        timer = ManualTimer(partial(callback, *arguments))
        self.timers.append((delay, timer))
        return timer


class Caller:
    """One whose disconnection and time the test decides, and over whose call it watches."""

    def __init__(self, seconds: float = 30.0, *, can_leave: bool = True) -> None:
        self.left = asyncio.Event()
        self.watched = asyncio.Event()
        self.unwatched = asyncio.Event()
        self.noticed = asyncio.Event()
        self.late = 0
        self._loop = ManualLoop()
        self.watch = CallWatch(
            cast(asyncio.AbstractEventLoop, self._loop),
            seconds,
            self._on_deadline,
            self._disconnected if can_leave else None,
            self.noticed.set,
        )

    def _on_deadline(self) -> None:
        self.late += 1

    async def _disconnected(self) -> None:
        self.watched.set()
        try:
            await self.left.wait()
        finally:
            self.unwatched.set()

    def wait_out(self) -> float:
        """Let the newest timer fire, unless it was canceled; return its delay."""
        delay, timer = self._loop.timers[-1]
        if timer.fire is not None:
            timer.fire()
        return delay


async def test_a_caller_that_disconnects_is_noticed_once_the_watch_has_begun() -> None:
    caller = Caller()
    assert caller.wait_out() == WATCH_AFTER_SECONDS
    await caller.watched.wait()
    assert not caller.noticed.is_set()
    caller.left.set()
    await asyncio.wait_for(caller.noticed.wait(), 5)
    assert not caller.late


async def test_the_deadline_passes_after_the_watch_has_begun() -> None:
    caller = Caller(30.0)
    begins = caller.wait_out()
    await caller.watched.wait()
    assert begins + caller.wait_out() == 30.0
    assert caller.late == 1
    caller.watch.end()


@pytest.mark.parametrize(("seconds", "can_leave"), [(WATCH_AFTER_SECONDS, True), (30.0, False)])
async def test_a_short_call_and_one_whose_caller_can_not_leave_have_a_deadline_alone(
    *, seconds: float, can_leave: bool
) -> None:
    caller = Caller(seconds, can_leave=can_leave)
    assert caller.wait_out() == seconds
    await asyncio.sleep(0)
    assert (caller.late, caller.watched.is_set()) == (1, False)


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
    caller.wait_out()
    await asyncio.wait_for(caller.unwatched.wait(), 5)
    await asyncio.sleep(0)
    assert not caller.noticed.is_set()
    assert not caller.late
