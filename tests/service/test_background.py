import asyncio
import logging

import pytest

from service.background import AGAIN_SECONDS, background, kept_up, watch_lag
from service.metrics import Metrics
from tests.service.runtime.clocks import ManualClock

pytestmark = pytest.mark.anyio


async def test_work_runs_beside_the_block_and_ends_with_it() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with background(work()):
        await began.wait()
        assert not ended.is_set()
    assert ended.is_set()


async def test_work_that_fails_is_logged_and_the_block_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = asyncio.Event()

    async def work() -> None:
        failed.set()
        raise ZeroDivisionError("in the background")

    async with background(work()):
        await failed.wait()
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


async def test_work_without_end_that_fails_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    began, pauses = list[int](), list[float]()

    async def work() -> None:
        began.append(1)
        if len(began) < 3:
            raise MemoryError

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await kept_up(work, sleep)
    assert (len(began), pauses) == (3, [AGAIN_SECONDS] * 2)
    assert [one.levelno for one in caplog.records] == [logging.ERROR] * 2


async def test_the_lag_of_the_event_loop_is_observed() -> None:
    metrics, clock = Metrics(), ManualClock()
    late = iter((0.125, 0.5, -0.001))  # a clock may also run a little slow

    async def sleep(seconds: float) -> None:
        clock.advance(seconds + next(late))

    with pytest.raises(RuntimeError, match="StopIteration"):  # after the third
        await watch_lag(metrics, sleep, clock)
    found = {
        part: metrics.registry.get_sample_value(f"foveal_event_loop_lag_seconds_{part}")
        for part in ("count", "sum")
    }
    assert found == {"count": 3, "sum": pytest.approx(0.625)}
