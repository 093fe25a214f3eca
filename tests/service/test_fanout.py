"""One request's many jobs: in order, few at a time, and gone when nobody wants them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest

from service.errors import BrokenImageError, OverloadedError
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

    batcher: Batcher

    def as_model(self) -> Model:
        return cast("Model", self)


@asynccontextmanager
async def served(gate: threading.Event | None = None) -> AsyncIterator[Model]:
    def run(batch: Tensor) -> Outputs:
        assert gate is None or gate.wait(10)
        return {"same": batch}

    crew = Workers(2)
    batcher = Batcher([run] * 2, crew, Metrics().of_model("m", lambda: 0), largest=4, capacity=100)
    crew.start()
    batcher.open()
    try:
        yield Served(batcher).as_model()
    finally:
        await batcher.close()
        await asyncio.to_thread(crew.stop)


async def test_outcomes_come_in_order_and_an_job_fails_alone() -> None:
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


async def test_no_more_is_drawn_than_may_fly() -> None:
    source, gate = Source(), threading.Event()
    async with served(gate) as model:
        run = FanOut(requests=1, in_flight=3).run(model, source.jobs(9), timeout_seconds=10)
        async with aclosing(run):
            first = asyncio.ensure_future(anext(run))
            await asyncio.sleep(0.05)
            assert source.drawn == 3
            gate.set()
            assert isinstance(await first, JobResult)


async def test_an_endless_source_ends_with_the_iteration() -> None:
    source, gate = Source(), threading.Event()
    gate.set()
    async with served(gate) as model:
        run = FanOut(requests=1, in_flight=4).run(model, source.jobs(10**9), timeout_seconds=10)
        async with aclosing(run):
            await anext(run)
            gate.clear()
        ran = len(source.ran)
        gate.set()
        await asyncio.sleep(0.05)
        assert len(source.ran) <= ran + 4
        assert model.batcher.depth == 0


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


async def test_a_source_that_fails_is_told_after_what_it_had_given() -> None:
    source = Source()

    def breaking() -> Iterator[Job[None, int]]:
        yield source.job(1)
        raise BrokenImageError("the clip ends here")

    async with served() as model:
        run = FanOut(requests=1, in_flight=4).run(model, breaking(), timeout_seconds=10)
        assert isinstance(await anext(run), JobResult)
        with pytest.raises(BrokenImageError, match="ends here"):
            await anext(run)


def test_one_request_too_many_is_refused_until_another_ends() -> None:
    fan_out = FanOut(requests=1, in_flight=1)
    with fan_out.admit(), pytest.raises(OverloadedError, match="limit"), fan_out.admit():
        pass
    with fan_out.admit():
        pass
