"""Models fall asleep, make room and are woken, with networks that a test holds and a clock that it moves."""

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from service.errors import (
    DeadlineError,
    ModelsMemoryError,
    NotReadyError,
    OverloadedError,
    StuckError,
)
from service.metrics import Metrics
from service.runtime.device import Device
from service.runtime.instances import MOST_STUCK
from service.runtime.job import Job, JobResult
from service.runtime.model import ASLEEP, MOST_WAITING, Model
from service.runtime.opening import Batching, Opener
from service.runtime.residence import STAY_SECONDS, Residence
from service.runtime.retries import LONGEST_PAUSE_SECONDS, RETRY_SECONDS
from service.runtime.workers import Workers
from tests.samples import total
from tests.service.runtime.clocks import ManualClock
from tests.service.runtime.networks import Loader, servable

pytestmark = pytest.mark.anyio
MODEL_BYTES = 10
LONG_SECONDS = 1e6
"""After which even the slowest network is checked again."""
JOB: Job[None, int] = Job(
    lambda: (np.zeros(1, np.uint8), None), lambda outputs, _: int(outputs["version"][0])
)


@dataclass
class Home:
    residence: Residence
    opener: Opener
    loader: Loader
    clock: ManualClock
    models: tuple[Model, ...]
    served: list[Model]
    """What the residence sees."""

    async def load(self, model: Model) -> None:
        await self.opener.start(model, await self.opener.open(model))

    async def load_all(self) -> None:
        for model in self.models:
            await self.load(model)
            self.clock.advance(1)

    async def make_room(self, model: Model) -> None:
        """Make room as whoever loads a model does: in its turn."""
        async with self.opener.turn:
            await self.residence.make_room(model)

    def states(self) -> list[str]:
        return [model.state for model in self.models]

    def changes(self, name: str, change: str) -> float | None:
        registry = self.opener.metrics.registry
        return total(registry, "foveal_model_changes_total", model=name, change=change)

    def no_room(self, name: str, outcome: str) -> float | None:
        registry = self.opener.metrics.registry
        return total(registry, "foveal_model_no_room_total", model=name, outcome=outcome)


