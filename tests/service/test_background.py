import asyncio
import logging

import pytest

from service.background import background, watch_lag
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
