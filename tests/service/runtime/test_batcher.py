import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import (
    BrokenImageError,
    ClientLeftError,
    DeadlineError,
    FovealError,
    InferenceError,
    NotReadyError,
    OverloadedError,
    ShuttingDownError,
    UnavailableError,
)
from service.metrics import Metrics
from service.runtime.batcher import Batcher
from service.runtime.job import Job, JobResult, Outputs, Run, Tensor
from service.runtime.lines import LOW_PRIORITY_SECONDS, PATIENCE_SECONDS
from service.runtime.turns import Seat, Turn
from service.runtime.workers import Workers
from service.spans import CURRENT, Place, SpanId, TracedRequest, inside
from tests.samples import total
from tests.service.runtime.clocks import ManualClock

pytestmark = pytest.mark.anyio

POISON = 13


@dataclass
class DoublingNetwork:
    """Doubles its numbers, remembers its batches, and can be held in the middle of a run."""

    batches: list[list[int]] = field(default_factory=list)
    open_gate: threading.Event = field(default_factory=threading.Event)
    seconds_per_image: float = 0.0
    clock: ManualClock = field(default_factory=ManualClock)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def run(self, batch: Tensor) -> Outputs:
        self.batches.append(batch.tolist())
        self.entered.release()
        assert self.open_gate.wait(10)
        self.clock.advance(self.seconds_per_image * len(batch))
        if POISON in batch:
            raise RuntimeError("poison")
        return {"twice": batch * 2}

    @classmethod
    def running(cls, seconds_per_image: float = 0.0) -> "DoublingNetwork":
        network = cls(seconds_per_image=seconds_per_image)
        network.open_gate.set()
        return network

    async def has_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)


def number(value: int) -> Job[None, int]:
    return Job(lambda: (np.array(value), None), lambda outputs, _: int(outputs["twice"]))


def values(outcomes: Sequence[JobResult[int] | FovealError]) -> list[int]:
    return [outcome.value if isinstance(outcome, JobResult) else -1 for outcome in outcomes]


@dataclass
class Bench:
    """A batcher at work, and the metrics it fills."""

    batcher: Batcher
    metrics: Metrics

    async def ask(
        self, *numbers: int, timeout_seconds: float = 10, low_priority: bool = False
    ) -> list[JobResult[int] | FovealError]:
        return await self.batcher.submit(
            [number(value) for value in numbers],
            timeout_seconds=timeout_seconds,
            low_priority=low_priority,
        )

    def start(
        self, *numbers: int, low_priority: bool = False
    ) -> "asyncio.Task[list[JobResult[int] | FovealError]]":
        return asyncio.create_task(self.ask(*numbers, low_priority=low_priority))

    def count(self, name: str, **labels: str) -> float:
        return total(self.metrics.registry, name, model="m", **labels) or 0.0


@asynccontextmanager
async def bench(
    *runs: Callable[[Tensor], Outputs],
    workers: int = 1,
    largest: int = 8,
    capacity: int = 100,
    kept_seconds: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    **options: Any,
) -> AsyncIterator[Bench]:
    crew, metrics = Workers(workers, kept_seconds, clock), Metrics()
    series = metrics.of_version("m", 1)
    batcher = Batcher(runs, crew, series, largest=largest, capacity=capacity, **options)
    crew.start()
    batcher.open()
    try:
        yield Bench(batcher, metrics)
    finally:
        await batcher.close()
        await asyncio.to_thread(crew.stop)


async def until_queued(batcher: Batcher, depth: int) -> None:
    while batcher.depth != depth:
        await asyncio.sleep(0)


async def test_a_lone_job_runs_at_once_and_alone() -> None:
    network = DoublingNetwork.running()
    async with bench(network.run) as b:
        assert values(await b.ask(21)) == [42]
    assert network.batches == [[21]]


async def test_while_the_worker_is_busy_the_queue_grows_into_the_next_batch() -> None:
    network = DoublingNetwork()
    async with bench(network.run) as b:
        first = b.start(1)
        await network.has_entered()
        rest = [b.start(value) for value in (2, 3, 4)]
        await until_queued(b.batcher, 3)
        network.open_gate.set()
        assert [values(await task) for task in (first, *rest)] == [[2], [4], [6], [8]]
    assert network.batches == [[1], [2, 3, 4]]
    assert b.count("foveal_batches_total", closed="drained") == 2


async def test_no_batch_is_larger_than_the_largest() -> None:
    network = DoublingNetwork.running()
    async with bench(network.run, largest=3) as b:
        assert values(await b.ask(*range(1, 9))) == [2 * value for value in range(1, 9)]
    assert [len(batch) for batch in network.batches] == [3, 3, 2]
    assert b.count("foveal_batches_total", closed="full") == 2


async def test_a_worker_leaves_the_others_their_share() -> None:
    network = DoublingNetwork.running()
    async with bench(network.run, network.run, workers=2) as b:
        await b.ask(1, 2, 3, 4)
        assert max(len(batch) for batch in network.batches) == 2
        assert b.count("foveal_batches_total", closed="shared") >= 1


