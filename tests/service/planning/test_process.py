"""A simulated process takes the batches that the service's own batcher takes, and treats late requests as it does."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.metrics import Metrics
from service.planning.process import Batch, Kind, Outcomes, Process
from service.planning.replica import Replica
from service.runtime.batcher import Batcher
from service.runtime.job import Job, Tensor
from service.runtime.workers import Workers

pytestmark = pytest.mark.anyio


class Timeline:
    """A process whose events are kept for the test, in place of a simulation that runs them."""

    def __init__(self, replica: Replica, arrivals: list[float]) -> None:
        self.events: list[tuple[float, Kind, Batch]] = []
        self.outcomes = Outcomes(len(arrivals))
        self.process = Process(
            0,
            replica,
            arrivals=arrivals,
            outcomes=self.outcomes,
            schedule=lambda at, kind, _, batch: self.events.append((at, kind, batch)),
            draw=lambda _: 1.0,
        )

    def ends(self, kind: Kind = Kind.WORKER_FREE) -> list[tuple[float, Batch]]:
        return [(at, batch) for at, one, batch in self.events if one is kind]


class Gated:
    """A network that notes the size of each batch, and ends each when the test allows it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gates: list[threading.Event] = []
        self.began = threading.Semaphore(0)

    def __call__(self, batch: Tensor) -> dict[str, Tensor]:
        gate = threading.Event()
        self.sizes.append(len(batch))
        self.gates.append(gate)
        self.began.release()
        assert gate.wait(10)
        return {"y": batch}


def _job() -> Job[None, int]:
    return Job(lambda: (np.zeros(1, np.float32), None), lambda *_: 1)


async def _real_sizes(waiting: int, *, workers: int, instances: int, largest: int) -> list[int]:
    """Return the batches that the service takes on one free worker, while all others are kept busy."""
    run, pool = Gated(), Workers(workers)
    busy = min(workers, instances)
    pool.start()
    model = Metrics().of_version("m", 1)
    batcher = Batcher([run] * instances, pool, model, largest=largest, capacity=1000)
    batcher.open()
    calls: list[asyncio.Task[Any]] = []

    def submit() -> None:
        calls.append(asyncio.create_task(batcher.submit([_job()], timeout_seconds=60)))

    for _ in range(busy):
        submit()
        await asyncio.sleep(0)
        await asyncio.to_thread(run.began.acquire)
    for _ in range(waiting):
        submit()
    await asyncio.sleep(0)
    taken = 0
    at = 0
    while taken < waiting:
        run.gates[at].set()
        await asyncio.to_thread(run.began.acquire)
        at = len(run.sizes) - 1
        taken += run.sizes[at]
    for gate in run.gates:
        gate.set()
    await asyncio.gather(*calls)
    await batcher.close()
    await asyncio.to_thread(pool.stop)
    return run.sizes[busy:]


def _simulated_sizes(waiting: int, *, workers: int, instances: int, largest: int) -> list[int]:
    replica = Replica(tuple([1.0] * largest), workers=workers, instances=instances)
    busy = min(workers, instances)
    line = Timeline(replica, [0.0] * (busy + waiting))
    for request in range(busy + waiting):
        line.process.receive(request, 0.0)
    sizes: list[int] = []
    _, batch = line.ends()[0]
    while sum(sizes) < waiting:
        line.process.run_ended([], 1.0)
        line.process.worker_free(batch, 1.0)
        _, batch = line.ends()[-1]
        sizes.append(len(batch))
    return sizes


@pytest.mark.parametrize(
    ("waiting", "workers", "instances", "largest"),
    [(7, 1, 1, 4), (9, 2, 2, 8), (9, 2, 2, 2), (10, 4, 2, 8), (1, 2, 2, 4), (30, 3, 3, 32)],
)
async def test_a_free_worker_takes_what_the_batcher_takes(
    waiting: int, workers: int, instances: int, largest: int
) -> None:
    real = await _real_sizes(waiting, workers=workers, instances=instances, largest=largest)
    assert real == _simulated_sizes(waiting, workers=workers, instances=instances, largest=largest)


