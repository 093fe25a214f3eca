"""What a request fetches takes its room of the memory as a body does, waits for it in turn, and gives it back."""

import asyncio
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from service.api.ingest.admission import Admission
from service.api.ingest.arriving import ArrivingBodies
from service.api.ingest.body import EAGER_BYTES, LARGE_BYTES
from service.api.ingest.fetched import FetchedImages, fetching
from service.api.record import RequestRecord
from service.body_memory import LEAVE_SECONDS, BodyMemory
from service.errors import BodyTooLargeError, OverloadedError
from tests.service.api.client import settle
from tests.service.api.clock import Clock, Timer

pytestmark = pytest.mark.anyio

MOST = 8 * LARGE_BYTES
LARGE = LARGE_BYTES + 1


@dataclass
class Limits:
    """Of bodies; so many bytes fit into the memory."""

    memory: BodyMemory = field(default_factory=lambda: BodyMemory(MOST))
    max_body_bytes: int = MOST
    max_images: int = 4
    max_form_fields: int = 2
    max_json_depth: int = 200
    unfinished: int = 4 * MOST
    turns: int = 4
    clock: Clock = field(default_factory=Clock)
    admission: Admission = field(init=False)
    arriving: ArrivingBodies = field(init=False)

    def __post_init__(self) -> None:
        self.admission = Admission(self.turns, room=MOST, capacity=4, timer=Timer())
        self.arriving = ArrivingBodies(self.unfinished, self.clock, self.memory)


@dataclass
class Request:
    """One that fetches images of such sizes, each announced where it says so, and pauses after the first."""

    limits: Limits
    sizes: tuple[int, ...]
    announces: bool = True
    body_bytes: int = 0
    record: RequestRecord = field(default_factory=lambda: RequestRecord("id"))
    timer: Timer = field(default_factory=Timer)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[int]" = field(init=False)

    def __post_init__(self) -> None:
        self.task = asyncio.create_task(self.run())

    async def run(self) -> int:
        async with fetching(self.limits, self.record, self.body_bytes, timer=self.timer) as fetched:
            for index, size in enumerate(self.sizes, 1):
                fetched.begin(is_last=index == len(self.sizes))
                await arrive(fetched, size, announces=self.announces)
                if index == 1:
                    await self.go_on.wait()
        return fetched.size


async def arrive(fetched: FetchedImages, size: int, *, announces: bool = True) -> None:
    """Have an image come in pieces of `EAGER_BYTES`."""
    fetched.announced(size if announces else 0)
    if fetched.must_wait:
        await fetched.wait()
    for at in range(0, size, EAGER_BYTES):
        fetched.came(min(EAGER_BYTES, size - at))
        if fetched.must_wait:
            await fetched.wait()


async def finish(*requests: Request) -> None:
    for one in requests:
        one.go_on.set()
    await asyncio.gather(*(one.task for one in requests))
    for one in requests:
        one.record.release()


async def test_images_are_counted_while_they_arrive_and_until_the_response_starts() -> None:
    limits = Limits()
    request = Request(limits, (LARGE_BYTES, 5))
    await settle()
    assert (limits.memory.bytes, limits.arriving.bytes) == (LARGE_BYTES, LARGE_BYTES)
    request.go_on.set()
    assert await request.task == LARGE_BYTES + 5
    assert (limits.memory.bytes, limits.arriving.bytes) == (LARGE_BYTES + 5, 0)
    assert limits.admission.held_bytes == LARGE_BYTES + 5
    request.record.release()
    assert (limits.memory.bytes, limits.admission.held_bytes) == (0, 0)


async def test_small_images_wait_for_nothing_and_are_not_held() -> None:
    limits = Limits()
    with closing(limits.memory.place()) as other:
        await other.take(MOST - LARGE_BYTES)
        request = Request(limits, (LARGE_BYTES - 1, 1))
        request.go_on.set()
        assert await request.task == LARGE_BYTES
        assert limits.admission.held_bytes == 0
        assert limits.memory.bytes == MOST
        request.record.release()


async def test_the_body_of_the_request_is_held_with_its_images() -> None:
    limits = Limits()
    request = Request(limits, (1,), body_bytes=LARGE_BYTES)
    request.go_on.set()
    await request.task
    assert limits.admission.held_bytes == LARGE
    request.record.release()


