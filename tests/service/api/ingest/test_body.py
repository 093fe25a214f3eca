"""A whole body: within its limit and its deadline, in turn where it is large, and held until its response."""

import asyncio
import gzip
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from service.api.ingest.admission import Admission
from service.api.ingest.arriving import ArrivingBodies
from service.api.ingest.body import COMPLETE_KEY, EAGER_BYTES, LARGE_BYTES, next_chunk, read_body
from service.api.record import RequestRecord
from service.body_memory import BodyMemory
from service.errors import (
    BodyTooLargeError,
    ClientLeftError,
    DeadlineError,
    InvalidParameterError,
    MalformedEncodingError,
    OverloadedError,
    UnsupportedEncodingError,
)
from tests.service.api.client import Client, settle
from tests.service.api.clock import Clock, Timer

pytestmark = pytest.mark.anyio

LIMIT = 8 * LARGE_BYTES
LARGE = bytes(LARGE_BYTES + 1)


@dataclass
class Limits:
    max_body_bytes: int = LIMIT
    max_images: int = 4
    max_form_fields: int = 2
    max_json_depth: int = 200
    admission: Admission = field(
        default_factory=lambda: Admission(turns=1, room=LIMIT, capacity=1, timer=Timer())
    )
    arriving: ArrivingBodies = field(default_factory=lambda: ArrivingBodies(4 * LIMIT))


@dataclass
class Reading:
    """A body that is being read by a task."""

    client: Client
    record: RequestRecord
    task: "asyncio.Task[bytes]"


def read(
    limits: Limits,
    *chunks: bytes,
    whole: bool = False,
    length: int | None = None,
    record: RequestRecord | None = None,
) -> Reading:
    """Begin to read a body of which these pieces have arrived, all of it where `whole`; `length` is announced."""
    client = Client({} if length is None else {"content-length": str(length)})
    for index, chunk in enumerate(chunks, 1):
        client.send(chunk, more=not (whole and index == len(chunks)))
    record = record or RequestRecord("id")
    task = asyncio.create_task(read_body(client.request, limits, record))
    return Reading(client, record, task)


async def test_the_pieces_are_joined_in_order_and_counted() -> None:
    reading = read(Limits(), b"ab", b"", b"cd", whole=True)
    assert await reading.task == b"abcd"
    assert reading.record.body_bytes == 4


async def test_a_body_without_a_piece_is_empty() -> None:
    assert await read(Limits(), b"", whole=True).task == b""


async def test_a_message_without_fields_is_the_end_of_the_body() -> None:
    client = Client()
    client.deliver({"type": "http.request"})
    assert await next_chunk(client.request) == (b"", False)


async def test_an_announced_body_over_the_limit_is_refused_before_a_piece_is_received() -> None:
    reading = read(Limits(), b"a", length=LIMIT + 1)
    with pytest.raises(BodyTooLargeError, match="larger than the 2 MiB allowed"):
        await reading.task
    assert reading.client.received == 0


async def test_a_body_over_the_limit_is_refused_at_the_piece_that_passes_it() -> None:
    reading = read(Limits(), bytes(LIMIT), b"a", b"b", whole=True)
    with pytest.raises(BodyTooLargeError):
        await reading.task
    assert reading.client.received == 2


async def test_a_body_of_the_limit_is_read() -> None:
    assert await read(Limits(), bytes(LIMIT), whole=True, length=LIMIT).task == bytes(LIMIT)


async def test_a_client_that_leaves_before_the_end_has_left() -> None:
    reading = read(Limits(), b"ab")
    reading.client.leave()
    with pytest.raises(ClientLeftError, match="before the end of the body"):
        await reading.task


async def test_a_body_that_is_late_states_the_deadline_of_the_request() -> None:
    clock = Clock()
    record = RequestRecord("id", [(b"x-timeout-ms", b"3000")], clock=clock)
    clock.now += 3
    with pytest.raises(DeadlineError, match="did not arrive within 3000 ms"):
        await read(Limits(), b"ab", record=record).task


async def test_the_deadline_also_covers_the_wait_for_a_turn() -> None:
    limits = Limits()
    await limits.admission.turn()
    record = RequestRecord("id", timeout_seconds=0.05)
    reading = read(limits, LARGE[:EAGER_BYTES], length=LARGE_BYTES + 1, record=record)
    await settle()
    assert limits.admission.waiting == 1
    with pytest.raises(DeadlineError):
        await reading.task
    assert limits.admission.waiting == 0


