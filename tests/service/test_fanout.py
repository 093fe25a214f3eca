"""One request's many jobs: in order, few at a time, and dropped when the request ends."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest

from service.errors import BrokenImageError, DeadlineError, OverloadedError
from service.fanout import FanOut
from service.metrics import Metrics
from service.runtime.batcher import Batcher
from service.runtime.job import Job, JobResult, Outputs, Tensor
from service.runtime.model import Model
from service.runtime.workers import Workers

pytestmark = pytest.mark.anyio


@dataclass
class Source:
    """Counts how many jobs were drawn and how many of them have run."""

    drawn: int = 0
    ran: list[int] = field(default_factory=list)

    def jobs(self, count: int, poison: int = -1) -> Iterator[Job[None, int]]:
        for value in range(count):
            self.drawn += 1
            yield self.job(value, poison)

    def job(self, value: int, poison: int = -1) -> Job[None, int]:
        def prepare() -> tuple[Tensor, None]:
            if value == poison:
                raise BrokenImageError("no frame")
            return np.array(value), None

        def finish(outputs: Outputs, _: None) -> int:
            self.ran.append(value)
            return int(outputs["same"])

        return Job(prepare, finish)


@dataclass
class Served:
    """What a fan-out needs of a model."""

    queue: Batcher

    def require_served(self) -> None: ...

    def as_model(self) -> Model:
        return cast("Model", self)


def queue_of(model: Model) -> Batcher:
    assert model.queue is not None
    return model.queue


async def settle() -> None:
    """Let every task on the event loop come to where it waits."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def served(gate: threading.Event | None = None) -> AsyncIterator[Model]:
    def run(batch: Tensor) -> Outputs:
        assert gate is None or gate.wait(10)
        return {"same": batch}

    crew = Workers(2)
    batcher = Batcher([run] * 2, crew, Metrics().of_version("m", 1), largest=4, capacity=100)
    crew.start()
    batcher.open()
    try:
        yield Served(batcher).as_model()
    finally:
        await batcher.close()
        await asyncio.to_thread(crew.stop)


async def test_outcomes_come_in_order_and_a_job_fails_alone() -> None:
    source = Source()
    async with served() as model:
        outcomes = [
            outcome
            async for outcome in FanOut(requests=1, in_flight=5).run(
                model, source.jobs(50, poison=7), timeout_seconds=10
            )
        ]
    assert isinstance(outcomes[7], BrokenImageError)
    answered = [outcome.value for outcome in outcomes if isinstance(outcome, JobResult)]
    assert answered == [value for value in range(50) if value != 7]


async def test_no_more_is_drawn_than_may_be_in_flight() -> None:
    source, gate = Source(), threading.Event()
    async with served(gate) as model:
        run = FanOut(requests=1, in_flight=3).run(model, source.jobs(9), timeout_seconds=10)
        async with aclosing(run):
            first = asyncio.ensure_future(anext(run))
            await settle()
            assert source.drawn == 3
            gate.set()
            assert isinstance(await first, JobResult)
            await settle()
            assert source.drawn == 3, "the next is drawn when the first result is taken"
            assert isinstance(await anext(run), JobResult)
            await settle()
            assert source.drawn == 4


async def test_an_endless_source_ends_with_the_iteration() -> None:
    source, gate = Source(), threading.Event()
    gate.set()
    async with served(gate) as model:
        run = FanOut(requests=1, in_flight=4).run(model, source.jobs(10**9), timeout_seconds=10)
        async with aclosing(run):
            await anext(run)
            gate.clear()
        ran = len(source.ran)
        assert model.queue is not None
        assert model.queue.depth == 0
        gate.set()
    assert len(source.ran) <= ran + 4


async def test_a_result_is_there_before_a_slow_source_has_its_next_job() -> None:
    source, more = Source(), asyncio.Event()

    async def slow() -> AsyncIterator[Job[None, int]]:
        yield source.job(1)
        await more.wait()
        yield source.job(2)

    async with served() as model:
        run = FanOut(requests=1, in_flight=4).run(model, slow(), timeout_seconds=10)
        async with aclosing(run):
            async with asyncio.timeout(5):
                first = await anext(run)
            more.set()
            second = await anext(run)
    assert [outcome.value for outcome in (first, second) if isinstance(outcome, JobResult)] == [
        1,
        2,
    ]