async def test_a_result_says_where_its_time_went_and_how_many_images_traveled_together() -> None:
    network = DoublingNetwork.running()
    async with bench(network.run, macs=10) as b:
        outcomes = await b.ask(1, 2)
    traces = [outcome.trace for outcome in outcomes if isinstance(outcome, JobResult)]
    assert [trace.batch_size for trace in traces] == [2, 2]
    assert all(trace.infer > 0 and trace.queue >= 0 for trace in traces)
    assert b.count("foveal_macs_total") == 20
    assert b.count("foveal_stage_seconds_count", stage="infer") == 2


async def test_jobs_that_do_not_all_fit_are_refused_together() -> None:
    network = DoublingNetwork()
    async with bench(network.run, capacity=2) as b:
        first = b.start(1)
        await network.has_entered()
        second = b.start(2)
        await until_queued(b.batcher, 1)
        with pytest.raises(OverloadedError):
            await b.ask(3, 4)
        network.open_gate.set()
        assert values(await first) + values(await second) == [2, 4]
    assert network.batches == [[1], [2]]


async def test_a_fan_out_goes_on_where_requests_fill_its_line() -> None:
    network = DoublingNetwork()
    async with bench(network.run, capacity=2) as b:
        running = b.start(1, low_priority=True)
        await network.has_entered()
        waiting = b.start(2, 3, low_priority=True)
        await until_queued(b.batcher, 2)
        with pytest.raises(OverloadedError):
            await b.ask(4, low_priority=True)
        frame = asyncio.create_task(
            b.batcher.submit([number(5)], timeout_seconds=10, low_priority=True, bounded=True)
        )
        await until_queued(b.batcher, 3)
        network.open_gate.set()
        assert values(await running + await waiting + await frame) == [2, 4, 6, 10]


async def test_what_expires_in_the_queue_is_answered_and_never_run() -> None:
    network = DoublingNetwork()
    async with bench(network.run) as b:
        first = b.start(1)
        await network.has_entered()
        (outcome,) = await b.ask(2, timeout_seconds=0.01)
        assert isinstance(outcome, DeadlineError)
        assert b.batcher.depth == 0
        network.open_gate.set()
        assert values(await first) == [2]
    assert network.batches == [[1]]
    assert b.count("foveal_images_total", outcome="expired") == 1


async def test_a_cancelled_call_is_dropped_and_strands_nobody() -> None:
    network = DoublingNetwork()
    async with bench(network.run) as b:
        first = b.start(1)
        await network.has_entered()
        leaving, staying = b.start(2), b.start(3)
        await until_queued(b.batcher, 2)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert b.batcher.depth == 1
        network.open_gate.set()
        assert values(await first) + values(await staying) == [2, 6]
    assert network.batches == [[1], [3]]
    assert b.count("foveal_images_total", outcome="abandoned") == 1


async def test_a_call_that_is_cancelled_in_the_middle_of_its_batch_strands_nobody() -> None:
    network = DoublingNetwork()
    async with bench(network.run) as b:
        leaving = b.start(1)
        await network.has_entered()
        staying = b.start(2)
        leaving.cancel()
        network.open_gate.set()
        assert values(await staying) == [4]


async def test_a_poisonous_job_fails_alone() -> None:
    network = DoublingNetwork.running()
    async with bench(network.run) as b:
        outcomes = await b.ask(1, 2, POISON, 4, 5)
    assert values(outcomes) == [2, 4, -1, 8, 10]
    assert isinstance(outcomes[2], InferenceError)
    assert b.count("foveal_images_total", outcome="failed") == 1


async def test_a_job_that_can_not_be_prepared_fails_alone_and_before_the_run() -> None:
    def broken() -> tuple[Tensor, None]:
        raise BrokenImageError("cut short")

    network = DoublingNetwork.running()
    async with bench(network.run) as b:
        jobs = [number(1), Job(broken, lambda *_: 0), number(3)]
        outcomes = await b.batcher.submit(jobs, timeout_seconds=10)
    assert values(outcomes) == [2, -1, 6]
    assert isinstance(outcomes[1], BrokenImageError)
    assert network.batches == [[1, 3]]


@pytest.mark.parametrize("part", ["prepare", "finish"])
@pytest.mark.parametrize("raised", [ZeroDivisionError, SystemExit])
async def test_a_fault_of_ours_in_one_job_does_not_take_its_neighbors_along(
    part: str, raised: type[BaseException]
) -> None:
    def fault(*_: object) -> Any:
        raise raised

    network = DoublingNetwork.running()
    sound = number(1)
    faulty = Job(fault, sound.finish) if part == "prepare" else Job(sound.prepare, fault)
    async with bench(network.run) as b:
        outcomes = await b.batcher.submit([number(1), faulty, number(3)], timeout_seconds=10)
    assert values(outcomes) == [2, -1, 6]
    assert isinstance(outcomes[1], InferenceError)


async def test_closing_refuses_the_new_and_answers_the_accepted() -> None:
    network = DoublingNetwork()
    async with bench(network.run) as b:
        first = b.start(1)
        await network.has_entered()
        second = b.start(2)
        await until_queued(b.batcher, 1)
        closing = asyncio.create_task(b.batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDownError):
            await b.ask(3)
        network.open_gate.set()
        assert values(await first) + values(await second) == [2, 4]
        await closing


async def test_a_delay_lets_a_batch_fill_and_a_full_one_does_not_wait() -> None:
    network = DoublingNetwork.running()
    async with bench(network.run, largest=2, max_delay_seconds=3600) as b:
        first = b.start(1)
        await until_queued(b.batcher, 1)
        assert values(await b.ask(2)) == [4]
        assert values(await first) == [2]
    assert network.batches == [[1, 2]]


