import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import (
    BrokenImageError,
    DeadlineError,
    FovealError,
    InferenceError,
    OverloadedError,
    ShuttingDownError,
)
from service.metrics import Metrics
from service.runtime.batcher import LOW_PRIORITY_SECONDS, PATIENCE_SECONDS, Batcher
from service.runtime.job import Job, JobResult, Outputs, Tensor
from service.runtime.workers import Workers

pytestmark = pytest.mark.anyio

POISON = 13


@dataclass
class DoublingNetwork:
    """Doubles its numbers, remembers its batches, and can be held in the middle of a run."""

    batches: list[list[int]] = field(default_factory=list)
    open_gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def run(self, batch: Tensor) -> Outputs:
        self.batches.append(batch.tolist())
        self.entered.release()
        assert self.open_gate.wait(10)
        if POISON in batch:
            raise RuntimeError("poison")
        return {"twice": batch * 2}

    @classmethod
    def running(cls) -> "DoublingNetwork":
        network = cls()
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
        return self.metrics.registry.get_sample_value(name, {"model": "m", **labels}) or 0.0


@asynccontextmanager
async def bench(
    *runs: Callable[[Tensor], Outputs],
    workers: int = 1,
    largest: int = 8,
    capacity: int = 100,
    kept_seconds: float = 0.0,
    **options: Any,
) -> AsyncIterator[Bench]:
    crew, metrics = Workers(workers, kept_seconds), Metrics()
    series = metrics.of_model("m", lambda: 0)
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


async def test_an_answer_says_where_its_time_went_and_who_traveled_with_it() -> None:
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


async def test_a_caller_that_leaves_is_dropped_and_strands_nobody() -> None:
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


async def test_a_caller_that_leaves_in_the_middle_of_its_batch_strands_nobody() -> None:
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


async def test_an_job_that_can_not_be_prepared_fails_alone_and_before_the_run() -> None:
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
async def test_a_fault_of_ours_in_one_job_does_not_take_its_neighbors_along(part: str) -> None:
    def fault(*_: object) -> Any:
        raise ZeroDivisionError

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


async def test_a_image_beside_another_run_does_not_spread() -> None:
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
        Batcher([order.run], crew, metrics.of_model(name, lambda: 0), largest=8, capacity=8)
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
def test_whatever_callers_do_each_gets_its_own_answer_exactly_once(
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


async def test_background_jobs_wait_for_everybody_elses() -> None:
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


async def test_background_jobs_yield_to_other_models_too_but_not_for_ever() -> None:
    crew, metrics = Workers(1), Metrics()
    one, other = (
        Batcher(
            [DoublingNetwork().run], crew, metrics.of_model(name, lambda: 0), largest=8, capacity=9
        )
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


async def test_where_no_images_come_every_worker_takes_background_jobs() -> None:
    network = DoublingNetwork()
    async with bench(network.run, network.run, workers=2, kept_seconds=60) as b:
        low_priority = b.start(20, 21, low_priority=True)
        await network.has_entered()
        await network.has_entered()
        network.open_gate.set()
        assert values(await low_priority) == [40, 42]
    assert sorted(network.batches) == [[20], [21]]


class StagingNetwork:
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


async def test_a_batch_is_put_together_where_the_run_wants_it() -> None:
    network = StagingNetwork()
    async with bench(network) as b:
        assert values(await b.ask(1, 2, 3)) == [2, 4, 6]
        assert values(await b.ask(4, POISON, 5)) == [8, -1, 10]
    assert len(network.in_place) > 2
    assert all(network.in_place)


async def test_a_background_batch_is_short_whatever_waits() -> None:
    network = DoublingNetwork.running()

    def slow(batch: Tensor) -> Outputs:
        time.sleep(LOW_PRIORITY_SECONDS / 2 * len(batch))
        return network.run(batch)

    async with bench(slow) as b:
        await b.ask(*range(20, 40), low_priority=True)
    assert sum(len(batch) for batch in network.batches) == 20
    assert max(len(batch) for batch in network.batches) <= 2


async def test_the_background_line_never_fills_the_queue_of_images() -> None:
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
