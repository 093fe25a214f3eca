"""Bodies take the memory that they need, wait for it in turn, and are refused where it never fits."""

import asyncio
from contextlib import ExitStack, closing

import pytest

from service.api.ingest.arriving import ArrivingBodies
from service.body_memory import BodyMemory
from service.errors import BodyTooLargeError, OverloadedError
from tests.service.api.client import settle
from tests.service.api.clock import Clock

pytestmark = pytest.mark.anyio


async def test_without_a_limit_nothing_waits_and_all_is_counted() -> None:
    memory = BodyMemory()
    with closing(memory.place()) as first, closing(memory.place()) as second:
        await first.take(10**9)
        await second.take(10**9)
        assert memory.bytes == 2 * 10**9
    assert memory.bytes == 0


async def test_a_body_waits_until_what_it_needs_fits_first_come_first_served() -> None:
    memory = BodyMemory(100)
    first, second, third = memory.place(), memory.place(), memory.place()
    await first.take(60)
    waiting = [asyncio.create_task(one.take(size)) for one, size in ((second, 60), (third, 0))]
    await settle()
    assert (memory.waiting, memory.bytes) == (2, 60)
    first.shrink(40)
    await asyncio.gather(*waiting)
    assert (memory.waiting, memory.bytes) == (0, 100)


async def test_who_leaves_while_it_waits_lets_the_next_one_in() -> None:
    memory = BodyMemory(100)
    first, second, third = memory.place(), memory.place(), memory.place()
    await first.take(60)
    large, small = asyncio.create_task(second.take(60)), asyncio.create_task(third.take(40))
    await settle()
    large.cancel()
    await small
    assert memory.bytes == 100


async def test_only_so_many_wait() -> None:
    memory = BodyMemory(100, capacity=0)
    await memory.place().take(60)
    with pytest.raises(OverloadedError, match="wait for memory"):
        await memory.place().take(60)


async def test_what_never_fits_is_refused_with_the_reason() -> None:
    memory = BodyMemory(30 << 20)
    memory.require(30 << 20, 1)
    with pytest.raises(BodyTooLargeError, match=r"10\.0 MiB that the memory of the service"):
        memory.require(11 << 20, 3)


async def test_what_only_arrives_gives_way_to_a_body_that_would_wait_for_ever() -> None:
    clock, memory = Clock(), BodyMemory(100)
    bodies = ArrivingBodies(1000, clock, memory)
    with (
        closing(memory.place()) as slow,
        closing(memory.place()) as complete,
        bodies.counted(slow) as body,
    ):
        body.add(50)
        clock.now += 1
        await complete.take(90)
        assert body.gave_way
        assert memory.bytes == 90


async def test_bodies_that_arrive_give_way_above_the_limit_and_not_those_that_have_their_room() -> (
    None
):
    clock, memory = Clock(), BodyMemory(100)
    bodies = ArrivingBodies(1000, clock, memory)
    with (
        closing(memory.place()) as first,
        closing(memory.place()) as second,
        bodies.counted(first) as taken,
        bodies.counted(second) as slow,
    ):
        await first.take(90)
        taken.add(80)
        clock.now += 1
        slow.add(10)
        assert not slow.gave_way
        slow.add(1)
        assert (taken.gave_way, slow.gave_way, memory.bytes) == (False, True, 90)


async def test_a_body_that_gave_way_while_it_waited_takes_nothing_any_more() -> None:
    clock, memory = Clock(), BodyMemory(100)
    bodies = ArrivingBodies(1000, clock, memory)
    working, *places = (memory.place() for _ in range(4))
    await working.take(3)
    third, first, second = places
    with ExitStack() as stack:
        old = stack.enter_context(bodies.counted(first))
        clock.now += 10
        large = stack.enter_context(bodies.counted(second))
        clock.now += 1
        old.add(36)
        large.add(61)
        waiting = [
            asyncio.create_task(place.take(size))
            for place, size in ((third, 40), (first, 40), (second, 62))
        ]
        await settle()
        assert memory.waiting == 3
        working.close()
        await settle()
        assert (old.gave_way, large.gave_way) == (True, True)
        assert (memory.waiting, memory.bytes) == (0, 40)
        for task in waiting[1:]:
            task.cancel()
        await asyncio.wait(waiting)
    for one in places:
        one.close()
    assert memory.bytes == 0


async def test_what_a_request_holds_beside_counts_for_what_never_fits() -> None:
    memory = BodyMemory(30 << 20)
    memory.require(20 << 20, 1, beside=10 << 20)
    with pytest.raises(BodyTooLargeError, match=r"^An image is larger than the 20\.0 MiB that"):
        memory.require((20 << 20) + 1, 1, beside=10 << 20, what="An image")