async def test_a_delay_that_is_over_sends_what_there_is() -> None:
    network = DoublingNetwork.running()
    async with bench(network.run, max_delay_seconds=0.01) as b:
        assert values(await b.ask(1)) == [2]
        assert b.count("foveal_batches_total", closed="delay") == 1


async def test_one_instance_never_runs_two_batches_at_once() -> None:
    network = DoublingNetwork()
    async with bench(network.run, workers=2) as b:
        first = b.start(1)
        await network.has_entered()
        second = b.start(2)
        await until_queued(b.batcher, 1)
        assert network.batches == [[1]]
        network.open_gate.set()
        assert values(await first) + values(await second) == [2, 4]


async def test_one_image_after_the_other_gets_all_cores() -> None:
    network, wide = DoublingNetwork.running(), DoublingNetwork.running()
    async with bench(network.run, network.run, workers=2, wide=wide.run) as b:
        for value in (1, 2, 3):
            assert values(await b.ask(value)) == [2 * value]
        assert wide.batches == [[2], [3]], "only the second in a row is known to be alone"


async def test_a_job_of_low_priority_gets_all_cores_where_it_may() -> None:
    network, wide = DoublingNetwork.running(), DoublingNetwork.running()
    async with bench(network.run, network.run, workers=2, wide=wide.run) as b:
        for value, spreads in ((1, True), (2, True), (3, False)):
            outcomes = await b.batcher.submit(
                [number(value)], timeout_seconds=10, low_priority=True, spreads=spreads
            )
            assert values(outcomes) == [2 * value]
        assert wide.batches == [[2]]


async def test_an_image_beside_another_run_does_not_spread() -> None:
    network, wide = DoublingNetwork(), DoublingNetwork.running()
    async with bench(network.run, network.run, workers=2, wide=wide.run) as b:
        first = b.start(1)
        await network.has_entered()
        second = b.start(2)
        await network.has_entered()
        network.open_gate.set()
        assert values(await first) + values(await second) == [2, 4]
        await b.ask(3)
    assert wide.batches == []


async def test_two_models_share_a_worker_and_the_older_goes_first() -> None:
    crew, metrics = Workers(1), Metrics()
    order = DoublingNetwork()
    lanes = [
        Batcher([order.run], crew, metrics.of_version(name, 1), largest=8, capacity=8)
        for name in ("a", "b")
    ]
    crew.start()
    for lane in lanes:
        lane.open()
    first = asyncio.create_task(lanes[0].submit([number(1)], timeout_seconds=10))
    await order.has_entered()
    older = asyncio.create_task(lanes[1].submit([number(2)], timeout_seconds=10))
    await until_queued(lanes[1], 1)
    younger = asyncio.create_task(lanes[0].submit([number(3)], timeout_seconds=10))
    await until_queued(lanes[0], 1)
    order.open_gate.set()
    await asyncio.gather(first, older, younger)
    assert order.batches == [[1], [2], [3]]
    await asyncio.gather(*(lane.close() for lane in lanes))
    await asyncio.to_thread(crew.stop)


async def test_with_a_pool_jobs_are_prepared_ahead_and_finished_behind_it() -> None:
    threads: dict[str, str] = {}

    def prepare() -> tuple[Tensor, None]:
        threads["prepare"] = threading.current_thread().name
        return np.array(4), None

    def finish(outputs: Outputs, _: None) -> int:
        threads["finish"] = threading.current_thread().name
        return int(outputs["twice"])

    network = DoublingNetwork.running()
    with ThreadPoolExecutor(2, "imaging") as pool:
        async with bench(network.run, pool=pool) as b:
            outcomes = await b.batcher.submit([Job(prepare, finish)], timeout_seconds=10)
    assert values(outcomes) == [8]
    assert all(name.startswith("imaging") for name in threads.values())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.sampled_from(["stay", "leave", "hurry"])),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 3),
    st.integers(1, 5),
)
def test_whatever_callers_do_each_gets_its_own_result_exactly_once(
    callers: list[tuple[int, str]], workers: int, largest: int
) -> None:
    async def scenario() -> None:
        network = DoublingNetwork.running()
        async with bench(*[network.run] * workers, workers=workers, largest=largest) as b:
            tasks = []
            for value, mood in callers:
                timeout = 1e-4 if mood == "hurry" else 10
                tasks.append(asyncio.create_task(b.ask(value, timeout_seconds=timeout)))
                await asyncio.sleep(0)
                if mood == "leave":
                    tasks[-1].cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for (value, mood), outcome in zip(callers, outcomes, strict=True):
            check(value, mood, outcome)
        settled = sum(
            b.count("foveal_images_total", outcome=name)
            for name in ("answered", "failed", "expired", "abandoned")
        )
        assert settled == len(callers)
        assert b.batcher.depth == 0

    asyncio.run(scenario())


def check(value: int, mood: str, outcome: object) -> None:
    if isinstance(outcome, asyncio.CancelledError):
        assert mood == "leave"
        return
    assert isinstance(outcome, list)
    (found,) = outcome
    if isinstance(found, JobResult):
        assert found.value == 2 * value
        assert value != POISON
    elif isinstance(found, InferenceError):
        assert value == POISON
    else:
        assert isinstance(found, DeadlineError)
        assert mood == "hurry"


