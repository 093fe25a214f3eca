"""Which jobs of a model's two lines form the next batch."""

import asyncio

import numpy as np
import pytest

from service.runtime.entry import Entry
from service.runtime.job import Job
from service.runtime.lines import PATIENCE_SECONDS, Lines

pytestmark = pytest.mark.anyio


class Queue:
    """The lines of a model, filled at times that the test chooses, and emptied as workers do it."""

    def __init__(self) -> None:
        self.lines = Lines(largest=2, capacity=99, max_delay_seconds=0.0)

    def add(self, at: float, count: int, *, low_priority: bool = False) -> None:
        line = self.lines.low_priority if low_priority else self.lines.normal
        loop = asyncio.get_running_loop()
        job = Job[None, None](lambda: (np.zeros(1), None), lambda _, __: None)
        line.waiting.extend(
            Entry(job, loop.create_future(), at, at + 60.0, line, at) for _ in range(count)
        )

    def taken(self, now: float) -> str:
        """Take the batch that goes first at this time, and return the line that it comes from."""
        ready = min(self.lines.ready_batches(now, closed=False))
        self.lines.pop(low_priority=ready.low_priority, runs=1)
        return "low" if ready.low_priority else "normal"


@pytest.mark.parametrize("queued_seconds", [0.5, 5.0])
async def test_a_low_priority_job_is_patient_for_a_second_only_however_long_images_wait(
    queued_seconds: float,
) -> None:
    queue = Queue()
    queue.add(at=0.0, count=40)
    queue.add(at=queued_seconds, count=9, low_priority=True)
    late = queued_seconds + PATIENCE_SECONDS
    assert [queue.taken(late - 0.1) for _ in range(3)] == ["normal"] * 3
    assert [queue.taken(late) for _ in range(6)] == ["low", "normal"] * 3


async def test_low_priority_jobs_yield_whenever_those_of_all_lanes_had_their_share() -> None:
    queue = Queue()
    queue.add(at=0.0, count=1)
    queue.add(at=0.0, count=1, low_priority=True)
    assert not any(one.yields for one in queue.lines.ready_batches(99.0, closed=False))
    offers = queue.lines.ready_batches(99.0, closed=False, low_priority_yields=True)
    assert [(one.low_priority, one.yields) for one in offers] == [(False, False), (True, True)]


async def test_low_priority_jobs_that_are_older_than_all_images_go_before_them() -> None:
    queue = Queue()
    queue.add(at=0.0, count=3, low_priority=True)
    queue.add(at=1.0, count=2)
    assert [queue.taken(2.0) for _ in range(4)] == ["low", "low", "low", "normal"]


async def test_where_no_image_waits_low_priority_jobs_do_not_either() -> None:
    queue = Queue()
    queue.add(at=0.0, count=2, low_priority=True)
    assert [queue.taken(0.0) for _ in range(2)] == ["low", "low"]
