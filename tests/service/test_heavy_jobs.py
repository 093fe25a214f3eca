"""Jobs that take long: few at once, in turns of their requests, given up with their callers."""

import asyncio

import pytest

from service.errors import ClientLeftError, DeadlineError, OverloadedError
from service.heavy_jobs import OTHERS_SECONDS, HeavyJobs, Weight

pytestmark = pytest.mark.anyio


class Held:
    """Jobs that hold a place until they are let go, and write down who began."""

    def __init__(self, heavy: HeavyJobs) -> None:
        self.heavy = heavy
        self.began: list[str] = []
        self.go = asyncio.Event()

    async def job(self, name: str, weight: Weight = Weight.LONG) -> str:
        async with self.heavy.place(weight, seconds=10):
            self.began.append(name)
            await self.go.wait()
            return name

    def start(
        self, name: str, count: int, weight: Weight = Weight.LONG
    ) -> "asyncio.Task[list[str]]":
        jobs = [lambda: self.job(name, weight)] * count
        return asyncio.create_task(self.heavy.run(jobs, disconnected=None))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("threads", "weight", "at_once"),
    [
        (1, Weight.LONG, 1),
        (2, Weight.LONG, 1),
        (4, Weight.LONG, 3),
        (4, Weight.MEDIUM, 4),
        (4, Weight.SHORT, 4),
    ],
)
async def test_long_jobs_leave_a_thread(threads: int, weight: Weight, at_once: int) -> None:
    held = Held(HeavyJobs(threads, 10))
    running = held.start("a", 6, weight)
    await settle()
    assert len(held.began) == at_once
    held.go.set()
    assert await running == ["a"] * 6


@pytest.mark.parametrize(
    ("threads", "decoders", "others", "at_once"),
    [(2, 2, True, 1), (2, 2, False, 2), (1, 1, True, 1), (2, 8, True, 7), (2, 8, False, 8)],
)
async def test_medium_jobs_leave_a_thread_that_decodes_while_small_images_come(
    *, threads: int, decoders: int, others: bool, at_once: int
) -> None:
    now = [100.0]
    held = Held(HeavyJobs(threads, 20, decoders, lambda: now[0]))
    held.heavy.note_other()
    now[0] += 0.0 if others else OTHERS_SECONDS
    running = [held.start("a", 1, Weight.MEDIUM) for _ in range(10)]
    await settle()
    assert len(held.began) == at_once
    held.go.set()
    assert await asyncio.gather(*running) == [["a"]] * 10


async def test_medium_jobs_take_the_thread_back_when_no_small_image_comes_any_more() -> None:
    now = [100.0]
    heavy = HeavyJobs(2, 10, clock=lambda: now[0])
    heavy.note_other()
    first, held = Held(heavy), Held(heavy)
    alone = first.start("first", 1, Weight.MEDIUM)
    await settle()
    running = [held.start("a", 1, Weight.MEDIUM) for _ in range(3)]
    now[0] += OTHERS_SECONDS
    first.go.set()
    await alone
    await settle()
    assert held.began == ["a", "a"]
    held.go.set()
    await asyncio.gather(*running)


async def test_a_long_job_leaves_a_place_to_medium_ones_and_takes_it_from_their_others() -> None:
    held = Held(HeavyJobs(4, 10))
    running = [held.start("long", 1), *(held.start("a", 1, Weight.MEDIUM) for _ in range(5))]
    await settle()
    assert held.began == ["long", *["a"] * 3]
    held.go.set()
    await asyncio.gather(*running)
    held = Held(HeavyJobs(1, 10))
    running = [held.start("long", 1), held.start("a", 1, Weight.MEDIUM)]
    await settle()
    assert held.began == ["long", "a"]
    held.go.set()
    await asyncio.gather(*running)


async def test_a_place_that_comes_as_its_job_is_canceled_goes_to_the_next() -> None:
    heavy, held = HeavyJobs(2, 10), list[str]()

    async def job(name: str) -> None:
        async with heavy.place(Weight.LONG, seconds=10):
            held.append(name)

    async with heavy.place(Weight.LONG, seconds=10):
        tasks = [asyncio.create_task(job(name)) for name in ("gone", "canceled", "next")]
        await settle()
        tasks[0].cancel()
        await settle()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert held == ["next"]


async def test_a_request_of_many_does_not_let_another_wait_for_all_of_them() -> None:
    held = Held(HeavyJobs(2, 100))
    many = held.start("many", 20)
    await settle()
    one = held.start("one", 1)
    await settle()
    held.go.set()
    await asyncio.gather(many, one)
    assert held.began.index("one") <= 2


async def test_what_has_no_place_in_time_is_told() -> None:
    heavy = HeavyJobs(2, 10)
    async with heavy.place(Weight.LONG, seconds=1):
        with pytest.raises(DeadlineError):
            async with heavy.place(Weight.LONG, seconds=0.01):
                pass
        async with heavy.place(Weight.SHORT, seconds=1):
            pass
    async with heavy.place(Weight.LONG, seconds=0):
        pass


async def test_so_many_wait_and_one_more_is_refused() -> None:
    held = Held(HeavyJobs(2, 4))
    running = held.start("a", 4)
    await settle()
    with pytest.raises(OverloadedError, match="4 large images wait already, and 1 more do"):
        await held.start("b", 1)
    held.go.set()
    await running
    assert held.heavy.waiting == 0
    assert await held.start("b", 1) == ["b"]


async def test_a_client_that_leaves_gives_its_places_back() -> None:
    held = Held(HeavyJobs(2, 4))
    left = asyncio.Event()

    async def disconnected() -> None:
        await left.wait()

    jobs = [lambda: held.job("gone")] * 3
    running = asyncio.create_task(held.heavy.run(jobs, disconnected=disconnected))
    await settle()
    left.set()
    with pytest.raises(ClientLeftError):
        await running
    other = held.start("other", 1)
    await settle()
    assert (held.began, held.heavy.waiting) == (["gone", "other"], 1)
    held.go.set()
    await other


async def test_one_that_fails_ends_the_others() -> None:
    held = Held(HeavyJobs(2, 4))

    async def fails() -> str:
        raise OverloadedError("no thread")

    with pytest.raises(OverloadedError, match="no thread"):
        await held.heavy.run([lambda: held.job("a"), fails], disconnected=None)
    async with held.heavy.place(Weight.LONG, seconds=0):
        assert held.heavy.waiting == 0