async def test_low_priority_jobs_wait_for_all_others() -> None:
    network = DoublingNetwork()
    async with bench(network.run) as b:
        first = b.start(1)
        await network.has_entered()
        low_priority = b.start(20, 21, low_priority=True)
        await until_queued(b.batcher, 2)
        images = b.start(2, 3)
        await until_queued(b.batcher, 4)
        network.open_gate.set()
        assert values(await low_priority) == [40, 42]
        assert values(await images) == [4, 6]
        await first
    assert network.batches[:2] == [[1], [2, 3]]
    assert [value for batch in network.batches[2:] for value in batch] == [20, 21]


async def test_low_priority_jobs_yield_to_other_models_too_but_not_for_ever() -> None:
    crew, metrics = Workers(1), Metrics()
    one, other = (
        Batcher([DoublingNetwork().run], crew, metrics.of_version(name, 1), largest=8, capacity=9)
        for name in ("one", "other")
    )
    tasks = [
        asyncio.create_task(one.submit([number(1)], timeout_seconds=9, low_priority=True)),
        asyncio.create_task(other.submit([number(2)], timeout_seconds=9)),
    ]
    await asyncio.sleep(0)
    now = time.perf_counter()
    (low_priority,), (image,) = one.ready_batches(now), other.ready_batches(now)
    assert low_priority.at < image.at
    assert image < low_priority
    (patient,) = one.ready_batches(now + PATIENCE_SECONDS)
    assert patient < image
    for task in tasks:
        task.cancel()


async def test_while_images_keep_coming_a_worker_is_kept_for_them() -> None:
    network = DoublingNetwork()
    async with bench(network.run, network.run, workers=2, kept_seconds=60) as b:
        first = b.start(1)
        await network.has_entered()
        network.open_gate.set()
        await first
        network.open_gate.clear()
        low_priority = b.start(20, 21, low_priority=True)
        await network.has_entered()
        image = b.start(2)
        await network.has_entered()
        assert network.batches[1:] == [[20], [2]]
        network.open_gate.set()
        assert values(await image) == [4]
        assert values(await low_priority) == [40, 42]


async def test_where_no_images_come_every_worker_takes_low_priority_jobs() -> None:
    network = DoublingNetwork()
    async with bench(network.run, network.run, workers=2, kept_seconds=60) as b:
        low_priority = b.start(20, 21, low_priority=True)
        await network.has_entered()
        await network.has_entered()
        network.open_gate.set()
        assert values(await low_priority) == [40, 42]
    assert sorted(network.batches) == [[20], [21]]


class PinnedNetwork:
    """Lends one buffer for its batches and remembers whether they came in it."""

    def __init__(self) -> None:
        self.room = np.zeros(8, np.int64)
        self.in_place: list[bool] = []

    def pinned_input(self, count: int) -> Tensor:
        return self.room[:count]

    def __call__(self, batch: Tensor) -> Outputs:
        self.in_place.append(np.may_share_memory(batch, self.room))
        if POISON in batch:
            raise RuntimeError("poison")
        return {"twice": batch * 2}


async def test_a_batch_is_assembled_in_the_pinned_memory_of_its_run() -> None:
    network = PinnedNetwork()
    async with bench(network) as b:
        assert values(await b.ask(1, 2, 3)) == [2, 4, 6]
        assert values(await b.ask(4, POISON, 5)) == [8, -1, 10]
    assert len(network.in_place) > 2
    assert all(network.in_place)


async def test_the_low_priority_line_never_fills_the_queue_of_images() -> None:
    network = DoublingNetwork()
    async with bench(network.run, capacity=2) as b:
        first = b.start(1)
        await network.has_entered()
        low_priority = b.start(20, 21, low_priority=True)
        await until_queued(b.batcher, 2)
        with pytest.raises(OverloadedError):
            await b.ask(22, low_priority=True)
        image = b.start(2)
        await until_queued(b.batcher, 3)
        network.open_gate.set()
        assert values([*await first, *await image, *await low_priority]) == [2, 4, 40, 42]


async def test_a_result_says_how_many_seconds_each_stage_took() -> None:
    network = DoublingNetwork(seconds_per_image=2)
    clock = network.clock

    def prepare() -> tuple[Tensor, None]:
        clock.advance(1)
        return np.array(2), None

    def finish(outputs: Outputs, _: None) -> int:
        clock.advance(4)
        return int(outputs["twice"])

    async with bench(network.run, clock=clock) as b:
        first = b.start(1)
        await network.has_entered()
        second = asyncio.create_task(b.batcher.submit([Job(prepare, finish)], timeout_seconds=100))
        await until_queued(b.batcher, 1)
        clock.advance(8)
        network.open_gate.set()
        await first
        (outcome,) = await second
        assert isinstance(outcome, JobResult)
        trace = outcome.trace
        assert (trace.decode, trace.queue, trace.infer, trace.head) == (1, 8 + 2, 2, 4)
        sums = {
            stage: b.count("foveal_stage_seconds_sum", stage=stage)
            for stage in ("decode", "queue", "infer", "head")
        }
    assert sums == {"decode": 1, "queue": 10, "infer": 2 + (8 + 2), "head": 4}