async def test_the_error_of_a_source_comes_behind_the_jobs_that_it_gave() -> None:
    source = Source()

    def breaking() -> Iterator[Job[None, int]]:
        yield source.job(1)
        raise BrokenImageError("the clip ends here")

    async with served() as model:
        run = FanOut(requests=1, in_flight=4).run(model, breaking(), timeout_seconds=10)
        assert isinstance(await anext(run), JobResult)
        with pytest.raises(BrokenImageError, match="ends here"):
            await anext(run)


async def test_few_jobs_need_no_more_than_there_are() -> None:
    source = Source()
    async with served() as model:
        run = FanOut(requests=1, in_flight=9).run(model, source.jobs(2), timeout_seconds=10)
        outcomes = [outcome async for outcome in run]
        empty = FanOut(requests=1, in_flight=9).run(model, source.jobs(0), timeout_seconds=10)
        assert [outcome async for outcome in empty] == []
    assert [one.value for one in outcomes if isinstance(one, JobResult)] == [0, 1]


async def test_jobs_wait_behind_a_single_image() -> None:
    source, gate = Source(), threading.Event()
    async with served(gate) as model:
        run = FanOut(requests=1, in_flight=20).run(model, source.jobs(20), timeout_seconds=10)
        async with aclosing(run):
            first = asyncio.ensure_future(anext(run))
            await settle()
            single = asyncio.ensure_future(
                queue_of(model).submit([source.job(99)], timeout_seconds=10)
            )
            await settle()
            gate.set()
            await single
            await first
            assert source.ran.index(99) < 19
            async for _ in run:
                pass
    assert sorted(source.ran) == [*range(20), 99]


async def test_a_job_that_does_not_run_in_time_is_a_deadline_error() -> None:
    source, gate = Source(), threading.Event()
    async with served(gate) as model:
        try:
            run = FanOut(requests=1, in_flight=20).run(model, source.jobs(20), timeout_seconds=0)
            outcomes = [outcome async for outcome in run]
        finally:
            gate.set()
    assert {type(outcome) for outcome in outcomes} == {DeadlineError}


def test_one_request_too_many_is_refused_until_another_ends() -> None:
    fan_out = FanOut(requests=2, in_flight=1)
    for _ in range(2):
        with (
            fan_out.admit(),
            fan_out.admit(),
            pytest.raises(OverloadedError, match="2 videos, explanations or chains"),
            fan_out.admit(),
        ):
            pass


def test_a_place_is_free_again_when_its_request_fails() -> None:
    fan_out = FanOut(requests=1, in_flight=1)
    with pytest.raises(BrokenImageError), fan_out.admit():
        raise BrokenImageError("no frame")
    with fan_out.admit():
        pass


async def test_a_place_that_was_left_is_free_and_is_taken_again_in_order() -> None:
    fan_out = FanOut(requests=1, in_flight=1)
    with fan_out.admit() as first:
        first.leave()
        first.leave()
        with fan_out.admit():
            returning = asyncio.create_task(first.come_back(10))
            await settle()
            assert not returning.done()
            with pytest.raises(OverloadedError), fan_out.admit():
                pass
        await returning
        assert first.held
        with pytest.raises(OverloadedError), fan_out.admit():
            pass
    with fan_out.admit():
        pass


async def test_a_place_that_does_not_come_back_in_time_is_an_overload() -> None:
    fan_out = FanOut(requests=1, in_flight=1)
    with fan_out.admit() as first:
        first.leave()
        with (
            fan_out.admit(),
            pytest.raises(OverloadedError, match="none was free again within 0 s"),
        ):
            await first.come_back(0)
    with fan_out.admit(), pytest.raises(OverloadedError), fan_out.admit():
        pass


async def test_a_request_that_ends_while_it_waits_for_its_place_leaves_it_to_others() -> None:
    fan_out = FanOut(requests=1, in_flight=1)
    with fan_out.admit() as first:
        first.leave()
        with fan_out.admit() as second:
            returning = asyncio.create_task(first.come_back(10))
            await settle()
            second.leave()
            returning.cancel()
            await asyncio.wait([returning])
        with fan_out.admit():
            pass


async def test_a_place_is_kept_until_a_call_ends_that_nobody_waits_for() -> None:
    fan_out = FanOut(requests=1, in_flight=1)
    call: Future[None] = Future()
    with fan_out.admit() as first:
        first.leave()
        fan_out.keep_until(call)
        returning = asyncio.create_task(first.come_back(10))
    for _ in range(2):
        with pytest.raises(OverloadedError), fan_out.admit():
            pass
    await settle()
    assert not returning.done()
    await asyncio.to_thread(call.set_result, None)
    await returning
    first.leave()
    with fan_out.admit(), pytest.raises(OverloadedError), fan_out.admit():
        pass
