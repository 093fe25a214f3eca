"""Very large images are decoded beside the workers, and dropped with their request."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.bounded_thread import NO_THREAD
from service.errors import (
    BrokenImageError,
    ClientLeftError,
    DeadlineError,
    FovealError,
    InferenceError,
    OverloadedError,
    UnavailableError,
)
from service.imaging.ahead import DecodingAhead

pytestmark = pytest.mark.anyio


@pytest.fixture
def ahead() -> Iterator[DecodingAhead]:
    made = DecodingAhead(1, 4)
    yield made
    made.close()


async def test_every_call_has_its_own_outcome_in_order(ahead: DecodingAhead) -> None:
    def broken() -> int:
        raise BrokenImageError("cut")

    def bug() -> int:
        raise ZeroDivisionError

    calls = [lambda: 1, broken, bug, lambda: 2]
    results = await ahead.run(calls, timeout_seconds=10, disconnected=None)
    assert (results[0], results[3], ahead.waiting) == (1, 2, 0)
    assert isinstance(results[1], BrokenImageError)
    assert isinstance(results[2], InferenceError)
    assert str(results[2]) == "The image could not be prepared."


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MemoryError, UnavailableError),
        (SystemExit, InferenceError),
        (KeyboardInterrupt, InferenceError),
    ],
)
async def test_what_ends_a_thread_fails_its_own_image_alone(
    ahead: DecodingAhead, raised: type[BaseException], expected: type[FovealError]
) -> None:
    def end() -> int:
        raise raised

    results = await ahead.run([end, lambda: 2], timeout_seconds=10, disconnected=None)
    assert (type(results[0]), results[1], ahead.waiting) == (expected, 2, 0)
    assert await ahead.run([lambda: 3], timeout_seconds=10, disconnected=None) == [3]


class Poor(ThreadPoolExecutor):
    """Has so many threads to give; for a call that needs one more it raises what Python does."""

    left = 1

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not self.left:
            raise RuntimeError(NO_THREAD)
        self.left -= 1
        return super().submit(fn, *args, **kwargs)


def test_its_threads_start_before_the_first_image_comes() -> None:
    before = {one for one in threading.enumerate() if one.name.startswith("foveal-large")}
    made = DecodingAhead(3, 4)
    made.start()
    now = {one for one in threading.enumerate() if one.name.startswith("foveal-large")}
    assert len(now - before) == 3
    made.close()


async def test_without_a_thread_the_request_can_be_sent_again_and_takes_no_place() -> None:
    pool, ran = Poor(1), list[int]()
    made, gate = DecodingAhead(1, 2, pool), threading.Event()
    pool.submit(gate.wait, 10)
    for _ in range(3):
        pool.left = 1
        with pytest.raises(UnavailableError, match="no further thread"):
            await made.run([lambda: ran.append(1)] * 2, timeout_seconds=10, disconnected=None)
        assert made.waiting == 0
    pool.left = 2
    await asyncio.sleep(0)  # the event loop passes the cancels on
    gate.set()
    assert await made.run([lambda: 1, lambda: 2], timeout_seconds=10, disconnected=None) == [1, 2]
    assert ran == [], "what was queued before it was refused is dropped"
    made.close()


@pytest.mark.parametrize("why", ["late", "left", "canceled"])
async def test_what_has_not_begun_is_dropped_with_its_request(
    ahead: DecodingAhead, why: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ran: list[int] = []

    def slow() -> None:
        begun.set()
        go_on.wait(10)

    async def left() -> None:
        await asyncio.to_thread(begun.wait)

    running = asyncio.create_task(
        ahead.run(
            [slow, lambda: ran.append(1)],
            timeout_seconds=0.05 if why == "late" else 10,
            disconnected=left if why == "left" else None,
        )
    )
    await asyncio.to_thread(begun.wait)
    if why == "canceled":
        running.cancel()
    await asyncio.wait([running])
    go_on.set()
    kinds = {"late": DeadlineError, "left": ClientLeftError}
    if why == "canceled":
        assert running.cancelled()
    else:
        assert isinstance(running.exception(), kinds[why])
    assert await ahead.run([lambda: 3], timeout_seconds=10, disconnected=None) == [3]
    assert (ran, ahead.waiting) == ([], 0)


async def test_so_many_wait_and_one_more_is_refused(ahead: DecodingAhead) -> None:
    go_on = threading.Event()
    calls = [lambda: go_on.wait(10)] * 4
    running = asyncio.create_task(ahead.run(calls, timeout_seconds=10, disconnected=None))
    await asyncio.sleep(0)
    assert ahead.waiting == 4
    with pytest.raises(OverloadedError):
        await ahead.run(calls[:1], timeout_seconds=10, disconnected=None)
    go_on.set()
    found: list[bool | FovealError] = await running
    assert found == [True] * 4


async def test_a_request_that_is_canceled_twice_leaves_nothing_in_the_log(
    ahead: DecodingAhead,
) -> None:
    """As of a chain whose client leaves: its crops are canceled with it, and again with what draws them."""
    begun, go_on, told = threading.Event(), threading.Event(), list[object]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))

    def slow() -> None:
        begun.set()
        go_on.wait(10)

    running = asyncio.create_task(ahead.run([slow], timeout_seconds=10, disconnected=None))
    await asyncio.to_thread(begun.wait)
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    del running
    await asyncio.sleep(0)
    gc.collect()
    go_on.set()
    loop.set_exception_handler(None)
    assert told == []
