import asyncio
import gc
import threading
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest

from service.errors import ClientLeftError
from service.metrics import Metrics
from service.model_statistics import VersionStatistics
from service.runtime.call_outcomes import CallOutcomes
from service.runtime.callers import Callers
from service.runtime.entry import Entry, Line, Outcome
from service.runtime.job import Job, JobResult, Outputs, Tensor, Trace
from tests.service.runtime.test_batcher import DoublingNetwork, bench, number, values

pytestmark = pytest.mark.anyio

HELD = 2


@dataclass
class HoldingNetwork:
    """Doubles its numbers, but keeps the batch with HELD until its gate opens."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    gate: threading.Event = field(default_factory=threading.Event)

    def run(self, batch: Tensor) -> Outputs:
        if HELD in batch:
            self.loop.call_soon_threadsafe(self.entered.set)
            assert self.gate.wait(30)
        return {"twice": batch * 2}


def entries_of(call: CallOutcomes[Entry, Outcome], count: int) -> list[Entry]:
    loop = asyncio.get_running_loop()
    return [
        Entry(number(value), loop.create_future(), 0, 9, Line(), call=call)
        for value in range(count)
    ]


def result(value: int) -> JobResult[int]:
    return JobResult(value, Trace())


async def test_the_caller_of_several_batches_is_answered_once_the_last_one_has_run() -> None:
    callers = Callers(Metrics().of_version("m", 1), VersionStatistics())
    callers.open()
    first, second, third = entries_of(CallOutcomes(3), 3)
    callers.answer([(first, result(1)), (second, result(2))])
    await asyncio.sleep(0)
    assert not first.future.done()
    assert [one.is_answered for one in (first, second, third)] == [True, True, False]
    callers.answer([(third, result(3))])
    await asyncio.sleep(0)
    assert values([one.future.result() for one in (first, second, third)]) == [1, 2, 3]
    assert callers.answers == 3


async def test_a_call_does_not_wait_for_another_one_in_its_batch() -> None:
    network = DoublingNetwork.running()
    async with bench(network.run, largest=2) as b:
        found = await asyncio.gather(b.ask(1), b.ask(2, 3), b.ask(4, 5, 6, 7))
    assert [values(one) for one in found] == [[2], [4, 6], [8, 10, 12, 14]]
    assert b.count("foveal_images_total", outcome="answered") == 7


async def test_a_caller_that_leaves_between_two_batches_is_answered_for_the_first() -> None:
    network, left = HoldingNetwork(), asyncio.Event()

    async def disconnected() -> None:
        await left.wait()

    async with bench(network.run, largest=1) as b:
        asking = asyncio.create_task(
            b.batcher.submit(
                [number(1), number(HELD)], timeout_seconds=60, disconnected=disconnected
            )
        )
        await network.entered.wait()
        left.set()
        first, second = await asking
        network.gate.set()
    assert isinstance(first, JobResult)
    assert first.value == 2
    assert isinstance(second, ClientLeftError)


async def test_a_call_that_is_canceled_between_two_batches_leaves_nothing_behind() -> None:
    network = HoldingNetwork()
    gc.collect()
    gc.disable()
    try:
        async with bench(network.run, largest=1) as b:
            image = np.array(1)
            freed = weakref.ref(image)
            jobs = [_of(image), number(HELD)]
            asking = asyncio.create_task(b.batcher.submit(jobs, timeout_seconds=60))
            await network.entered.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            network.gate.set()
            assert values(await b.ask(3)) == [6]
            assert b.count("foveal_images_total", outcome="answered") == 1
            assert b.count("foveal_images_total", outcome="abandoned") == 2
        del asking, jobs, image
        assert freed() is None
    finally:
        gc.enable()


def test_what_is_kept_is_given_once_and_the_first_outcome_counts() -> None:
    call = CallOutcomes[str, int](2)
    assert call.add("a", 1) == []
    assert call.add("a", 2) == []
    assert (call.has("a"), call.has("b")) == (True, False)
    assert call.add("b", 3) == [("a", 1), ("b", 3)]
    assert call.release() == []
    assert call.add("a", 4) == [("a", 4)]


def test_after_its_release_nothing_is_kept() -> None:
    call = CallOutcomes[str, int](3)
    assert call.add("a", 1) == []
    assert call.release() == [("a", 1)]
    assert call.release() == []
    assert call.add("b", 2) == [("b", 2)]


def _of(image: Tensor) -> Job[None, int]:
    return Job(lambda: (image, None), lambda outputs, _: int(outputs["twice"]))
