"""Chunks through a function that the test holds back: order, bounds, and how a run ends."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from service.bulk.chunks import HELD_BYTES, Chunks, Read, read_some
from service.bulk.item import Item, item_of_body
from service.bulk.run import Run
from service.errors import ConfigurationError

pytestmark = pytest.mark.anyio


def items(count: int) -> Iterator[Item]:
    return (item_of_body(str(index), b"x") for index in range(count))


def chunks(count: int, size: int = 2) -> Chunks:
    return Chunks(items(count), size)


async def names(read: Read) -> list[str]:
    return [name for name, _ in read]


async def test_answers_are_written_in_the_order_of_the_images() -> None:
    waiting: list[asyncio.Event] = []
    written: list[str] = []

    async def answer(read: Read) -> list[str]:
        """Let each chunk wait for the one behind it, as far as there is one."""
        waiting.append(event := asyncio.Event())
        if len(waiting) % 4:
            await event.wait()
        for one in waiting:
            one.set()
        return await names(read)

    run = Run(chunks(16), answer=answer, write=written.extend, in_flight=4)

    assert await run.complete()
    assert written == [str(index) for index in range(16)]


async def test_no_more_chunks_are_in_flight_than_allowed() -> None:
    now, most = 0, 0
    full = asyncio.Event()

    async def answer(read: Read) -> list[str]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        await full.wait()
        now -= 1
        return await names(read)

    await Run(chunks(40), answer=answer, write=lambda _: None, in_flight=3).complete()
    assert most == 3


async def test_sources_are_not_read_further_while_nothing_is_written() -> None:
    taken: list[str] = []
    counts: list[int] = []
    waits = threading.Event()

    def counted() -> Iterator[Item]:
        for item in items(1000):
            taken.append(item.name)
            yield item

    def write(_: Sequence[str]) -> None:
        if not counts:
            waits.wait(0.2)  # nothing more is taken meanwhile
            counts.append(len(taken))

    given = Chunks(counted(), 2)
    await Run(given, answer=names, write=write, in_flight=3).complete()

    assert len(taken) == 1000
    assert counts[0] <= 2 * 3 + 2 + 1  # those in flight, the next chunk, and one that finds no room


async def test_after_stop_what_has_begun_is_written() -> None:
    written: list[str] = []

    def write(rows: Sequence[str]) -> None:
        written.extend(rows)
        loop.call_soon_threadsafe(run.stop)

    loop = asyncio.get_running_loop()
    run = Run(chunks(1000), answer=names, write=write, in_flight=3)

    assert not await run.complete()
    assert written == [str(index) for index in range(len(written))]
    assert 2 <= len(written) <= 3 * 2 * 3


async def test_stop_does_not_wait_for_a_source_that_blocks() -> None:
    never = threading.Event()

    def blocking() -> Iterator[Item]:
        yield from items(2)
        never.wait()

    written: list[str] = []
    given = Chunks(blocking(), 2)
    run = Run(given, answer=names, write=written.extend, in_flight=2)
    completing = asyncio.create_task(run.complete())
    while not written:
        await asyncio.sleep(0.001)
    run.stop()

    assert not await completing
    assert written == ["0", "1"]
    never.set()


async def test_stop_waits_for_images_that_are_being_read() -> None:
    soon = threading.Event()
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()
    written: list[str] = []

    def slow() -> bytes:
        loop.call_soon_threadsafe(reading.set)
        soon.wait()
        return b"x"

    given = Chunks((Item(str(index), slow) for index in range(1000)), 2)
    run = Run(given, answer=names, write=written.extend, in_flight=1, read_seconds=50.0)
    completing = asyncio.create_task(run.complete())
    await reading.wait()
    run.stop()
    soon.set()

    assert not await completing
    assert written == ["0", "1"]


async def test_images_that_do_not_come_are_dropped_after_stop_with_those_behind_them() -> None:
    never = threading.Event()
    reading, wrote = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    written: list[str] = []

    def hung() -> bytes:
        loop.call_soon_threadsafe(reading.set)
        never.wait()
        return b"x"

    def write(rows: Sequence[str]) -> None:
        written.extend(rows)
        loop.call_soon_threadsafe(wrote.set)

    given = Chunks(iter([*items(3), Item("3", hung), *items(2)]), 2)
    run = Run(given, answer=names, write=write, in_flight=3, read_seconds=0.0)
    completing = asyncio.create_task(run.complete())
    await reading.wait()
    await wrote.wait()
    run.stop()

    assert not await completing
    assert written == ["0", "1"]
    never.set()


async def test_a_chunk_of_which_a_part_does_not_come_has_the_rows_before() -> None:
    never = threading.Event()
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()
    written: list[str] = []

    def hung() -> bytes:
        loop.call_soon_threadsafe(reading.set)
        never.wait()
        return b"x"

    large = Item("0", lambda: b"x" * HELD_BYTES)
    given = Chunks(iter([large, Item("1", hung), Item("2", lambda: b"x")]), 2)
    run = Run(given, answer=names, write=written.extend, in_flight=2, read_seconds=0.0)
    completing = asyncio.create_task(run.complete())
    await reading.wait()
    run.stop()

    assert not await completing
    assert written == ["0"]
    never.set()


async def test_where_nothing_answers_any_more_a_source_that_blocks_is_not_waited_for() -> None:
    never = threading.Event()
    gone: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    written: list[str] = []

    def blocking() -> Iterator[Item]:
        yield from items(2)
        never.wait()

    def write(names: Sequence[str]) -> None:
        written.extend(names)
        gone.get_loop().call_soon_threadsafe(gone.set_result, ConfigurationError("gone"))

    async def failed() -> Exception:
        return await gone

    run = Run(Chunks(blocking(), 2), answer=names, write=write, in_flight=2, failed=failed)
    with pytest.raises(ConfigurationError, match="gone"):
        await run.complete()
    assert written == ["0", "1"]
    never.set()


@pytest.mark.parametrize("part", ["source", "answer", "write"])
async def test_an_error_anywhere_ends_the_run(part: str) -> None:
    written: list[str] = []

    def source() -> Iterator[Item]:
        yield from items(6)
        if part == "source":
            raise ConfigurationError("broken")

    async def answer(read: Read) -> list[str]:
        if part == "answer" and read[0][0] == "4":
            raise ConfigurationError("broken")
        return await names(read)

    def write(rows: Sequence[str]) -> None:
        if part == "write" and "4" in rows:
            raise ConfigurationError("broken")
        written.extend(rows)

    given = Chunks(source(), 2)
    with pytest.raises(ConfigurationError, match="broken"):
        await Run(given, answer=answer, write=write, in_flight=2).complete()
    assert written == [str(index) for index in range(len(written))]


async def test_the_bytes_that_are_read_at_once_are_bounded() -> None:
    large = b"x" * (HELD_BYTES // 2)
    many = [item_of_body(str(index), large) for index in range(8)]

    assert len(Chunks(iter(many), 8).take()) == 2
    assert len(read_some(many)) == 2
    assert len(read_some([item_of_body("a", large * 3)])) == 1

    written: list[str] = []
    lazy = (Item(one.name, one.read) for one in many)
    await Run(Chunks(lazy, 8), answer=names, write=written.extend, in_flight=1).complete()
    assert written == [str(index) for index in range(8)]


def test_images_do_not_wait_for_others_that_do_not_come() -> None:
    """Another program writes the list, and waits itself: for the answers of what it has written."""
    further = threading.Event()

    def waiting() -> Iterator[Item]:
        yield from items(3)
        assert further.wait(60)
        yield from items(2)

    given = Chunks(waiting(), 64, seconds=0.01)
    assert len(given.take()) == 3
    further.set()
    assert len(given.take()) + len(given.take()) == 2
    assert given.take() == []


def test_what_came_before_an_error_of_the_source_is_given_first() -> None:
    def broken() -> Iterator[Item]:
        yield from items(3)
        raise ConfigurationError("broken")

    given = Chunks(broken(), 2)
    assert [len(given.take()), len(given.take())] == [2, 1]
    with pytest.raises(ConfigurationError, match="broken"):
        given.take()


def test_nothing_is_taken_after_the_end_of_a_run() -> None:
    taken: list[Item] = []

    def counted() -> Iterator[Item]:
        for item in items(1000):
            taken.append(item)
            yield item

    given = Chunks(counted(), 2)
    given.take()
    given.close()
    assert len(taken) <= 2 + 2 + 1