def test_only_the_second_lone_image_runs_on_all_cores() -> None:
    wide = Replica((1.0,), workers=2, instances=2, wide=0.6)
    line = Timeline(wide, [0.0, 5.0, 10.0])
    for request, at in enumerate((0.0, 5.0, 10.0)):
        line.process.receive(request, at)
        end, batch = line.ends()[-1]
        line.process.run_ended([], end)
        line.process.worker_free(batch, end)
    assert [end for end, _ in line.ends()] == pytest.approx([1.0, 5.6, 10.6])


def test_a_worker_decodes_then_runs_then_reads_and_others_begin_meanwhile() -> None:
    staged = Replica((10.0, 12.0), workers=2, instances=1, decode=2.0, head=1.0)
    line = Timeline(staged, [0.0, 0.0])
    line.process.receive(0, 0.0)
    line.process.receive(1, 0.0)
    assert [(at, kind) for at, kind, _ in line.events] == [
        (12.0, Kind.RUN_ENDED),
        (13.0, Kind.WORKER_FREE),
    ]
    line.process.run_ended([], 12.0)
    assert line.ends()[-1] == (25.0, [1])


def test_batches_take_longer_while_others_run_and_the_event_loop_takes_its_part() -> None:
    crowded = Replica((10.0,), workers=2, instances=2, decode=2.0, http=1.0, crowded=1.5)
    line = Timeline(crowded, [0.0, 0.0])
    line.process.receive(0, 0.0)
    line.process.receive(1, 0.0)
    assert [end for end, _ in line.ends()] == pytest.approx([12.0, 1.5 * 12.0 + 1.0])


def test_what_is_late_is_dropped_before_it_runs() -> None:
    hasty = Replica((10.0, 10.0), timeout=15.0)
    line = Timeline(hasty, [0.0, 1.0, 2.0, 14.0])
    for request, at in enumerate((0.0, 1.0, 2.0, 14.0)):
        line.process.receive(request, at)
    line.process.run_ended([], 20.0)
    line.process.worker_free([0], 20.0)
    assert line.ends()[-1] == (30.0, [3])
    assert line.outcomes.expired == 3  # the first one's answer came after its deadline


def test_what_is_late_after_decoding_does_not_run() -> None:
    slow = Replica((10.0, 10.0), decode=4.0, timeout=10.0)
    line = Timeline(slow, [0.0, 5.0, 8.0])
    line.process.receive(0, 0.0)
    line.process.receive(1, 5.0)
    line.process.receive(2, 8.0)
    line.process.run_ended([], 14.0)
    line.process.worker_free([0], 14.0)  # two images decode until 22: both are late
    assert line.ends()[-1] == (22.0, [])


def test_a_full_queue_refuses_and_decoding_images_count() -> None:
    small = Replica((1.0,), decode=1.0, decoders=1, queue_size=2)
    line = Timeline(small, [0.0] * 3)
    for request in range(3):
        line.process.receive(request, 0.0)
    assert line.outcomes.refused == 1
    assert line.ends(Kind.DECODED) == [(1.0, [0])]
    line.process.decoded(0, 1.0)
    assert line.ends(Kind.RUN_ENDED) == [(2.0, [0])]


@pytest.mark.parametrize("full", [False, True])
def test_a_batch_waits_to_fill_where_that_is_set(*, full: bool) -> None:
    patient = replace(Replica((1.0, 1.0, 1.0)), max_delay=5.0)
    arrivals = [0.0, 1.0, 2.0] if full else [0.0, 1.0]
    line = Timeline(patient, arrivals)
    for request, at in enumerate(arrivals):
        line.process.receive(request, at)
    assert line.ends(Kind.DELAY_OVER) == [(5.0, [])]
    if not full:
        line.process.delay_over(5.0)
    assert line.ends() == [(3.0, [0, 1, 2])] if full else [(6.0, [0, 1])]