async def test_a_deadline_that_is_not_valid_is_refused_before_a_piece_is_received() -> None:
    record = RequestRecord("id", [(b"x-timeout-ms", b"0")])
    reading = read(Limits(), b"ab", whole=True, record=record)
    with pytest.raises(InvalidParameterError):
        await reading.task
    assert reading.client.received == 0


async def test_a_body_announced_as_large_is_not_received_before_its_turn() -> None:
    limits = Limits()
    turn = await limits.admission.turn()
    first, rest = LARGE[:EAGER_BYTES], LARGE[EAGER_BYTES:]
    reading = read(limits, first, rest, whole=True, length=len(LARGE))
    await settle()
    assert (reading.client.received, limits.admission.waiting) == (1, 1)
    turn.end()
    assert await reading.task == LARGE


async def test_an_announcement_without_bytes_takes_nobodys_place() -> None:
    limits = Limits()
    silent = [read(limits, length=LIMIT) for _ in range(20)]
    a_little = read(limits, LARGE[: EAGER_BYTES - 1], length=LIMIT)
    await settle()
    assert limits.admission.waiting == 0
    assert await read(limits, LARGE, whole=True, length=len(LARGE)).task == LARGE
    for reading in (*silent, a_little):
        reading.client.leave()
        with pytest.raises(ClientLeftError):
            await reading.task


async def test_a_body_that_never_comes_gets_its_deadline_and_a_complete_one_no_timer() -> None:
    clock = Clock()
    record = RequestRecord("id", timeout_seconds=1, clock=clock)
    clock.now += 1
    with pytest.raises(DeadlineError):
        await read(Limits(), length=1000, record=record).task
    reading = read(Limits(), b"image", whole=True, record=RequestRecord("id", timeout_seconds=0))
    reading.client.request.scope[COMPLETE_KEY] = True
    assert await reading.task == b"image"


async def test_unfinished_bodies_are_counted_together_and_the_costliest_gives_way() -> None:
    clock = Clock()
    limits = Limits(arriving=ArrivingBodies(3 * EAGER_BYTES, clock))
    old, young = read(limits, LARGE[: EAGER_BYTES - 1]), read(limits, b"a")
    await settle()
    clock.now += 1
    assert limits.arriving.bytes == EAGER_BYTES
    young.client.send(LARGE[: 2 * EAGER_BYTES], more=True)
    await settle()
    assert not young.task.done()
    assert limits.arriving.bytes == 3 * EAGER_BYTES
    newest = read(limits, b"a")
    await settle()
    with pytest.raises(OverloadedError, match=r"hold 0\.1875 MiB together"):
        await young.task  # it has most, though not for longest
    assert limits.arriving.bytes == EAGER_BYTES
    for reading in (old, newest):
        reading.client.send(b"end")
        await reading.task
    assert limits.arriving.bytes == 0


async def test_a_deadline_is_cut_to_the_longest_that_the_operator_allows() -> None:
    record = RequestRecord("id", [(b"x-timeout-ms", b"3600000")], longest_seconds=0.01)
    with pytest.raises(DeadlineError, match="did not arrive within 10 ms"):
        await read(Limits(), b"ab", record=record).task
    shorter = RequestRecord("id", [(b"x-timeout-ms", b"9")], longest_seconds=0.01)
    with pytest.raises(DeadlineError, match="did not arrive within 9 ms"):
        await read(Limits(), b"ab", record=shorter).task


async def test_a_body_that_turns_out_to_be_large_waits_for_its_turn_then() -> None:
    limits = Limits()
    turn = await limits.admission.turn()
    reading = read(limits, LARGE[:-1], b"\0", b"the rest", whole=True)
    await settle()
    assert (reading.client.received, limits.admission.waiting) == (2, 1)
    turn.end()
    assert await reading.task == LARGE + b"the rest"


async def test_a_body_of_just_the_size_that_is_not_large_waits_for_no_turn_and_is_not_held() -> (
    None
):
    limits = Limits()
    await limits.admission.turn()
    reading = read(limits, LARGE[2:], b"\0", whole=True, length=LARGE_BYTES)
    assert len(await reading.task) == LARGE_BYTES
    assert limits.admission.held_bytes == 0


@pytest.mark.parametrize("size", [LARGE_BYTES, LARGE_BYTES + 1])
async def test_only_a_large_body_waits_until_the_memory_has_room(size: int) -> None:
    memory = BodyMemory(LIMIT)
    limits = Limits(arriving=ArrivingBodies(4 * LIMIT, memory=memory))
    with closing(memory.place()) as other:
        await other.take(LIMIT - 3 * LARGE_BYTES)
        waiting = read(limits, bytes(EAGER_BYTES), length=4 * LARGE_BYTES)
        await settle()
        assert memory.waiting == 1
        reading = read(limits, bytes(size - 1), b"\0", whole=True)
        await settle()
        assert reading.task.done() == (size <= LARGE_BYTES)
    waiting.task.cancel()
    assert len(await reading.task) == size


