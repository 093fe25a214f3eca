"""Which large body is received next: in order, few at once, and only while the held bodies leave room."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from service.api.ingest.admission import PAUSE_SECONDS, Admission, Turn
from service.errors import OverloadedError
from tests.service.api.client import settle
from tests.service.api.clock import Timer

pytestmark = pytest.mark.anyio

MIB = 2**20


@contextmanager
def holding(admission: Admission, *sizes: int) -> Iterator[ExitStack]:
    """Hold bodies of these sizes; closing the stack releases the last first."""
    with ExitStack() as stack:
        for size in sizes:
            stack.enter_context(admission.hold(size))
        yield stack


async def test_so_many_are_received_at_once_and_the_others_in_the_order_they_came() -> None:
    admission = Admission(turns=2, room=MIB, capacity=10, timer=Timer())
    order: list[int] = []

    async def body(number: int) -> Turn:
        turn = await admission.turn()
        order.append(number)
        return turn

    tasks = [asyncio.create_task(body(number)) for number in range(5)]
    await settle()
    assert (order, admission.waiting) == ([0, 1], 3)
    (await tasks[1]).end()
    await settle()
    assert (order, admission.waiting) == ([0, 1, 2], 2)
    (await tasks[0]).end()
    (await tasks[2]).end()
    await settle()
    assert (order, admission.waiting) == ([0, 1, 2, 3, 4], 0)


async def test_a_newcomer_does_not_overtake_those_that_wait() -> None:
    admission = Admission(turns=1, room=MIB, capacity=10, timer=Timer())
    first = await admission.turn()
    second = asyncio.create_task(admission.turn())
    await settle()
    first.end()  # the next turn begins one step of the event loop later
    third = asyncio.create_task(admission.turn())
    await settle()
    assert second.done()
    assert not third.done()
    second.result().end()
    (await third).end()


async def test_a_client_that_pauses_gives_its_turn_to_one_other_body() -> None:
    timer = Timer()
    admission = Admission(turns=1, room=MIB, capacity=10, timer=timer)
    slow = await admission.turn()
    second, third = [asyncio.create_task(admission.turn()) for _ in range(2)]
    timer.advance(0.0099)
    await settle()
    assert not second.done()
    timer.advance(0.0001)
    await settle()
    assert second.done()
    slow.received()  # its turn has ended: it is received beside the second
    slow.end()
    await settle()
    assert not third.done()
    assert [one.canceled for one in timer.alarms] == [False]  # the second's alone
    second.result().end()
    assert [one.canceled for one in timer.alarms] == [True]
    (await third).end()


async def test_a_client_that_keeps_sending_keeps_its_turn() -> None:
    timer = Timer()
    admission = Admission(turns=1, room=MIB, capacity=10, timer=timer)
    steady = await admission.turn()
    waiting = asyncio.create_task(admission.turn())
    for _ in range(20):
        timer.advance(0.9 * PAUSE_SECONDS)
        steady.received()
        await settle()
    assert not waiting.done()
    timer.advance(PAUSE_SECONDS)
    (await waiting).end()


async def test_without_a_timer_the_event_loop_ends_the_turn_of_a_client_that_pauses() -> None:
    admission = Admission(turns=1, room=MIB, capacity=10)
    await admission.turn()
    async with asyncio.timeout(10):
        (await admission.turn()).end()


async def test_held_bodies_keep_others_waiting_until_they_leave_room() -> None:
    admission = Admission(turns=1, room=3 * MIB, capacity=10, timer=Timer())
    with holding(admission, MIB, MIB), admission.hold(MIB):
        waiting = asyncio.create_task(admission.turn())
        await settle()
        assert not waiting.done()
        assert admission.held_bytes == 3 * MIB
    (await waiting).end()
    assert admission.held_bytes == 0


async def test_a_body_is_received_while_one_byte_of_room_is_left() -> None:
    admission = Admission(turns=1, room=3 * MIB, capacity=10, timer=Timer())
    with holding(admission, MIB, MIB, MIB - 1):
        (await admission.turn()).end()
    with holding(admission, MIB, MIB, MIB):
        waiting = asyncio.create_task(admission.turn())
        await settle()
        assert not waiting.done()
    (await waiting).end()


async def test_two_bodies_a_turn_are_held_whatever_their_size() -> None:
    admission = Admission(turns=2, room=MIB, capacity=10, timer=Timer())
    with holding(admission, *[30 * MIB] * 3):
        (await admission.turn()).end()
        with admission.hold(30 * MIB):
            waiting = asyncio.create_task(admission.turn())
            await settle()
            assert not waiting.done()
        await settle()
        assert waiting.done()
    waiting.result().end()


async def test_a_body_is_held_before_the_next_turn_begins() -> None:
    admission = Admission(turns=1, room=MIB, capacity=10, timer=Timer())
    with holding(admission, MIB):
        turn = await admission.turn()
        waiting = asyncio.create_task(admission.turn())
        await settle()
        turn.end()
        with admission.hold(MIB):
            await settle()
            assert not waiting.done()
    (await waiting).end()


async def test_a_failure_while_a_body_is_held_releases_it() -> None:
    admission = Admission(turns=1, room=MIB, capacity=10, timer=Timer())
    with pytest.raises(ZeroDivisionError), admission.hold(MIB):
        raise ZeroDivisionError
    assert admission.held_bytes == 0


async def test_a_full_line_refuses() -> None:
    admission = Admission(turns=1, room=MIB, capacity=2, timer=Timer())
    turn = await admission.turn()
    waiting = [asyncio.create_task(admission.turn()) for _ in range(2)]
    await settle()
    with pytest.raises(OverloadedError, match="2 large bodies already wait"):
        await admission.turn()
    turn.end()
    for task in waiting:
        (await task).end()


@pytest.mark.parametrize("when", [0, 1, 2, 3])
async def test_a_request_canceled_about_when_its_turn_comes_costs_no_turn(when: int) -> None:
    admission = Admission(turns=1, room=MIB, capacity=10, timer=Timer())
    turn = await admission.turn()
    impatient, admitted, patient = [asyncio.create_task(admission.turn()) for _ in range(3)]
    await settle()
    impatient.cancel()
    await settle()
    assert admission.waiting == 2
    turn.end()
    for _ in range(when):
        await asyncio.sleep(0)
    admitted.cancel()
    await settle()
    if not admitted.cancelled():
        assert when > 1
        admitted.result().end()
    async with asyncio.timeout(5):
        (await patient).end()
        (await admission.turn()).end()
    assert admission.waiting == 0