async def test_a_job_that_was_prepared_ahead_has_its_preparation_taken_off_its_wait() -> None:
    network = DoublingNetwork.running()

    def prepare() -> tuple[Tensor, None]:
        network.clock.advance(3)
        return np.array(2), None

    with ThreadPoolExecutor(1) as pool:
        async with bench(network.run, clock=network.clock, pool=pool) as b:
            job = Job(prepare, lambda outputs, _: int(outputs["twice"]))
            (outcome,) = await b.batcher.submit([job], timeout_seconds=100)
    assert isinstance(outcome, JobResult)
    assert (outcome.trace.decode, outcome.trace.queue) == (3, 0)


async def test_a_job_is_late_at_its_deadline_and_not_before() -> None:
    network = DoublingNetwork()
    async with bench(network.run, clock=network.clock) as b:
        first = b.start(1)
        await network.has_entered()
        late = asyncio.create_task(b.ask(2, timeout_seconds=20))
        punctual = asyncio.create_task(b.ask(3, timeout_seconds=20.1))
        await until_queued(b.batcher, 2)
        network.clock.advance(20)
        network.open_gate.set()
        (outcome,) = await late
        assert isinstance(outcome, DeadlineError)
        assert str(outcome) == "The answer was not ready within 20000 ms."
        assert values(await punctual) == [6]
        await first
    assert network.batches == [[1], [3]]
    assert b.count("foveal_images_total", outcome="expired") == 1


async def test_a_job_whose_preparation_took_past_its_deadline_is_not_run() -> None:
    network = DoublingNetwork.running()

    def prepare() -> tuple[Tensor, None]:
        network.clock.advance(30)
        return np.array(2), None

    async with bench(network.run, clock=network.clock) as b:
        job = Job(prepare, lambda outputs, _: int(outputs["twice"]))
        (outcome,) = await b.batcher.submit([job], timeout_seconds=20)
    assert isinstance(outcome, DeadlineError)
    assert network.batches == []
    assert b.batcher.batches_run == 0


@pytest.mark.parametrize(
    ("seconds_per_image", "sizes"),
    [
        (LOW_PRIORITY_SECONDS / 4.5, [1, 4, 4, 4, 4, 3]),
        (LOW_PRIORITY_SECONDS / 2.5, [1] + [2] * 9 + [1]),
        (LOW_PRIORITY_SECONDS * 3, [1] * 20),
        (0.0, [1, 8, 8, 3]),
    ],
)
async def test_a_low_priority_batch_is_as_short_as_a_single_image_can_wait(
    seconds_per_image: float, sizes: list[int]
) -> None:
    network = DoublingNetwork.running(seconds_per_image)
    async with bench(network.run, clock=network.clock) as b:
        await b.ask(*range(20, 40), low_priority=True)
    assert [len(batch) for batch in network.batches] == sizes


async def test_single_images_do_not_change_the_size_of_low_priority_batches() -> None:
    network = DoublingNetwork.running(LOW_PRIORITY_SECONDS / 2)
    async with bench(network.run, clock=network.clock) as b:
        await b.ask(1, 2)
        await b.ask(20, low_priority=True)
        await b.ask(*range(3, 8))
        await b.ask(21, 22, 23, low_priority=True)
    assert [len(batch) for batch in network.batches] == [2, 1, 5, 2, 1]


def turn(*, low_priority: bool = False) -> Turn:
    return Turn(Seat(None), 100.0, low_priority)


@asynccontextmanager
async def idle(
    *,
    instances: int = 1,
    jobs: int = 0,
    low_priority: int = 0,
    runs: Sequence[Run] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Batcher, DoublingNetwork, Metrics]]:
    """Give a batcher with queued jobs whose workers never started, so that the test itself takes the batches."""
    network, metrics = DoublingNetwork.running(), Metrics()
    crew = Workers(1, clock=network.clock)
    settings = {"largest": 8, "capacity": 100, **options}
    runs = runs or [network.run] * instances
    batcher = Batcher(runs, crew, metrics.of_version("m", 1), **settings)
    batcher.open()
    numbers = [number(value) for value in range(1, jobs + 1)]
    slow = [number(value) for value in range(101, low_priority + 101)]
    tasks = [
        asyncio.create_task(batcher.submit(numbers, timeout_seconds=50)),
        asyncio.create_task(batcher.submit(slow, timeout_seconds=50, low_priority=True)),
    ]
    await until_queued(batcher, jobs + low_priority)
    yield batcher, network, metrics
    while ready := batcher.ready_batches(network.clock()):
        batcher.take(turn(low_priority=ready[0].low_priority), 1, alone=False)()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("workers", "instances", "share"), [(1, 1, 7), (2, 2, 4), (3, 3, 3), (4, 2, 4), (2, 4, 4)]
)
async def test_a_worker_takes_its_share_among_those_that_can_run(
    workers: int, instances: int, share: int
) -> None:
    async with idle(instances=instances, jobs=7) as (batcher, network, _):
        batcher.take(turn(), workers, alone=False)()
        assert network.batches == [list(range(1, share + 1))]


async def test_a_batch_that_waited_to_fill_is_not_shared() -> None:
    async with idle(instances=2, jobs=5, max_delay_seconds=9) as (batcher, network, metrics):
        batcher.take(turn(), 2, alone=False)()
        assert len(network.batches[0]) == 5
        labels = {"model": "m", "closed": "delay"}
        assert total(metrics.registry, "foveal_batches_total", **labels) == 1


