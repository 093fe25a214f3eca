"""Jobs that take long: few at once, in turns of their requests, given up with their callers."""

import asyncio

import pytest

from service.errors import ClientLeftError, DeadlineError, OverloadedError
from service.heavy_jobs import HeavyJobs

pytestmark = pytest.mark.anyio


class Held:
    """Jobs that hold a place until they are let go, and write down who began."""

    def __init__(self, heavy: HeavyJobs) -> None:
        self.heavy = heavy
        self.began: list[str] = []
        self.go = asyncio.Event()

    async def job(self, name: str, *, is_long: bool = True) -> str:
        async with self.heavy.place(is_long=is_long, seconds=10):
            self.began.append(name)
            await self.go.wait()
            return name

    def start(self, name: str, count: int, *, is_long: bool = True) -> "asyncio.Task[list[str]]":
        jobs = [lambda: self.job(name, is_long=is_long)] * count
        return asyncio.create_task(self.heavy.run(jobs, disconnected=None))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("threads", "is_long", "at_once"), [(1, True, 1), (2, True, 1), (4, True, 3), (4, False, 4)]
)
async def test_long_jobs_leave_a_thread(*, threads: int, is_long: bool, at_once: int) -> None:
    held = Held(HeavyJobs(threads, 10))
    running = held.start("a", 6, is_long=is_long)
    await settle()
    assert len(held.began) == at_once
    held.go.set()
    assert await running == ["a"] * 6


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
    async with heavy.place(is_long=True, seconds=1):
        with pytest.raises(DeadlineError):
            async with heavy.place(is_long=True, seconds=0.01):
                pass
        async with heavy.place(is_long=False, seconds=1):
            pass
    async with heavy.place(is_long=True, seconds=0):
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
    async with held.heavy.place(is_long=True, seconds=0):
        assert held.heavy.waiting == 0