async def test_a_last_image_takes_what_it_has_announced_and_waits_until_that_fits() -> None:
    limits = Limits()
    with closing(limits.memory.place()) as other:
        await other.take(MOST - LARGE + 1)
        request = Request(limits, (LARGE,))
        await settle()
        assert (limits.memory.waiting, limits.arriving.bytes) == (1, 0)
        other.shrink(MOST - LARGE)
        await settle()
        assert (limits.memory.waiting, limits.memory.bytes) == (0, MOST)
        await finish(request)
    assert limits.memory.bytes == 0


@pytest.mark.parametrize("how", [((LARGE, 1), True), ((LARGE,), False)])
async def test_where_more_may_come_half_of_the_memory_is_taken_at_first(
    how: tuple[tuple[int, ...], bool],
) -> None:
    limits = Limits()
    first = Request(limits, *how)
    await settle()
    assert limits.memory.bytes == MOST // 2
    await finish(first)
    assert limits.memory.bytes == 0


async def test_who_waits_has_nothing_that_could_give_way() -> None:
    limits = Limits(unfinished=16 * MOST)
    requests = [Request(limits, (LARGE, 1)) for _ in range(5)]
    await settle()
    assert (limits.memory.bytes, limits.memory.waiting) == (MOST, 3)
    await finish(*requests[:2])
    await finish(*requests[2:4])
    await finish(*requests[4:])
    assert limits.memory.bytes == 0


