"""Health checks on a network that the test holds and breaks, by a clock that only the test moves."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from service.errors import InferenceError
from service.metrics import Metrics
from service.runtime.batcher import Batcher
from service.runtime.health import CHECK_SECONDS, FIRST_CHECK_SECONDS, HealthWatcher
from service.runtime.job import Job, Outputs, Tensor
from service.runtime.model import Model
from service.runtime.repository import Servable
from service.runtime.workers import Workers
from tests.servables import color_card
from tests.service.runtime.clocks import ManualClock

pytestmark = pytest.mark.anyio


class Network:
    """Counts its runs; each takes `seconds` of the clock, and may be held, be broken or give nonsense.

    Where it `divides`, it has no number for a blank image.
    """

    def __init__(self, clock: ManualClock) -> None:
        self.runs = 0
        self.sizes: list[int] = []
        self.seconds = 0.0
        self.broken = False
        self.output = 0.0
        self.divides = False
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self._clock = clock

    def __call__(self, batch: Tensor) -> Outputs:
        self.sizes.append(batch.size)
        self.entered.release()
        assert self.gate.wait(10)
        self._clock.advance(self.seconds)
        if self.broken:
            raise RuntimeError("broken")
        self.runs += 1
        output = self.output if batch.any() or not self.divides else np.nan
        return {"logits": np.full((len(batch), 3), output)}


class Pauses:
    """Stands in for `asyncio.sleep`: each pause lasts until the test ends it."""

    def __init__(self) -> None:
        self.requested: asyncio.Queue[float] = asyncio.Queue()
        self.over: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, seconds: float) -> None:
        self.requested.put_nowait(seconds)
        await self.over.get()


class Ward:
    """One model, its network, and the watcher that checks it."""

    def __init__(self, workers: Workers, clock: ManualClock) -> None:
        self.clock = clock
        self.workers = workers
        self.network = Network(clock)
        self.pauses = Pauses()
        self.watcher = HealthWatcher(clock, self.pauses)
        self.queue = Batcher(
            [self.network],
            workers,
            Metrics().of_version("colors", 1),
            largest=1,
            capacity=2,
        )
        self.queue.open()
        self.model = Model(Servable("colors", 1, Path("colors"), color_card()), queue=self.queue)

    async def admit(self, *, checked: bool = False) -> None:
        await self.watcher.admit(self.model, self.queue, checked=checked)

    async def use(self, images: int = 1, *, low_priority: bool = False) -> None:
        job = Job(lambda: (np.ones(1, np.uint8), None), lambda outputs, _: outputs)
        await self.queue.submit([job] * images, timeout_seconds=9, low_priority=low_priority)

    async def hold(self) -> "asyncio.Task[None]":
        """Let an image occupy the network until its gate opens."""
        self.network.gate.clear()
        while self.network.entered.acquire(blocking=False):
            pass  # the runs before
        task = asyncio.create_task(self.use())
        assert await asyncio.to_thread(self.network.entered.acquire, timeout=10)
        return task

    async def until_queued(self, depth: int) -> None:
        while self.queue.depth != depth:
            await asyncio.sleep(0)

    async def make_round(self) -> int:
        """Make a round and return how many runs it caused."""
        before = self.network.runs
        await self.watcher.make_round()
        return self.network.runs - before


@asynccontextmanager
async def ward() -> AsyncIterator[Ward]:
    clock = ManualClock()
    workers = Workers(1, clock=clock)
    workers.start()
    made = Ward(workers, clock)
    try:
        yield made
    finally:
        made.network.gate.set()
        await made.queue.close()
        await asyncio.to_thread(workers.stop)


async def test_a_model_whose_first_check_succeeds_is_ready() -> None:
    async with ward() as w:
        await w.admit()
        assert (w.model.state, w.model.reason, w.network.runs) == ("ready", "", 1)


async def test_a_model_that_has_answered_while_it_was_loaded_is_checked_in_the_next_round() -> None:
    async with ward() as w:
        await w.admit(checked=True)
        assert (w.model.state, w.network.runs) == ("ready", 0)
        assert await w.make_round() == 1


async def test_a_model_whose_output_is_not_finite_is_not_ready_and_the_log_names_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ward() as w:
        w.network.output = np.nan
        with caplog.at_level(logging.ERROR):
            await w.admit()
        assert w.model.state == "failed"
        assert w.model.reason == (
            "did not answer its health check: "
            "output logits is not finite, for a blank image and for noise"
        )
    (record,) = [one for one in caplog.records if one.getMessage() == "health check failed"]
    assert "colors" in str(record.__dict__)


async def test_a_model_without_an_answer_for_a_blank_image_alone_is_checked_with_noise() -> None:
    async with ward() as w:
        w.model.blank = np.zeros((4, 4, 3), np.uint8)
        w.network.divides = True
        await w.admit()
        assert (w.model.reason, w.network.runs) == ("", 2)
        assert await w.make_round() == 1
        assert not w.model.reason
        w.network.output = np.nan
        await w.watcher.make_round()
        assert w.model.reason


async def test_a_model_that_answers_again_is_ready_again() -> None:
    async with ward() as w:
        w.network.broken = True
        await w.admit()
        assert w.model.reason
        w.network.broken = False
        await w.watcher.make_round()
        assert w.model.state == "ready"


async def test_an_idle_model_that_stops_answering_is_found_out() -> None:
    async with ward() as w:
        await w.admit()
        w.network.broken = True
        await w.watcher.make_round()
        assert w.model.state == "failed"
        assert "The network failed on this image: broken" in w.model.reason


async def test_a_model_that_has_answered_since_the_last_round_is_not_checked() -> None:
    async with ward() as w:
        await w.admit()
        for _ in range(3):
            await w.use()
            assert await w.make_round() == 0
        assert await w.make_round() == 1


async def test_a_check_is_no_answer_to_anybody_so_each_round_checks_an_idle_model() -> None:
    async with ward() as w:
        await w.admit()
        assert [await w.make_round() for _ in range(3)] == [1, 1, 1]


async def test_a_heavy_model_that_nobody_uses_is_checked_for_a_thousandth_of_the_time() -> None:
    async with ward() as w:
        w.network.seconds = 0.5
        await w.admit()
        w.clock.advance(499.9)
        assert await w.make_round() == 0
        w.clock.advance(0.2)
        assert await w.make_round() == 1
        w.clock.advance(499.9)
        assert await w.make_round() == 0


async def test_a_heavy_model_that_fails_its_callers_is_checked_in_the_next_round() -> None:
    async with ward() as w:
        w.network.seconds = 0.5
        await w.admit()
        w.network.broken = True
        await w.use()
        await w.watcher.make_round()
        assert w.model.state == "failed"


async def test_a_model_that_failed_is_checked_though_it_has_answered_since() -> None:
    async with ward() as w:
        await w.admit()
        w.network.broken = True
        await w.watcher.make_round()
        w.network.broken = False
        await w.use()
        assert await w.make_round() == 1
        assert w.model.state == "ready"


async def test_a_check_waits_behind_the_images_of_others() -> None:
    async with ward() as w:
        await w.admit()
        first = await w.hold()
        making = asyncio.create_task(w.watcher.make_round())
        await w.until_queued(1)
        second = asyncio.create_task(w.use())
        await w.until_queued(2)
        w.network.gate.set()
        await asyncio.gather(first, second, making)
        assert w.network.sizes == [0, 1, 1, 0], "a blank has no pixels here"


async def test_the_first_check_does_not_wait_behind_what_has_low_priority() -> None:
    async with ward() as w:
        first = await w.hold()
        slow = asyncio.create_task(w.use(low_priority=True))
        await w.until_queued(1)
        admitting = asyncio.create_task(w.admit())
        await w.until_queued(2)
        w.network.gate.set()
        await asyncio.gather(first, slow, admitting)
        assert w.network.sizes == [1, 0, 1]


async def test_a_full_queue_from_which_nothing_came_since_the_last_round_is_a_failure() -> None:
    async with ward() as w:
        await w.admit()
        first = await w.hold()
        waiting = asyncio.create_task(w.use(2, low_priority=True))
        await w.until_queued(2)
        await w.watcher.make_round()
        assert w.model.state == "failed"
        assert "2 images wait already" in w.model.reason
        w.network.gate.set()
        await asyncio.gather(first, waiting)


@pytest.mark.parametrize(("works", "state"), [(True, "ready"), (False, "failed")])
async def test_a_late_check_is_a_failure_only_where_no_batch_came_out_meanwhile(
    *, works: bool, state: str
) -> None:
    async with ward() as w:
        await w.admit()
        first = await w.hold()
        making = asyncio.create_task(w.watcher.make_round())
        await w.until_queued(1)
        w.network.broken = not works
        w.clock.advance(CHECK_SECONDS)
        w.network.gate.set()
        await asyncio.gather(first, making)
        assert w.model.state == state
        assert w.network.sizes == [0, 1], "the check was too late to run"


async def test_a_check_that_waits_behind_the_batches_of_other_models_is_no_failure() -> None:
    async with ward() as w:
        await w.admit()
        other = Network(w.clock)
        other.gate.clear()
        series = Metrics().of_version("other", 1)
        queue = Batcher([other], w.workers, series, largest=1, capacity=2)
        queue.open()
        job = Job(lambda: (np.ones(1, np.uint8), None), lambda outputs, _: outputs)
        busy = asyncio.create_task(queue.submit([job], timeout_seconds=99))
        assert await asyncio.to_thread(other.entered.acquire, timeout=10)
        making = asyncio.create_task(w.watcher.make_round())
        await w.until_queued(1)
        w.clock.advance(CHECK_SECONDS)
        other.gate.set()
        await asyncio.gather(busy, making)
        assert (w.model.state, w.network.sizes) == ("ready", [0])
        await queue.close()


async def test_the_first_check_may_take_longer_than_the_later_ones() -> None:
    async with ward() as w:
        first = await w.hold()
        admitting = asyncio.create_task(w.admit())
        await w.until_queued(1)
        w.clock.advance(FIRST_CHECK_SECONDS - 1)
        w.network.gate.set()
        await asyncio.gather(first, admitting)
        assert w.model.state == "ready"


async def test_a_model_at_work_is_checked_however_heavy_if_nothing_came_out_of_it() -> None:
    async with ward() as w:
        w.network.seconds = 0.5
        await w.admit()
        first = await w.hold()
        making = asyncio.create_task(w.watcher.make_round())
        await w.until_queued(1)
        w.network.gate.set()
        await asyncio.gather(first, making)
        assert w.network.sizes == [0, 1, 0]


async def test_a_closed_queue_says_nothing_about_the_model() -> None:
    async with ward() as w:
        await w.admit()
        await w.queue.close()
        await w.watcher.make_round()
        assert (w.model.state, w.network.runs) == ("ready", 1)


async def test_a_forgotten_model_is_not_checked() -> None:
    async with ward() as w:
        await w.admit()
        w.watcher.forget(w.model)
        assert await w.make_round() == 0
        w.watcher.forget(w.model)  # as does one that was never admitted


async def test_a_model_without_a_queue_is_skipped_and_the_others_are_checked() -> None:
    async with ward() as w:
        gone = Model(w.model.servable)
        await w.watcher.admit(gone, w.queue)
        await w.admit()
        assert await w.make_round() == 1


async def test_rounds_are_made_with_the_given_pause_between_them() -> None:
    async with ward() as w:
        await w.admit()
        watching = asyncio.create_task(w.watcher.watch(30))
        assert await w.pauses.requested.get() == 30
        assert w.network.runs == 1, "the first round comes after a pause"
        for runs in (2, 3):
            w.pauses.over.put_nowait(None)
            assert await w.pauses.requested.get() == 30
            assert w.network.runs == runs
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching


async def test_a_check_that_waits_while_others_run_one_long_batch_is_no_failure_either() -> None:
    async with ward() as w:
        await w.admit()
        other = Network(w.clock)
        other.gate.clear()
        series = Metrics().of_version("other", 1)
        queue = Batcher([other], w.workers, series, largest=1, capacity=2)
        queue.open()
        job = Job(lambda: (np.ones(1, np.uint8), None), lambda outputs, _: outputs)
        busy = asyncio.create_task(queue.submit([job], timeout_seconds=99))
        assert await asyncio.to_thread(other.entered.acquire, timeout=10)
        await w.watcher.make_round(check_seconds=0)
        assert (w.model.state, w.network.sizes) == ("ready", [0])
        other.gate.set()
        await busy
        await queue.close()


async def test_a_network_all_of_whose_answers_are_errors_is_found_out() -> None:
    async with ward() as w:
        await w.admit()
        w.network.output = np.nan
        job = Job(lambda: (np.ones(1, np.uint8), None), _refuse)
        for _ in range(3):
            await w.queue.submit([job], timeout_seconds=9)
        await w.watcher.make_round()
        assert w.model.state == "failed"
        assert "not finite" in w.model.reason


def _refuse(outputs: Outputs, _: None) -> None:
    raise InferenceError(f"{len(outputs)} outputs are not finite")
