"""Threads are there before the load is."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.started_threads import start_default_threads, start_threads


def test_a_pool_has_all_its_threads_and_no_job_is_left_in_it() -> None:
    with ThreadPoolExecutor(5, "of-this-pool") as pool:
        start_threads(pool.submit, 5)
        names = [one.name for one in threading.enumerate()]
        assert sum(name.startswith("of-this-pool") for name in names) == 5
        assert pool.submit(lambda: 7).result(10) == 7


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_pool_for_which_there_are_fewer_threads_has_those(error: Exception) -> None:
    with ThreadPoolExecutor(3, "of-this-pool") as pool:
        left = [1, 1]

        def submit(call: object) -> None:
            if not left:
                raise error
            left.pop()
            pool.submit(call)  # type: ignore[arg-type]

        start_threads(submit, 3)
        assert pool.submit(lambda: 7).result(10) == 7


@pytest.mark.anyio
async def test_a_call_that_blocks_starts_no_thread_once_the_threads_are_there() -> None:
    start_default_threads()
    before = threading.active_count()
    count = min(32, (getattr(os, "process_cpu_count", os.cpu_count)() or 1) + 4)
    gate = threading.Event()
    calls = [asyncio.create_task(asyncio.to_thread(gate.wait)) for _ in range(count)]
    await asyncio.sleep(0)
    assert threading.active_count() == before
    gate.set()
    await asyncio.gather(*calls)