class Sleep:
    """Notes how long is slept, and moves the clock on by that, at once or when it may end."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.slept: list[float] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.may_end.wait()
        self.clock.advance(seconds)


async def no_sleep(seconds: float) -> None:
    raise AssertionError(f"nothing should wait, and it would for {seconds} s")


@asynccontextmanager
async def home(
    *names: str,
    ttl_seconds: float | None = None,
    budget_bytes: int = 0,
    stay_seconds: float = STAY_SECONDS,
    sleep: Callable[[float], Awaitable[None]] = no_sleep,
    clock: ManualClock | None = None,
) -> AsyncIterator[Home]:
    """Give models of `MODEL_BYTES` each, all loaded, one second after the other."""
    clock, loader, held = clock or ManualClock(), Loader(), iter(range(0, 1000, MODEL_BYTES))
    workers = Workers(1, clock=clock)
    served = [Model(servable(name), ttl_seconds=ttl_seconds) for name in names]
    opener = Opener(
        device=Device("cpu"),
        open_model=loader,
        workers=workers,
        metrics=Metrics(),
        batching=Batching(capacity=8),
        release_memory=loader.note_release,
        measure=lambda: next(held),  # before and after each load
    )
    loader.gate.set()
    workers.start()
    residence = Residence(
        opener,
        models=lambda: tuple(served),
        budget_bytes=budget_bytes,
        stay_seconds=stay_seconds,
        sleep=sleep,
    )
    here = Home(residence, opener, loader, clock, tuple(served), served)
    try:
        await here.load_all()
        yield here
    finally:
        loader.gate.set()
        await residence.close()
        for model in served:
            await model.retire()
        await asyncio.to_thread(workers.stop)


async def test_a_model_without_requests_falls_asleep_and_a_request_wakes_it() -> None:
    async with home("a", ttl_seconds=60) as h:
        (model,) = h.models
        assert await h.residence.make_round() == 59
        assert model.state == "ready"
        h.clock.advance(59)
        assert await h.residence.make_round() is None
        assert (model.state, model.queue, model.memory_bytes) == ("asleep", None, 0)
        assert model.can_answer
        queue, left = await model.awake(9)
        assert (model.state, model.queue, model.wake) == ("ready", queue, None)
        assert 0 < left <= 9
        assert model.memory_bytes == MODEL_BYTES
        assert (h.changes("a", "asleep"), h.changes("a", "woken")) == (1, 1)


async def test_a_model_without_a_time_stays() -> None:
    async with home("a") as h:
        h.clock.advance(1e9)
        assert await h.residence.make_round() is None
        assert h.states() == ["ready"]


async def test_the_least_recently_used_models_make_room() -> None:
    async with home("a", "b", "c", budget_bytes=3 * MODEL_BYTES) as h:
        first, second, third = h.models
        assert first.queue is not None
        first.queue.used_at = h.clock()
        await h.residence.make_room(third)  # it is here already, and needs its bytes once more
        assert h.states() == ["ready", "asleep", "ready"]
        assert second.measured_bytes == MODEL_BYTES, "remembered for the next time"


async def test_there_is_room_for_what_is_in_memory_or_fits_beside_it() -> None:
    async with home("a", "b", budget_bytes=MODEL_BYTES) as h:
        first, second = h.models
        await h.residence.make_room(second)
        assert h.states() == ["asleep", "ready"]
        assert not h.residence.has_room(first)
        assert h.residence.has_room(second), "it is there"
    async with home("a", ttl_seconds=1, budget_bytes=MODEL_BYTES) as h:
        await h.residence.make_round()
        assert h.residence.has_room(h.models[0])
    async with home("a", ttl_seconds=1) as h:
        await h.residence.make_round()
        assert h.residence.has_room(h.models[0]), "there is no budget"


async def test_where_no_other_is_left_a_model_that_is_too_large_is_loaded_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with home("a", "b", budget_bytes=MODEL_BYTES - 1) as h:
        await h.residence.make_room(h.models[1])
        assert h.states() == ["asleep", "ready"]
        assert "b version 1 needs 10 bytes and is loaded although" in caplog.text


async def test_what_holds_more_than_was_expected_makes_others_sleep_afterwards() -> None:
    async with home("a", "b", "c", budget_bytes=2 * MODEL_BYTES) as h:
        await h.residence.shrink(h.models[0])
        assert h.states() == ["ready", "asleep", "ready"]
        assert h.residence.held_bytes == 2 * MODEL_BYTES


async def test_requests_at_the_same_time_share_one_loading_which_outlives_a_deadline() -> None:
    async with home("a", ttl_seconds=1) as h:
        (model,) = h.models
        await h.residence.make_round()
        await h.loader.has_begun()  # the first time
        h.loader.gate.clear()
        waiting = asyncio.create_task(model.awake(99))
        await h.loader.has_begun()
        with pytest.raises(DeadlineError, match="was not loaded within 1 ms"):
            await model.awake(0.001)
        h.loader.gate.set()
        queue, _ = await waiting
        assert model.queue is queue
        assert len(h.loader.loaded) == 2


async def test_a_flood_on_a_model_that_sleeps_loads_it_once_and_few_wait_for_it() -> None:
    async with home("a", ttl_seconds=1) as h:
        (model,) = h.models
        await h.residence.make_round()
        await h.loader.has_begun()  # the first time
        h.loader.gate.clear()
        flood = [
            asyncio.create_task(model.awake(0.05 if number % 2 else 99))
            for number in range(2 * MOST_WAITING)
        ]
        await h.loader.has_begun()
        first, late = flood[:MOST_WAITING], flood[MOST_WAITING:]
        refused = await asyncio.gather(*late, return_exceptions=True)
        assert all(isinstance(one, OverloadedError) for one in refused)
        in_time = await asyncio.gather(*first[1::2], return_exceptions=True)
        assert all(isinstance(one, DeadlineError) for one in in_time), "each has its own deadline"
        h.loader.gate.set()
        found = await asyncio.gather(*first[::2])
        assert {queue for queue, _ in found} == {model.queue}
        assert len(h.loader.loaded) == 2, "once at the start, once for all of them"


async def test_a_model_that_can_not_be_loaded_again_says_why_and_is_tried_again_later() -> None:
    async with home("a", ttl_seconds=1) as h:
        (model,) = h.models
        await h.residence.make_round()
        h.loader.refuses = {1}
        with pytest.raises(NotReadyError, match="failed to load: no room on the device"):
            await model.awake(9)
        h.loader.refuses = set()
        with pytest.raises(NotReadyError, match="no room on the device"):
            await model.awake(9)
        assert len(h.loader.loaded) == 2, "it was not tried again at once"
        h.clock.advance(RETRY_SECONDS)
        await model.awake(9)
        assert model.state == "ready"
        assert h.changes("a", "refused") == 1


async def test_a_model_that_could_not_be_loaded_again_and_was_removed_is_let_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_to_wake(model: Model) -> None:
        with pytest.raises(NotReadyError, match="no room on the device"):
            await model.awake(9)

    caplog.set_level(logging.CRITICAL, "foveal")  # a record would keep the model
    async with home("a", ttl_seconds=1) as h:
        await h.residence.make_round()
        h.loader.refuses = {1}
        await fail_to_wake(h.models[0])
        await h.models[0].retire()
        removed = weakref.ref(h.models[0])
        h.models = ()
        h.served.clear()
        while removed() is not None:  # the loop and the thread may still let go of the error
            await asyncio.sleep(0)
            gc.collect()


async def test_a_model_that_can_not_be_loaded_again_is_tried_again_without_requests() -> None:
    """While it is failed a service of one model is not ready, so that no request would come to ask for it."""
    async with home("a", ttl_seconds=1) as h:
        (model,) = h.models
        await h.residence.make_round()
        watching = asyncio.create_task(h.residence.watch())
        h.loader.refuses = {1}
        with pytest.raises(NotReadyError, match="no room on the device"):
            await model.awake(9)
        loaded = len(h.loader.loaded)
        pauses: list[float] = []
        while len(pauses) < 7:
            seconds = await h.residence.make_round()
            assert seconds is not None
            assert len(h.loader.loaded) == loaded, "it is not tried before its time"
            h.clock.advance(seconds)
            while h.changes("a", "refused") != len(pauses) + 2:
                await h.residence.make_round()
                await asyncio.sleep(0)
            loaded += 1
            pauses.append(seconds)
        assert pauses == [10, 20, 40, 80, 160, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
        h.loader.refuses = set()
        h.clock.advance(LONGEST_PAUSE_SECONDS)
        while model.state != "ready":
            await h.residence.make_round()
            await asyncio.sleep(0)
        assert await h.residence.make_round() == 1, "it falls asleep as before"
        watching.cancel()
        await asyncio.wait([watching])


async def test_no_other_model_makes_room_for_one_that_is_tried_again_without_a_request() -> None:
    async with home("a", "b", ttl_seconds=60, budget_bytes=MODEL_BYTES, stay_seconds=0) as h:
        model, other = h.models
        await h.make_room(other)
        assert h.states() == ["asleep", "ready"]
        h.loader.refuses = {1}
        with pytest.raises(NotReadyError, match="no room on the device"):
            await model.awake(9)
        h.loader.refuses = set()
        await other.awake(9)
        h.clock.advance(RETRY_SECONDS)
        await h.residence.make_round()
        assert h.states() == ["asleep", "ready"], "the next request asks for it"
        await model.awake(9)
        assert model.state == "ready"


async def test_a_loading_that_fails_half_way_is_the_answer_of_all_who_wait_for_it() -> None:
    async with home("a", "b", ttl_seconds=1, budget_bytes=MODEL_BYTES, stay_seconds=0) as h:
        model, other = h.models
        await h.residence.make_round()
        await other.awake(9)
        for _ in range(3):
            await h.loader.has_begun()  # both at the start, and the other one again
        h.loader.gate.clear()
        h.loader.refuses = {1}
        waiting = [asyncio.create_task(model.awake(99)) for _ in range(3)]
        await h.loader.has_begun()
        h.loader.gate.set()
        for one in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(one, NotReadyError)
            assert "failed to load: no room on the device" in str(one)
        assert len(h.loader.loaded) == 4, "one loading for all of them"
        assert (model.state, model.queue, model.memory_bytes) == ("failed", None, 0)
        h.loader.refuses = set()
        await other.awake(9)
        assert other.state == "ready", "it had made room, and a request brings it back"


async def test_a_model_that_is_woken_and_not_well_answers_nobody_and_is_let_go() -> None:
    async with home("a", ttl_seconds=1) as h:
        (model,) = h.models
        await h.residence.make_round()
        h.loader.endless = {1}
        with pytest.raises(NotReadyError, match="failed to load: it did not answer its health"):
            await model.awake(9)
        assert (model.state, model.queue, model.memory_bytes) == ("failed", None, 0)
        for _ in range(2):
            await h.loader.has_freed_a_network()
        h.loader.endless = set()
        with pytest.raises(NotReadyError, match="did not answer its health check"):
            await model.awake(9)
        assert len(h.loader.loaded) == 2, "it was not tried again at once"
        h.clock.advance(RETRY_SECONDS)
        await model.awake(9)
        assert model.state == "ready"
        assert (h.changes("a", "refused"), h.changes("a", "woken")) == (1, 1)


async def test_requests_wait_for_the_first_check_of_a_woken_model_and_never_reach_a_broken_one() -> (
    None
):
    async with home("a", ttl_seconds=1) as h:
        (model,) = h.models
        await h.residence.make_round()
        h.loader.holds = {1}
        await h.loader.has_begun()  # the first time
        first = asyncio.create_task(model.awake(99))
        await h.loader.has_begun()
        while ("a", 1) not in h.loader.networks:
            await asyncio.sleep(0)
        network = h.loader.networks["a", 1]
        await network.has_entered()  # the check
        assert model.queue is None
        second = asyncio.create_task(model.awake(99))
        await asyncio.sleep(0)
        network.broken = True
        network.gate.set()
        for one in await asyncio.gather(first, second, return_exceptions=True):
            assert isinstance(one, NotReadyError)
        assert not network.entered.acquire(blocking=False), "nothing but the check ran"


async def test_a_model_that_is_removed_during_its_first_check_keeps_no_memory() -> None:
    async with home("a", ttl_seconds=1) as h:
        (model,) = h.models
        await h.residence.make_round()
        h.loader.holds = {1}
        await h.loader.has_begun()
        waiting = asyncio.create_task(model.awake(99))
        await h.loader.has_begun()
        while ("a", 1) not in h.loader.networks:
            await asyncio.sleep(0)
        network = h.loader.networks["a", 1]
        await network.has_entered()
        await model.retire()
        network.gate.set()
        with pytest.raises(NotReadyError, match="was removed"):
            await waiting
        assert (model.queue, model.memory_bytes) == (None, 0)
        del network
        await h.loader.has_freed_a_network()
        await h.loader.has_freed_a_network()


async def test_models_that_do_not_fit_together_take_turns_and_each_has_its_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sleep = Sleep()
    async with home(
        "a", "b", budget_bytes=MODEL_BYTES, stay_seconds=7, sleep=sleep, clock=sleep.clock
    ) as h:
        first, second = h.models
        await h.residence.make_room(second)
        await first.awake(99)
        assert (h.states(), sleep.slept) == (["ready", "asleep"], []), "no stay after the start"
        h.clock.advance(3)
        await second.awake(99)
        assert (h.states(), sleep.slept) == (["asleep", "ready"], [4])
        await first.awake(99)
        assert (h.states(), sleep.slept) == (["ready", "asleep"], [4, 7])
        assert (h.no_room("a", "waited"), h.no_room("b", "waited")) == (1, 1)
        assert "Together they need 20 bytes, and FOVEAL_MODELS_MEMORY_BYTES is 10" in caplog.text


async def test_a_request_that_can_not_wait_for_room_is_refused_at_once_and_knows_when_to_return() -> (
    None
):
    async with home("a", "b", budget_bytes=MODEL_BYTES, stay_seconds=7) as h:
        first, second = h.models
        await h.residence.make_room(second)
        await first.awake(99)
        h.clock.advance(2.5)
        with pytest.raises(ModelsMemoryError, match="Send the request again after 5 s") as refused:
            await second.awake(4)
        assert (refused.value.status, refused.value.retry_after_seconds) == (503, 5)
        assert (h.states(), h.no_room("b", "refused")) == (["ready", "asleep"], 1)
        h.clock.advance(4.5)
        await second.awake(4)
        assert h.states() == ["asleep", "ready"]


async def test_a_stay_is_no_shorter_than_the_loading_and_none_where_it_is_off() -> None:
    sleep = Sleep()
    async with home(
        "a", "b", budget_bytes=MODEL_BYTES, stay_seconds=1, sleep=sleep, clock=sleep.clock
    ) as h:
        first, second = h.models
        await h.residence.make_room(second)
        for _ in h.models:  # both at the start
            await h.loader.has_begun()
        h.loader.gate.clear()
        waking = asyncio.create_task(first.awake(99))
        await h.loader.has_begun()
        h.clock.advance(30)
        h.loader.gate.set()
        await waking
        await second.awake(99)
        assert sleep.slept == [30]
    async with home("a", "b", budget_bytes=MODEL_BYTES, stay_seconds=0) as h:
        for model in (*h.models, *h.models):
            await model.awake(99)
            await h.residence.make_room(model)


async def test_models_that_run_for_the_same_requests_stay_only_as_long_as_their_loading_took() -> (
    None
):
    sleep = Sleep()
    async with home(
        "a", "b", "c", budget_bytes=MODEL_BYTES, stay_seconds=7, sleep=sleep, clock=sleep.clock
    ) as h:
        h.residence.let_alternate(lambda one, other: {one, other} == {"a", "b"})
        first, second, third = h.models
        for model in (second, third):
            await h.residence.make_room(model)
        for _ in h.models:  # at the start
            await h.loader.has_begun()
        h.loader.gate.clear()
        waking = asyncio.create_task(first.awake(99))
        await h.loader.has_begun()
        h.clock.advance(2)
        h.loader.gate.set()
        await waking
        h.clock.advance(0.5)
        await second.awake(99)
        assert sleep.slept == [1.5], "half of the time may go into loading"
        await first.awake(99)
        assert sleep.slept == [1.5], "and this one took no time"
        await third.awake(99)
        assert sleep.slept == [1.5, 7], "for any other it has its stay"
        await first.awake(99)
        assert sleep.slept == [1.5, 7, 7]
        with pytest.raises(ModelsMemoryError, match="after 7 s"):
            await third.awake(6)


async def test_requests_come_to_the_model_that_they_woke_before_it_makes_room_for_another() -> None:
    async def ask(model: Model) -> int:
        queue, _ = await model.awake(99)
        (outcome,) = await queue.submit([JOB], timeout_seconds=99)
        assert isinstance(outcome, JobResult), outcome
        return outcome.value

    async with home("a", "b", "c", budget_bytes=MODEL_BYTES, stay_seconds=0) as h:
        for model in h.models:
            await h.residence.make_room(model)
        assert await asyncio.gather(*(ask(model) for model in h.models * 3)) == [1] * 9
        assert h.states().count("ready") == 1
        assert len(h.loader.loaded) <= 6, "each at the start, and for all its requests once"


async def test_who_waited_first_gets_the_room_first_and_what_fits_waits_for_nobody() -> None:
    sleep = Sleep()
    sleep.may_end.clear()
    async with home(
        "a", "b", "c", "d", budget_bytes=MODEL_BYTES + 5, sleep=sleep, clock=sleep.clock
    ) as h:
        first, second, third, small = h.models
        await h.residence.make_room(second)
        await first.awake(99)
        waiting = [asyncio.create_task(model.awake(99)) for model in (third, second)]
        while not sleep.slept:
            await asyncio.sleep(0)
        assert "waits until another model has had its stay" in third.reason
        small.measured_bytes = 5
        before = len(h.loader.loaded)
        await small.awake(99)
        assert h.loader.loaded[before:] == [("d", 1)]
        sleep.may_end.set()
        await asyncio.gather(*waiting)
        assert h.loader.loaded[before + 1 :] == [("c", 1), ("b", 1)]


async def test_room_is_not_made_for_a_model_that_nobody_waits_for_any_more() -> None:
    sleep = Sleep()
    sleep.may_end.clear()
    async with home("a", "b", budget_bytes=MODEL_BYTES, sleep=sleep, clock=sleep.clock) as h:
        first, second = h.models
        await h.residence.make_room(second)
        await first.awake(99)
        waiting = asyncio.create_task(second.awake(99))
        while not sleep.slept:
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        sleep.may_end.set()
        while "waits until" in second.reason:
            await asyncio.sleep(0)
        assert h.states() == ["ready", "asleep"]
        assert "no request came for it" in second.reason


async def test_a_model_that_waits_for_room_at_the_end_is_answered() -> None:
    async def sleep(_: float) -> None:
        slept.set()
        await asyncio.Event().wait()

    slept = asyncio.Event()
    async with home("a", "b", budget_bytes=MODEL_BYTES, sleep=sleep) as h:
        first, second = h.models
        await h.residence.make_room(second)
        await first.awake(99)
        waiting = asyncio.create_task(second.awake(99))
        await slept.wait()
        await h.residence.close()
        with pytest.raises(NotReadyError, match="is not in memory"):
            await waiting


async def test_a_model_that_has_failed_makes_room_too() -> None:
    async with home("a", "b", budget_bytes=MODEL_BYTES) as h:
        first, second = h.models
        first.mark_failed("did not answer its health check")
        await h.residence.make_room(second)
        assert h.states() == ["asleep", "ready"]


async def test_a_model_in_use_that_makes_room_answers_first_and_its_next_request_wakes_it() -> None:
    async with home("a", "b", budget_bytes=MODEL_BYTES) as h:
        model, other = h.models
        network = h.loader.networks["a", 1]
        await network.has_entered()  # for the first health check
        network.gate.clear()
        assert model.queue is not None
        running = asyncio.create_task(model.queue.submit([JOB], timeout_seconds=99))
        await network.has_entered()
        making_room = asyncio.create_task(h.make_room(other))
        await asyncio.sleep(0)
        assert (model.state, making_room.done()) == ("asleep", False)
        waking = asyncio.create_task(model.awake(99))
        await asyncio.sleep(0)
        network.gate.set()
        del network
        (outcome,) = await running
        assert isinstance(outcome, JobResult)
        await making_room
        queue, _ = await waking
        assert (model.state, model.queue) == ("ready", queue)
        assert other.state == "asleep", "there is room for one of them"
        (again,) = await queue.submit([JOB], timeout_seconds=99)
        assert isinstance(again, JobResult)


@pytest.mark.parametrize("breaks", [False, True])
async def test_a_check_that_ends_after_its_model_fell_asleep_says_nothing_about_it(
    *, breaks: bool
) -> None:
    async with home("a", "b", budget_bytes=MODEL_BYTES) as h:
        model, other = h.models
        network = h.loader.networks["a", 1]
        await network.has_entered()  # for the first health check
        network.gate.clear()
        h.clock.advance(LONG_SECONDS)
        checking = asyncio.create_task(h.opener.health.make_round())
        await network.has_entered()
        making_room = asyncio.create_task(h.make_room(other))
        await asyncio.sleep(0)
        assert (model.state, making_room.done()) == ("asleep", False)
        network.broken = breaks
        network.gate.set()
        del network
        await asyncio.gather(checking, making_room)
        assert (model.state, model.reason) == ("asleep", ASLEEP), "and so the service is ready"


async def test_a_network_that_breaks_after_its_model_fell_asleep_leaves_it_asleep() -> None:
    async with home("a", "b", budget_bytes=MODEL_BYTES) as h:
        model, other = h.models
        network = h.loader.networks["a", 1]
        await network.has_entered()
        network.gate.clear()
        queue = model.queue
        assert queue is not None
        running = []
        for _ in range(MOST_STUCK):
            running.append(asyncio.create_task(queue.submit([JOB], timeout_seconds=99)))
            await network.has_entered()
            if len(running) == MOST_STUCK:
                making_room = asyncio.create_task(h.make_room(other))
                await asyncio.sleep(0)
            ((worker, turn, _, _),) = h.opener.workers.at_work()
            assert h.opener.workers.give_up(worker, turn)  # as the watchdog does
            queue.answer(turn, 1.0)
        assert queue.broken
        network.gate.set()
        del network, worker, turn
        for (outcome,) in await asyncio.gather(*running):
            assert isinstance(outcome, StuckError)
        await making_room
        assert (model.state, model.reason) == ("asleep", ASLEEP), "a request brings it back"


async def test_a_model_that_runs_a_request_does_not_fall_asleep() -> None:
    async with home("a", ttl_seconds=1) as h:
        (model,) = h.models
        network = h.loader.networks["a", 1]
        await network.has_entered()
        network.gate.clear()
        assert model.queue is not None
        running = asyncio.create_task(model.queue.submit([JOB], timeout_seconds=99))
        await network.has_entered()
        h.clock.advance(50)
        assert await h.residence.make_round() == 0.1, "it looks again soon"
        assert model.state == "ready"
        network.gate.set()
        (outcome,) = await running
        assert isinstance(outcome, JobResult)


async def test_a_model_that_is_removed_while_it_is_woken_stays_out_of_memory() -> None:
    async with home("a", ttl_seconds=1) as h:
        (model,) = h.models
        await h.residence.make_round()
        await h.loader.has_begun()
        h.loader.gate.clear()
        waiting = asyncio.create_task(model.awake(99))
        await h.loader.has_begun()
        await model.retire()
        h.loader.gate.set()
        with pytest.raises(NotReadyError, match="was removed"):
            await waiting
        assert (model.queue, model.memory_bytes) == (None, 0)


async def test_nothing_is_woken_after_the_end() -> None:
    async with home("a", ttl_seconds=1) as h:
        await h.residence.make_round()
        await h.residence.close()
        with pytest.raises(NotReadyError, match="is not in memory"):
            await h.models[0].awake(9)
        assert len(h.loader.loaded) == 1


async def test_the_watch_looks_again_when_the_models_have_changed() -> None:
    async with home("a") as h:
        watching = asyncio.create_task(h.residence.watch())
        await asyncio.sleep(0)
        (model,) = h.models
        model.ttl_seconds = 0.5  # over already
        h.residence.look()
        while model.state != "asleep":
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.wait([watching])