async def test_every_piece_extends_the_turn() -> None:
    timer = Timer()
    limits = Limits(admission=Admission(turns=1, room=LIMIT, capacity=1, timer=timer))
    reading = read(limits, LARGE[:EAGER_BYTES], length=2 * LARGE_BYTES)
    await settle()
    waiting = asyncio.create_task(limits.admission.turn())
    for _ in range(5):
        await settle()
        timer.advance(0.009)
        reading.client.send(b"piece", more=True)
    await settle()
    assert not waiting.done()
    timer.advance(0.01)
    await settle()
    assert waiting.done()
    reading.client.send(b"last")
    assert await reading.task == LARGE[:EAGER_BYTES] + 5 * b"piece" + b"last"


@pytest.mark.parametrize("how", ["end", "leave", "too large"])
async def test_a_turn_ends_with_its_body_however_it_ends(how: str) -> None:
    limits = Limits()
    reading = read(limits, LARGE[:EAGER_BYTES], length=2 * LARGE_BYTES)
    await settle()
    if how == "leave":
        reading.client.leave()
    else:
        reading.client.send(b"end" if how == "end" else bytes(LIMIT + 1))
    await asyncio.wait([reading.task])
    assert (reading.task.exception() is None) == (how == "end")
    async with asyncio.timeout(5):
        (await limits.admission.turn()).end()


async def test_one_body_too_many_that_waits_is_refused() -> None:
    limits = Limits()
    await limits.admission.turn()
    waiting = read(limits, LARGE[:EAGER_BYTES], length=2 * LARGE_BYTES)
    await settle()
    with pytest.raises(OverloadedError):
        await read(limits, LARGE[:EAGER_BYTES], length=2 * LARGE_BYTES).task
    waiting.task.cancel()
    await asyncio.wait([waiting.task])


async def test_a_large_body_is_held_until_its_request_releases_it() -> None:
    limits = Limits()
    reading = read(limits, LARGE, whole=True)
    await reading.task
    assert limits.admission.held_bytes == len(LARGE)
    reading.record.release()
    assert limits.admission.held_bytes == 0


async def test_a_large_body_is_not_held_where_the_caller_does_not_want_it() -> None:
    limits, record, client = Limits(), RequestRecord("id"), Client()
    client.send(LARGE)
    assert await read_body(client.request, limits, record, held=False) == LARGE
    assert limits.admission.held_bytes == 0


def compressed(limits: Limits, body: bytes, coding: str = "gzip") -> Reading:
    client, record = Client({"content-encoding": coding}), RequestRecord("id")
    client.send(body)
    return Reading(client, record, asyncio.create_task(read_body(client.request, limits, record)))


async def test_a_compressed_body_is_inflated_and_counted_as_it_was_sent_but_held_as_it_is() -> None:
    limits, sent = Limits(), gzip.compress(LARGE)
    reading = compressed(limits, sent)
    assert await reading.task == LARGE
    assert reading.record.body_bytes == len(sent)
    assert limits.admission.held_bytes == len(LARGE)


async def test_a_small_body_that_inflates_to_a_large_one_waits_for_its_turn() -> None:
    limits = Limits()
    turn = await limits.admission.turn()
    reading = compressed(limits, gzip.compress(bytes(4 * LARGE_BYTES)))
    async with asyncio.timeout(5):
        while not limits.admission.waiting:
            await asyncio.sleep(0)
    turn.end()
    assert await reading.task == bytes(4 * LARGE_BYTES)


async def test_a_bomb_is_refused_at_the_limit() -> None:
    assert await compressed(Limits(), gzip.compress(bytes(LIMIT))).task == bytes(LIMIT)
    with pytest.raises(BodyTooLargeError, match="inflates to more than the 2 MiB"):
        await compressed(Limits(), gzip.compress(bytes(LIMIT + 1))).task


async def test_a_body_in_another_coding_is_refused_before_a_piece_is_received() -> None:
    reading = compressed(Limits(), b"x", "br")
    with pytest.raises(UnsupportedEncodingError):
        await reading.task
    assert reading.client.received == 0


async def test_a_compressed_body_that_is_cut_short_is_an_error_and_an_empty_one_is_empty() -> None:
    with pytest.raises(MalformedEncodingError, match="cut short"):
        await compressed(Limits(), gzip.compress(b"image", mtime=0)[:-3]).task
    assert await compressed(Limits(), b"").task == b""
