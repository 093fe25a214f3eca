"""Calls that are shared: one at a time, and none older than the request for it."""

import asyncio
from collections.abc import Callable

import pytest

from service.api.shared_calls import SharedCalls

pytestmark = pytest.mark.anyio


class Slow:
    """A call that runs until the test lets it end; its results are numbered."""

    def __init__(self) -> None:
        self.begun, self.running, self.most = 0, 0, 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> bytes:
        self.begun += 1
        number = self.begun
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.may_end.wait()
        finally:
            self.running -= 1
        return b"%d" % number


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


async def test_who_comes_while_a_call_runs_shares_the_next_one() -> None:
    calls, slow = SharedCalls[bytes](), Slow()
    first = asyncio.create_task(calls.run("a", slow))
    await until(lambda: slow.begun == 1)
    others = [asyncio.create_task(calls.run("a", slow)) for _ in range(9)]
    await asyncio.sleep(0)
    slow.may_end.set()
    assert await asyncio.gather(first, *others) == [b"1", *[b"2"] * 9]


async def test_calls_of_several_kinds_take_turns() -> None:
    calls, slow = SharedCalls[bytes](), Slow()
    waiting = [asyncio.create_task(calls.run(kind, slow)) for kind in range(4)]
    await until(lambda: slow.begun == 1)
    slow.may_end.set()
    assert sorted(await asyncio.gather(*waiting)) == [b"1", b"2", b"3", b"4"]
    assert slow.most == 1


async def test_a_call_goes_on_for_the_others_when_one_leaves() -> None:
    calls, slow = SharedCalls[bytes](), Slow()
    leaves, stays = (asyncio.create_task(calls.run("a", slow)) for _ in range(2))
    await until(lambda: slow.begun == 1)
    leaves.cancel()
    slow.may_end.set()
    assert await stays == b"1"


async def test_a_call_that_fails_fails_for_those_who_waited_and_not_for_the_next() -> None:
    async def fails() -> bytes:
        raise OSError("full")

    async def works() -> bytes:
        return b"ok"

    calls = SharedCalls[bytes]()
    with pytest.raises(OSError, match="full"):
        await calls.run("a", fails)
    assert await calls.run("a", works) == b"ok"