async def test_a_batch_may_be_taken_at_once_or_after_the_delay_unless_it_is_full() -> None:
    async with idle(jobs=3, low_priority=2) as (batcher, network, _):
        network.clock.advance(0.5)
        image, slow = batcher.ready_batches(network.clock())
        assert image == (False, 100.0, False)
        assert slow == (True, 100.0, True)
    async with idle(jobs=3, max_delay_seconds=9) as (batcher, _, _):
        (image,) = batcher.ready_batches(100)
        assert image.at == 109
    async with idle(jobs=3, max_delay_seconds=9, largest=3) as (batcher, _, _):
        (image,) = batcher.ready_batches(100)
        assert image.at == 100


async def test_a_low_priority_job_yields_until_its_patience_ends() -> None:
    async with idle(low_priority=1) as (batcher, _, _):
        (before,) = batcher.ready_batches(100 + PATIENCE_SECONDS - 0.01)
        (after,) = batcher.ready_batches(100 + PATIENCE_SECONDS)
        assert (before.yields, after.yields) == (True, False)


async def test_a_batcher_whose_instances_are_all_taken_offers_nothing_and_is_busy() -> None:
    async with idle(jobs=1) as (batcher, _, _):
        assert batcher.busy
        run = batcher.take(turn(), 1, alone=False)
        assert (batcher.depth, batcher.batches_taken, batcher.batches_run) == (0, 1, 0)
        assert batcher.busy, "it runs"
        assert batcher.ready_batches(100) == []
        run()
        assert not batcher.busy
        assert (batcher.batches_taken, batcher.batches_run) == (1, 1)


@pytest.mark.parametrize(
    ("jobs", "low_priority", "alone", "is_wide"),
    [(1, 0, True, True), (1, 0, False, False), (2, 0, True, False), (0, 1, True, False)],
)
async def test_all_cores_are_for_a_single_image_that_is_alone(
    *, jobs: int, low_priority: int, alone: bool, is_wide: bool
) -> None:
    wide = DoublingNetwork.running()
    async with idle(jobs=jobs, low_priority=low_priority, wide=wide.run) as (batcher, _, _):
        batcher.take(turn(low_priority=bool(low_priority)), 1, alone=alone)()
        assert bool(wide.batches) == is_wide


async def test_jobs_of_a_caller_that_disconnected_are_dropped_before_they_run() -> None:
    network, left = DoublingNetwork(), asyncio.Event()

    async def disconnected() -> None:
        await left.wait()

    async with bench(network.run) as b:
        first = b.start(1)
        await network.has_entered()
        jobs = [number(2), number(3)]
        submitted = b.batcher.submit(jobs, timeout_seconds=9, disconnected=disconnected)
        leaving = asyncio.create_task(submitted)
        await until_queued(b.batcher, 2)
        left.set()
        outcomes = await leaving
        assert all(isinstance(outcome, ClientLeftError) for outcome in outcomes)
        assert b.batcher.depth == 0
        network.open_gate.set()
        assert values(await first) == [2]
    assert network.batches == [[1]]
    assert b.count("foveal_images_total", outcome="abandoned") == 2


async def test_an_error_holds_neither_its_job_nor_the_image() -> None:
    class Image:
        pass

    def fail_on(image: Image) -> tuple[Tensor, None]:
        del image
        try:
            raise ValueError("of the decoder")
        except ValueError as error:
            raise BrokenImageError("cut short") from error

    def prepare(image: Image) -> tuple[Tensor, Image]:
        return np.array(1), image

    image = Image()
    held = weakref.ref(image)
    network = DoublingNetwork.running()
    async with bench(network.run) as b:
        early = Job(partial(fail_on, image), lambda *_: 0)
        late = Job(partial(prepare, image), lambda _, image: fail_on(image))
        errors = [
            *await b.batcher.submit([early], timeout_seconds=9),
            *await b.batcher.submit([late], timeout_seconds=9),
        ]
    del image, early, late
    for error in errors:
        assert isinstance(error, BrokenImageError)
        assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    assert held() is None


async def test_outcomes_are_counted_by_their_kind() -> None:
    def broken(*_: object) -> Any:
        raise BrokenImageError("cut short")

    network = DoublingNetwork.running()
    async with bench(network.run, macs=10) as b:
        jobs = [number(1), Job(broken, lambda *_: 0), number(POISON), number(2)]
        await b.batcher.submit(jobs, timeout_seconds=9)
        counted = {
            name: b.count("foveal_images_total", outcome=name)
            for name in ("answered", "refused", "failed", "expired", "abandoned")
        }
        assert counted == {"answered": 2, "refused": 1, "failed": 1, "expired": 0, "abandoned": 0}
        assert b.count("foveal_batch_size_count") == b.batcher.batches_run == 2
        assert b.count("foveal_batch_size_sum") == 2
        assert b.count("foveal_macs_total") == 20
        assert b.batcher.batches_taken == 1