@pytest.mark.parametrize("announces", ["announced", "not announced"])
async def test_what_goes_beyond_that_takes_more(announces: str) -> None:
    limits = Limits()
    request = Request(limits, (MOST // 2, LARGE, 1), announces == "announced")
    await settle()
    assert limits.memory.bytes == MOST // 2
    with closing(limits.memory.place()) as other:
        await other.take(MOST // 2)
        request.go_on.set()
        await settle()
        assert limits.memory.waiting == 1
    assert await request.task == MOST // 2 + LARGE + 1
    assert limits.memory.bytes == MOST // 2 + LARGE + 1
    request.record.release()
    assert limits.memory.bytes == 0


async def test_an_image_takes_its_turn_as_a_large_body_does() -> None:
    limits = Limits(turns=1)
    first = Request(limits, (LARGE,))
    await settle()
    second = Request(limits, (LARGE,))
    await settle()
    assert limits.admission.waiting == 1
    await finish(first, second)
    assert (limits.admission.waiting, limits.admission.held_bytes) == (0, 0)


async def test_an_image_that_never_fits_is_refused_by_what_it_announces_or_has_sent() -> None:
    limits = Limits(memory=BodyMemory(2 * LARGE_BYTES))
    for announces in (True, False):
        request = Request(limits, (2 * LARGE_BYTES + 1,), announces)
        with pytest.raises(BodyTooLargeError, match=r"An image .* 0\.5 MiB that the memory of the"):
            await request.task
        request.record.release()
    assert limits.memory.bytes == 0


async def test_an_image_that_is_larger_than_any_body_is_left_to_who_fetches_it() -> None:
    limits, record = Limits(memory=BodyMemory(LARGE)), RequestRecord("id")
    async with fetching(limits, record) as fetched:
        fetched.begin(is_last=True)
        fetched.announced(MOST + 1)
        assert fetched.left == LARGE
        with pytest.raises(BodyTooLargeError):
            fetched.announced(MOST)
    record.release()


async def test_the_images_have_no_more_together_than_the_memory_has_beside_the_body() -> None:
    limits, record = Limits(memory=BodyMemory(MOST // 2)), RequestRecord("id")
    record.place = limits.memory.place()
    await record.place.take(100)
    async with fetching(limits, record) as fetched:
        assert fetched.left == MOST // 2 - 100
        fetched.begin(is_last=False)
        await arrive(fetched, 50)
        assert (fetched.left, limits.memory.bytes) == (MOST // 2 - 150, 150)
    record.place.close()


async def test_without_a_limit_of_the_memory_they_have_what_a_body_has() -> None:
    limits = Limits(memory=BodyMemory())
    async with fetching(limits, RequestRecord("id")) as fetched:
        fetched.begin(is_last=False)
        await arrive(fetched, LARGE)
        assert fetched.left == MOST - LARGE


async def test_an_image_that_failed_counts_no_longer() -> None:
    limits, record = Limits(), RequestRecord("id")
    async with fetching(limits, record) as fetched:
        fetched.begin(is_last=False)
        await arrive(fetched, 7)
        fetched.begin(is_last=True)
        await arrive(fetched, 100)
        fetched.drop()
        assert (fetched.size, limits.memory.bytes, limits.arriving.bytes) == (7, 7, 7)
    record.release()


async def test_without_room_before_the_deadline_the_request_is_told_so() -> None:
    limits = Limits()
    with closing(limits.memory.place()) as other:
        await other.take(MOST)
        record = RequestRecord("id", timeout_seconds=0.05)
        record.began = limits.clock.now
        record.clock = limits.clock
        request = Request(limits, (LARGE,), record=record)
        with pytest.raises(OverloadedError, match=r"No memory .* was free within 0\.05 s"):
            await request.task
        request.record.release()
        assert (limits.memory.waiting, limits.memory.bytes) == (0, MOST)


async def test_a_request_that_is_given_up_gives_back_its_room_and_its_turn() -> None:
    limits = Limits(turns=1)
    request = Request(limits, (LARGE, 1))
    await settle()
    assert limits.memory.bytes == MOST // 2
    request.task.cancel()
    await asyncio.wait([request.task])
    request.record.release()
    assert (limits.memory.bytes, limits.arriving.bytes) == (0, 0)
    await finish(Request(limits, (LARGE,)))


async def test_above_the_limit_of_unfinished_bodies_the_costliest_request_gives_way() -> None:
    limits = Limits(unfinished=LARGE_BYTES)
    slow = Request(limits, (LARGE_BYTES - 10,))
    await settle()
    limits.clock.now += 1
    other = Request(limits, (11,))
    with pytest.raises(OverloadedError, match="this one has held most of it for longest"):
        await slow.task
    slow.record.release()
    await finish(other)
    assert limits.memory.bytes == 0


async def test_room_that_hardly_fills_is_left_to_others() -> None:
    limits = Limits()
    request = Request(limits, (LARGE, 1))
    await settle()
    assert limits.memory.bytes == MOST // 2
    request.timer.advance(LEAVE_SECONDS)
    assert limits.memory.bytes == MOST // 2  # enough has come
    request.timer.advance(LEAVE_SECONDS)
    assert limits.memory.bytes == LARGE
    await finish(request)
    assert limits.memory.bytes == 0


async def test_requests_whose_large_bodies_all_wait_for_the_room_of_images_do_not_wait_for_ever() -> (
    None
):
    limits = Limits()
    requests = []
    for _ in range(2):
        record = RequestRecord("id")
        record.place = limits.memory.place()
        record.release_with_response(closing(record.place))
        await record.place.take(MOST // 2)
        requests.append(Request(limits, (MOST // 4 + 1, 1), record=record))
    await settle()
    gone, stays = sorted(requests, key=lambda one: not one.task.done())
    with pytest.raises(OverloadedError, match="hold"):
        await gone.task
    gone.record.release()
    await finish(stays)
    assert limits.memory.bytes == 0


async def test_of_all_that_may_be_unfinished_who_fetches_waits_for_half_and_need_not_give_way() -> (
    None
):
    limits = Limits(memory=BodyMemory(), unfinished=3 * MOST)
    first, second = Request(limits, (LARGE, 1)), Request(limits, (LARGE, 1))
    last = Request(limits, (MOST // 2 + 1,))
    await settle()
    assert (limits.arriving.fetched.waiting, limits.arriving.bytes) == (2, LARGE)
    await finish(first)
    await settle()
    assert (limits.arriving.fetched.waiting, limits.arriving.bytes) == (1, LARGE)
    second.timer.advance(LEAVE_SECONDS)
    second.timer.advance(LEAVE_SECONDS)
    await settle()
    assert limits.arriving.fetched.waiting == 0  # what hardly comes leaves its room here too
    await finish(second, last)
    assert (limits.arriving.fetched.bytes, limits.arriving.bytes) == (0, 0)
