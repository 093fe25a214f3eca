"""Who may send a large body next: in order, few at once, and only while those that wait leave room."""

import asyncio

import pytest

from service.api.ingest.admission import PAUSE_SECONDS, Admission, Turn
from service.errors import OverloadedError

pytestmark = pytest.mark.anyio

MIB = 2**20


async def settle() -> None:
    """Let every task that can go on do so; no turn lapses meanwhile."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_are_received_at_once_and_the_others_in_the_order_they_came() -> None:
    admission = Admission(turns=2, room=MIB, capacity=10)
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


async def test_a_client_that_pauses_lets_the_next_one_in_once() -> None:
    admission = Admission(turns=1, room=MIB, capacity=10)
    slow = await admission.turn()
    second = await asyncio.wait_for(admission.turn(), timeout=5)
    third = asyncio.create_task(admission.turn())
    await settle()
    assert not third.done()
    slow.came()
    slow.end()  # its turn was over long ago
    await settle()
    assert not third.done()
    second.end()
    (await third).end()


async def test_a_client_that_keeps_sending_keeps_its_turn() -> None:
    admission = Admission(turns=1, room=MIB, capacity=10)
    steady = await admission.turn()
    waiting = asyncio.create_task(admission.turn())
    late = 0.0
    for _ in range(20):
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(PAUSE_SECONDS / 10)
        late = max(late, asyncio.get_running_loop().time() - before)
        steady.came()
    assert not waiting.done() or late > PAUSE_SECONDS / 2  # a machine that stalls is a pause
    steady.end()
    (await waiting).end()


async def test_bodies_that_wait_for_their_answer_keep_others_out_until_they_leave_room() -> None:
    admission = Admission(turns=1, room=3 * MIB, capacity=10)
    for _ in range(3):
        admission.hold(MIB)
    waiting = asyncio.create_task(admission.turn())
    await settle()
    assert not waiting.done()
    admission.release(MIB)
    (await waiting).end()
    assert admission.held_bytes == 2 * MIB


async def test_huge_bodies_still_keep_the_workers_busy() -> None:
    admission = Admission(turns=2, room=MIB, capacity=10)
    for _ in range(4):
        (await asyncio.wait_for(admission.turn(), timeout=5)).end()
        admission.hold(30 * MIB)
    waiting = asyncio.create_task(admission.turn())
    await settle()
    assert not waiting.done()
    admission.release(30 * MIB)
    (await waiting).end()


async def test_a_line_that_is_full_refuses() -> None:
    admission = Admission(turns=1, room=MIB, capacity=2)
    turn = await admission.turn()
    waiting = [asyncio.create_task(admission.turn()) for _ in range(2)]
    await settle()
    with pytest.raises(OverloadedError, match="2 large bodies wait"):
        await admission.turn()
    turn.end()
    for task in waiting:
        (await task).end()


@pytest.mark.parametrize("when", [0, 1, 2, 3])
async def test_whoever_gives_up_about_when_its_turn_comes_costs_nobody_a_turn(when: int) -> None:
    admission = Admission(turns=1, room=MIB, capacity=10)
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
    (await asyncio.wait_for(patient, timeout=5)).end()
    await settle()
    assert admitted.cancelled() or when > 1
    if not admitted.cancelled():
        admitted.result().end()
    (await asyncio.wait_for(admission.turn(), timeout=5)).end()