async def test_a_batch_that_fails_is_halved_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = DoublingNetwork.running()
    async with bench(network.run) as b:
        outcomes = await b.ask(1, 2, POISON, 4, 5)
    assert network.batches == [[1, 2, 13, 4, 5], [1, 2], [13, 4, 5], [13], [4, 5]]
    assert str(outcomes[2]) == "The network failed on this image: poison"
    assert "A batch of 5 failed and runs again in two halves: poison" in caplog.text
    assert "The network failed on an image." in caplog.text


async def test_a_queue_that_is_full_says_how_many_wait() -> None:
    async with idle(jobs=2, capacity=3) as (batcher, _, _):
        reason = "2 images wait already, and 2 more do not fit into the queue of 3."
        with pytest.raises(OverloadedError, match=reason):
            await batcher.submit([number(1), number(2)], timeout_seconds=9)
        assert batcher.depth == 2


async def test_with_a_pool_what_fails_while_it_is_prepared_is_never_queued() -> None:
    def broken() -> tuple[Tensor, None]:
        raise BrokenImageError("cut short")

    network = DoublingNetwork.running()
    with ThreadPoolExecutor(1) as pool:
        async with bench(network.run, pool=pool) as b:
            jobs = [Job(broken, lambda *_: 0), number(3)]
            outcomes = await b.batcher.submit(jobs, timeout_seconds=9)
            assert b.batcher.depth == 0
    assert isinstance(outcomes[0], BrokenImageError)
    assert values(outcomes) == [-1, 6]
    assert network.batches == [[3]]


async def test_with_a_pool_what_is_being_prepared_counts_as_waiting() -> None:
    network, gate = DoublingNetwork.running(), threading.Event()

    def slow() -> tuple[Tensor, None]:
        assert gate.wait(10)
        return np.array(2), None

    with ThreadPoolExecutor(1) as pool:
        async with bench(network.run, pool=pool, capacity=2) as b:
            jobs = [Job(slow, lambda outputs, _: int(outputs["twice"]))] * 2
            preparing = asyncio.create_task(b.batcher.submit(jobs, timeout_seconds=9))
            await asyncio.sleep(0)
            assert (b.batcher.depth, b.batcher.busy) == (2, True)
            with pytest.raises(OverloadedError):
                await b.ask(3)
            gate.set()
            assert values(await preparing) == [4, 4]
            assert (b.batcher.depth, b.batcher.busy) == (0, False)


async def test_closing_waits_for_every_caller_and_leaves_the_workers() -> None:
    network = DoublingNetwork()
    async with bench(network.run, max_delay_seconds=3600) as b:
        first = b.start(1)
        await until_queued(b.batcher, 1)
        closing = asyncio.create_task(b.batcher.close())
        await network.has_entered()
        assert not closing.done(), "what waited to fill runs at once"
        network.open_gate.set()
        await closing
        assert values(await first) == [2]


@pytest.mark.parametrize("fault", [BrokenImageError("cut short"), ZeroDivisionError()])
async def test_what_can_not_be_prepared_leaves_the_batch_before_it_runs(fault: Exception) -> None:
    def broken() -> tuple[Tensor, None]:
        raise fault

    async with idle() as (batcher, network, _):
        jobs = [number(1), Job(broken, lambda *_: 0), number(3)]
        submitted = asyncio.create_task(batcher.submit(jobs, timeout_seconds=50))
        await until_queued(batcher, 3)
        batcher.take(turn(), 1, alone=False)()  # no caller is answered before it ends
        assert network.batches == [[1, 3]]
        assert values(await submitted) == [2, -1, 6]


async def test_a_wide_run_without_pinned_memory_may_stand_beside_runs_that_have_it() -> None:
    wide = DoublingNetwork.running()
    async with idle(wide=wide.run, runs=[PinnedNetwork()], jobs=1) as (batcher, _, _):
        batcher.take(turn(), 1, alone=True)()
    assert wide.batches == [[1]]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("Failed to allocate memory for requested buffer of size 9"),
        RuntimeError("CUDA failure 2: out of memory ; GPU=0"),
        RuntimeError("std::bad_alloc"),
    ],
)
async def test_a_batch_that_is_too_large_for_the_memory_is_halved_and_no_later_one_is_as_large(
    error: Exception,
) -> None:
    sizes: list[int] = []

    def run(batch: Tensor) -> Outputs:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error
        return {"twice": batch * 2}

    async with bench(run, largest=8) as b:
        assert values(await b.ask(*range(1, 9))) == [2, 4, 6, 8, 10, 12, 14, 16]
        assert b.batcher.largest == 2
        sizes.clear()
        assert values(await b.ask(*range(1, 9))) == [2, 4, 6, 8, 10, 12, 14, 16]
        assert sizes == [2, 2, 2, 2]


async def test_a_batch_that_fails_for_another_reason_leaves_the_next_as_large() -> None:
    network = DoublingNetwork.running()
    async with bench(network.run, largest=8) as b:
        await b.ask(1, 2, POISON, 4)
        assert b.batcher.largest == 8


@pytest.mark.parametrize("part", ["prepare", "run", "finish"])
async def test_an_image_for_which_the_memory_is_short_may_be_sent_again(part: str) -> None:
    def short(*_: object) -> Any:
        raise MemoryError

    sound = number(1)
    job: Job[None, int] = Job(
        short if part == "prepare" else sound.prepare, short if part == "finish" else sound.finish
    )
    async with bench(short if part == "run" else DoublingNetwork.running().run) as b:
        (outcome,) = await b.batcher.submit([job], timeout_seconds=9)
    assert type(outcome) is UnavailableError
    assert (outcome.status, outcome.retry_after_seconds) == (503, 1)


@pytest.mark.parametrize(
    ("shape", "described"),
    [((), "no axis"), ((0,), "0"), ((2, 3), "2×3"), ((5,), "5")],
)
async def test_outputs_of_a_wrong_shape_fail_their_image_and_strand_nobody(
    shape: tuple[int, ...], described: str
) -> None:
    def run(batch: Tensor) -> Outputs:
        return {"twice": np.zeros(shape) if POISON in batch else batch * 2}

    async with bench(run) as b:
        (bad,) = await b.ask(POISON)
        assert isinstance(bad, InferenceError)
        assert f"output twice has {described} for 1 images" in str(bad)
        assert values(await b.ask(4)) == [8]


async def test_a_run_that_ends_its_thread_is_answered_and_the_next_one_runs() -> None:
    def run(batch: Tensor) -> Outputs:
        if POISON in batch:
            raise SystemExit
        return {"twice": batch * 2}

    async with bench(run) as b:
        (outcome,) = await b.ask(POISON)
        assert isinstance(outcome, InferenceError)
        assert values(await b.ask(4)) == [8]


@pytest.mark.parametrize("has_pool", [False, True])
async def test_a_head_that_ends_its_thread_is_answered_and_the_next_one_runs(
    *, has_pool: bool
) -> None:
    def dies(*_: object) -> int:
        raise SystemExit

    with ThreadPoolExecutor(1) as pool:
        async with bench(DoublingNetwork.running().run, pool=pool if has_pool else None) as b:
            for _ in range(3):
                (outcome,) = await b.batcher.submit(
                    [Job(number(1).prepare, dies)], timeout_seconds=9
                )
                assert isinstance(outcome, InferenceError), "and not the error of its deadline"
            assert values(await b.ask(4)) == [8]


async def test_a_thread_that_dies_while_it_prepares_ahead_gives_its_place_back() -> None:
    def dies() -> tuple[Tensor, None]:
        raise SystemExit

    with ThreadPoolExecutor(1) as pool:
        async with bench(DoublingNetwork.running().run, pool=pool, capacity=1) as b:
            for _ in range(3):
                job = Job(dies, lambda outputs, _: int(outputs["twice"]))
                (outcome,) = await b.batcher.submit([job], timeout_seconds=9)
                assert isinstance(outcome, InferenceError)
                await until_queued(b.batcher, 0)
            assert values(await b.ask(4)) == [8]


async def test_with_a_pool_a_traced_job_waits_after_it_was_prepared() -> None:
    network = DoublingNetwork.running()
    request = TracedRequest(SpanId(7, 9), sampled=True, began=0.0)
    with ThreadPoolExecutor(1) as pool:
        async with bench(network.run, pool=pool, device="cuda") as b:
            with inside(Place(request, 9)):
                await b.batcher.submit([number(1), number(2)], timeout_seconds=10)
            await b.batcher.submit([number(3)], timeout_seconds=10)
    assert len(request.images) == 2
    for image in request.images:
        times = (image.accepted_at, image.decode_at, image.decoded_at, image.taken_at)
        assert times == tuple(sorted(times))
        assert image.taken_at <= image.infer_at <= image.inferred_at <= image.head_at
        assert image.finished_at <= image.left_at
        assert (image.device, image.error) == ("cuda", "")
    batches = {span.span_id: span for span in request.spans}
    assert {image.batch and image.batch.span_id for image in request.images} == set(batches)
    assert all(span.links == [SpanId(7, 9)] for span in batches.values())


async def test_a_traced_job_that_fails_says_why_and_a_health_check_is_not_noted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = DoublingNetwork.running()
    request = TracedRequest(SpanId(7, 9), sampled=True, began=0.0)
    logged: list[Place | None] = []

    def note(_: object) -> bool:
        logged.append(CURRENT.get())
        return True

    caplog.handler.addFilter(note)
    async with bench(network.run) as b:
        with inside(Place(request, 9)):
            await b.batcher.submit([number(POISON)], timeout_seconds=10)
            await b.batcher.submit([number(1)], timeout_seconds=10, is_request=False)
    (image,) = request.images
    assert image.error == "inference_failed"
    assert [place and place.request for place in logged] == [request]
    assert 0 < image.infer_at <= image.inferred_at
    assert image.head_at == 0


async def test_a_lost_gpu_fails_all_that_waits_and_is_told_once() -> None:
    """No half of the batch is tried again: CUDA answers the process with the same error from then on."""
    tried, lost = list[int](), list[str]()

    def run(batch: Tensor) -> Outputs:
        tried.append(len(batch))
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered ; GPU=0")

    def is_lost(_: BaseException) -> bool:
        return True

    async with bench(run, largest=4, on_device_lost=lost.append, is_lost=is_lost) as b:
        outcomes = await b.ask(1, 2, 3, 4)
        assert [type(one) for one in outcomes] == [UnavailableError] * 4
        assert tried == [4]
        with pytest.raises(NotReadyError, match="illegal memory access"):
            await b.ask(5)
        assert tried == [4]
        assert lost == ["CUDA failure 700: an illegal memory access was encountered ; GPU=0"]
