"""The watchdog over networks that a test holds; time passes in rounds, and a round is a second."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from service.bounded_thread import NO_THREAD
from service.errors import FovealError, NotReadyError, StuckError
from service.metrics import Metrics
from service.runtime.back_off import CALM_TIMES
from service.runtime.batcher import Batcher
from service.runtime.instances import (
    FIRST_RUN_SECONDS,
    MOST_STUCK,
    STEP_SECONDS,
    STUCK_SECONDS,
    STUCK_TIMES,
)
from service.runtime.job import Job, JobResult, Outputs, Tensor
from service.runtime.stuck_runs import StuckRuns
from service.runtime.watchdog import RETURN_SECONDS, Watchdog
from service.runtime.workers import LAST_SPARES, Worker, Workers
from tests.samples import total
from tests.service.runtime.clocks import ManualClock

pytestmark = pytest.mark.anyio

STUCK, ROUNDS = 13, int(STUCK_SECONDS)
CALM = CALM_TIMES * STUCK_SECONDS
OVERDUE_ROUNDS = 2
"""The first one only sees the batch."""
Outcomes = list[JobResult[int] | FovealError]


class Network:
    """Doubles its numbers; a run with a 13 in it is held until the gate opens."""

    def __init__(self, clock: ManualClock, seconds: float = 0.0) -> None:
        self.clock, self.seconds = clock, seconds
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def __call__(self, batch: Tensor) -> Outputs:
        self.clock.advance(self.seconds)
        if STUCK in batch:
            self.entered.release()
            assert self.gate.wait(15)
        return {"twice": batch * 2}


class StoppableNetwork(Network):
    """Ends its run when it is stopped, as ONNX Runtime's sessions do."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.stopped: list[int] = []
        self.ended = threading.Semaphore(0)

    def stop(self, thread: int) -> None:
        self.stopped.append(thread)
        self.gate.set()

    def __call__(self, batch: Tensor) -> Outputs:
        found = super().__call__(batch)
        if STUCK in batch:
            raise RuntimeError("Exiting due to terminate flag being set to true.")
        return found


class BoundNetwork(Network):
    """Has memory of its own, so that no second thread can use it while it runs."""

    def pinned_input(self, count: int) -> Tensor:
        return np.zeros(count, np.int64)


def number(value: int) -> Job[None, int]:
    return Job(lambda: (np.array(value), None), lambda outputs, _: int(outputs["twice"]))


@dataclass
class Bench:
    clock: ManualClock
    workers: Workers
    watchdog: Watchdog
    metrics: Metrics
    batchers: list[Batcher] = field(default_factory=list)
    gates: list[threading.Event] = field(default_factory=list)

    def serve(self, network: Network, name: str = "m", **options: Any) -> Batcher:
        series = self.metrics.of_version(name, 1)
        runs = [network] * self.workers.count
        batcher = Batcher(runs, self.workers, series, largest=8, capacity=9, **options)
        batcher.open()
        self.batchers.append(batcher)
        self.gates.append(network.gate)
        return batcher

    def ask(self, batcher: Batcher, *jobs: int | Job[None, int]) -> "asyncio.Task[Outcomes]":
        made = [number(one) if isinstance(one, int) else one for one in jobs]
        return asyncio.create_task(batcher.submit(made, timeout_seconds=9_999))

    async def hold(self, batcher: Batcher, network: Network) -> "asyncio.Task[Outcomes]":
        """Let a run of the network be stuck."""
        task = self.ask(batcher, STUCK)
        assert await asyncio.to_thread(network.entered.acquire, timeout=10)
        return task

    def rounds(self, count: float) -> None:
        for _ in range(int(count)):
            self.watchdog.make_round()

    def stuck_count(self) -> float | None:
        return total(self.metrics.registry, "foveal_stuck_batches_total", model="m")


@asynccontextmanager
async def bench(
    workers: int = 1, start_thread: Callable[[Worker], None] = Worker.start
) -> AsyncIterator[Bench]:
    clock = ManualClock()
    crew = Workers(workers, clock=clock, start_thread=start_thread)
    crew.start()
    made = Bench(clock, crew, Watchdog(crew), Metrics())
    try:
        yield made
    finally:
        for gate in made.gates:
            gate.set()
        for batcher in made.batchers:
            await batcher.close()
        await asyncio.to_thread(crew.stop)


async def until(happened: Callable[[], bool]) -> None:
    while not happened():
        await asyncio.sleep(0)


async def test_a_stuck_run_is_answered_and_its_thread_replaced() -> None:
    async with bench() as b:
        network, other = Network(b.clock), Network(b.clock)
        batcher, neighbor = b.serve(network), b.serve(other, "n")
        await b.ask(batcher, 1)
        held, waiting = await b.hold(batcher, network), b.ask(neighbor, 4)
        b.rounds(ROUNDS)
        assert not held.done()
        b.rounds(1)
        (outcome,) = await held
        assert isinstance(outcome, StuckError)
        assert "did not end within 10 s" in str(outcome)
        assert outcome.retry_after_seconds is None
        (answer,) = await waiting
        assert getattr(answer, "value", None) == 8, "one thread, and it was lost"
        (again,) = await b.ask(batcher, 5)
        assert getattr(again, "value", None) == 10, "the model goes on too"
        assert (b.stuck_count(), b.workers.stuck, b.workers.left) == (1, 1, 1)
        network.gate.set()
        await until(lambda: not b.workers.stuck)
        assert b.workers.left == 1


async def test_a_run_that_can_be_stopped_is_and_nothing_is_lost() -> None:
    async with bench() as b:
        network = StoppableNetwork(b.clock)
        batcher = b.serve(network)
        await b.ask(batcher, 1)
        for _ in range(MOST_STUCK + 2):
            network.gate.clear()
            held = await b.hold(batcher, network)
            b.rounds(ROUNDS + 1)
            (outcome,) = await held
            assert isinstance(outcome, StuckError)
            await until(lambda: not b.workers.stuck)
        assert (batcher.broken, b.workers.left) == ("", 1)
        assert len(network.stopped) == MOST_STUCK + 2


async def test_two_models_whose_runs_hold_all_threads_leave_one_to_a_third() -> None:
    async with bench(workers=2) as b:
        networks = [Network(b.clock) for _ in range(2)]
        neighbor = b.serve(Network(b.clock), "n")
        held = []
        for index, network in enumerate(networks):
            batcher = b.serve(network, f"m{index}")
            await b.ask(batcher, 1)
            held.append(await b.hold(batcher, network))
        b.rounds(OVERDUE_ROUNDS)
        (answer,) = await b.ask(neighbor, 4)
        assert getattr(answer, "value", None) == 8
        again = await b.hold(b.batchers[1], networks[0])  # on the thread that they may take
        also = b.ask(b.batchers[2], 2)
        b.rounds(OVERDUE_ROUNDS)
        (answer,) = await b.ask(neighbor, 5)
        assert getattr(answer, "value", None) == 10, "a spare thread was left to it"
        assert not any(one.done() for one in (*held, again, also))
        assert b.workers.left == 2
        for network in networks:
            network.gate.set()
        await asyncio.gather(*held, again, also)
        (answer,) = await b.ask(b.batchers[1], 6)
        assert getattr(answer, "value", None) == 12
        assert (b.workers.left, b.workers.stuck, b.stuck_count()) == (2, 0, None)


async def test_models_whose_runs_never_end_leave_a_thread_however_many_models_they_are() -> None:
    async with bench(workers=2) as b:
        neighbor = b.serve(Network(b.clock), "n")
        for index in range(3):
            network = Network(b.clock)
            batcher = b.serve(network, f"m{index}")
            await b.ask(batcher, 1)
            for _ in range(b.workers.left):
                await b.hold(batcher, network)
            b.rounds(OVERDUE_ROUNDS)
            (answer,) = await b.ask(neighbor, 4)
            assert getattr(answer, "value", None) == 8
            b.rounds(ROUNDS + 1)
            (answer,) = await b.ask(neighbor, 5)
            assert getattr(answer, "value", None) == 10
        assert (b.workers.stuck, b.workers.left) == (5, 1)
        assert b.batchers[-1].broken, (
            "a single run of it is stuck, but it would take the last thread"
        )
        with pytest.raises(NotReadyError, match="has runs that do not end"):
            await b.ask(b.batchers[-1], 2)
        for gate in b.gates:
            gate.set()
        await until(lambda: not b.workers.stuck)
        b.clock.advance(STUCK_SECONDS)
        b.rounds(1)
        for batcher in b.batchers:
            (answer,) = await b.ask(batcher, 6)
            assert getattr(answer, "value", None) == 12
        assert (b.workers.left, b.workers.alive) == (2, 2)


async def test_runs_that_hold_all_threads_though_others_never_end_leave_one_soon() -> None:
    async with bench(workers=2) as b:
        neighbor, never, slow = b.serve(Network(b.clock), "n"), Network(b.clock), Network(b.clock)
        for index, network in enumerate((never, slow)):
            batcher = b.serve(network, f"m{index}")
            await b.ask(batcher, 1)
            held = [await b.hold(batcher, network) for _ in range(2)]
            if network is never:
                b.rounds(ROUNDS + 1)
        b.rounds(OVERDUE_ROUNDS)
        (answer,) = await b.ask(neighbor, 4)
        assert getattr(answer, "value", None) == 8
        slow.gate.set()
        for (outcome,) in await asyncio.gather(*held):
            assert getattr(outcome, "value", None) == 2 * STUCK, "it was only slow"
        await until(lambda: b.workers.alive == 2)


async def test_a_single_thread_that_is_overdue_gets_a_spare_one_and_the_surplus_ends() -> None:
    async with bench() as b:
        network, other = Network(b.clock), Network(b.clock)
        batcher, neighbor = b.serve(network), b.serve(other, "n")
        await b.ask(batcher, 1)
        held, waiting = await b.hold(batcher, network), b.ask(neighbor, 4)
        more = b.ask(batcher, 2)
        ((late, *_),) = b.workers.at_work()
        b.rounds(OVERDUE_ROUNDS)
        (answer,) = await waiting
        assert getattr(answer, "value", None) == 8
        assert not held.done()
        assert not more.done(), "it would hold the only thread again"
        network.gate.set()
        (outcome,), (answer,) = await asyncio.gather(held, more)
        assert getattr(outcome, "value", None) == 2 * STUCK, "it was only slow"
        assert getattr(answer, "value", None) == 4
        await asyncio.to_thread(late.join, 10)
        assert not late.is_alive()
        assert (b.workers.left, b.workers.alive, b.workers.stuck) == (1, 1, 0)


async def test_a_batch_within_many_times_its_usual_time_is_not_overdue() -> None:
    async with bench() as b:
        network = Network(b.clock, seconds=0.25)
        batcher, neighbor = b.serve(network), b.serve(Network(b.clock), "n")
        await b.ask(batcher, 1)
        held, waiting = await b.hold(batcher, network), b.ask(neighbor, 4)
        b.rounds(0.25 * STUCK_TIMES)
        assert len(b.workers.at_work()) == 1
        assert not waiting.done()
        b.rounds(1)
        assert getattr((await waiting)[0], "value", None) == 8
        assert not held.done()


async def test_a_model_whose_runs_are_stuck_again_and_again_rests_longer_each_time() -> None:
    reasons: list[str] = []
    mended: list[str] = []
    async with bench(workers=2) as b:
        network = StoppableNetwork(b.clock)
        batcher = b.serve(network, on_broken=reasons.append, on_mended=mended.append)
        b.serve(Network(b.clock), "n")
        await b.ask(batcher, 1)
        for _ in range(2):
            network.gate.clear()
            held = await b.hold(batcher, network)
            b.rounds(ROUNDS + 1)
            assert isinstance((await held)[0], StuckError)
            await until(lambda: not b.workers.stuck)
        for rest in (10, 20, 40):
            assert batcher.rests
            with pytest.raises(NotReadyError, match=f"not run again for {rest} s") as refused:
                await b.ask(batcher, 2)
            assert refused.value.retry_after_seconds == rest
            b.clock.advance(rest - 1)
            b.rounds(1)
            assert batcher.broken
            b.clock.advance(1)
            b.rounds(1)
            assert not batcher.rests
            assert mended == reasons
            network.gate.clear()
            one, another = await b.hold(batcher, network), b.ask(batcher, 2)
            await until(lambda: batcher.depth == 1)
            assert batcher.batches_taken == 3 + len(mended), "one at a time"
            b.rounds(ROUNDS + 1)
            assert isinstance((await one)[0], StuckError)
            assert isinstance((await another)[0], NotReadyError)
            await until(lambda: not b.workers.stuck)
        assert len(reasons) == len(mended) + 1


async def test_a_model_that_rests_says_when_two_runs_of_it_never_end() -> None:
    reasons: list[str] = []
    mended: list[str] = []
    async with bench(workers=2) as b:
        network = Network(b.clock)
        batcher = b.serve(network, on_broken=reasons.append, on_mended=mended.append)
        b.serve(Network(b.clock), "n")
        await b.ask(batcher, 1)
        held = [await b.hold(batcher, network) for _ in range(2)]
        b.rounds(ROUNDS + 1)
        await asyncio.gather(*held)
        assert len(reasons) == 1
        b.clock.advance(STUCK_SECONDS)
        b.rounds(1)
        assert not batcher.rests
        assert "has runs that do not end" in reasons[1]
        assert not mended
        network.gate.set()
        await until(lambda: mended == reasons[1:])
        (answer,) = await b.ask(batcher, 5)
        assert getattr(answer, "value", None) == 10


async def test_a_network_with_many_stuck_runs_is_mended_for_the_reason_that_it_was_broken_for() -> (
    None
):
    reasons: list[str] = []
    mended: list[str] = []
    async with bench(workers=MOST_STUCK + 1) as b:
        network = Network(b.clock)
        batcher = b.serve(network, on_broken=reasons.append, on_mended=mended.append)
        await b.ask(batcher, 1)
        held = [await b.hold(batcher, network) for _ in range(MOST_STUCK + 1)]
        b.rounds(ROUNDS + 1)
        await asyncio.gather(*held)
        network.gate.set()
        await until(lambda: not b.workers.stuck)
        await until(lambda: mended == reasons[-1:])


@pytest.mark.parametrize("kind", [StoppableNetwork, Network])
async def test_stuck_runs_of_all_queues_of_a_model_count_together_and_all_of_them_rest(
    kind: type[Network],
) -> None:
    reasons: list[str] = []
    mended: list[str] = []
    async with bench(workers=2) as b:
        stuck, network, copy = StuckRuns(), kind(b.clock), kind(b.clock)
        batcher = b.serve(network, stuck=stuck, on_broken=reasons.append, on_mended=mended.append)
        explainer = b.serve(copy, stuck=stuck)
        neighbor = b.serve(Network(b.clock), "n")
        held = []
        for queue, its in ((explainer, copy), (batcher, network)):
            await b.ask(queue, 1)
            held.append(await b.hold(queue, its))
        b.rounds(ROUNDS + 1)
        for (outcome,) in await asyncio.gather(*held):
            assert isinstance(outcome, StuckError)
        later = b.serve(kind(b.clock), stuck=stuck)  # unloaded and loaded again
        for queue in (batcher, explainer, later):
            with pytest.raises(NotReadyError, match="not run again for 10 s"):
                await b.ask(queue, 2)
        (answer,) = await b.ask(neighbor, 4)
        assert getattr(answer, "value", None) == 8
        b.clock.advance(STUCK_SECONDS)
        b.rounds(1)
        if kind is Network:
            for queue in (batcher, explainer, later):
                with pytest.raises(NotReadyError, match="has runs that do not end"):
                    await b.ask(queue, 2)
            copy.gate.set()
            await until(lambda: len(stuck.out) == 1)
            b.rounds(1)
        for queue in (batcher, explainer, later):
            (answer,) = await b.ask(queue, 5)
            assert getattr(answer, "value", None) == 10
        assert mended == reasons[-1:]


async def test_a_rest_for_the_runs_of_another_queue_is_told_though_its_own_came_back_before() -> (
    None
):
    reasons: list[str] = []
    async with bench(workers=2) as b:
        stuck, networks = StuckRuns(), [Network(b.clock) for _ in range(2)]
        batcher = b.serve(networks[0], stuck=stuck, on_broken=reasons.append)
        explainer = b.serve(networks[1], stuck=stuck)
        b.serve(Network(b.clock), "n")
        for queue, network in zip((batcher, explainer), networks, strict=True):
            await b.ask(queue, 1)
            await b.hold(queue, network)
            ((worker, turn),) = [one[:2] for one in b.workers.at_work() if not one[1].given_up]
            assert b.workers.give_up(worker, turn)
            queue.answer(turn, 1)
        assert explainer.broken
        networks[0].gate.set()
        await until(lambda: len(stuck.out) == 1)
        b.rounds(1)
        assert reasons == [explainer.broken]


async def test_the_queues_of_a_model_that_is_alone_do_not_rest() -> None:
    async with bench(workers=2) as b:
        stuck, networks = StuckRuns(), [StoppableNetwork(b.clock) for _ in range(2)]
        batchers = [b.serve(network, stuck=stuck) for network in networks]
        for batcher, network in zip(batchers, networks, strict=True):
            await b.ask(batcher, 1)
            held = await b.hold(batcher, network)
            b.rounds(ROUNDS + 1)
            assert isinstance((await held)[0], StuckError)
            await until(lambda: not b.workers.stuck)
        assert not any(one.rests for one in batchers)


async def test_a_first_run_that_compiles_nothing_is_overdue_soon() -> None:
    async with bench() as b:
        network = Network(b.clock)
        batcher = b.serve(network, first_run_seconds=0.1)
        neighbor = b.serve(Network(b.clock), "n")
        held = await b.hold(batcher, network)
        b.rounds(OVERDUE_ROUNDS)
        (answer,) = await b.ask(neighbor, 4)
        assert getattr(answer, "value", None) == 8
        assert not held.done()


async def test_a_model_that_was_calm_for_long_enough_has_all_its_threads_again() -> None:
    async with bench(workers=2) as b:
        network = StoppableNetwork(b.clock)
        batcher = b.serve(network)
        b.serve(Network(b.clock), "n")
        await b.ask(batcher, 1)
        for _ in range(2):
            network.gate.clear()
            held = await b.hold(batcher, network)
            b.rounds(ROUNDS + 1)
            assert isinstance((await held)[0], StuckError)
            await until(lambda: not b.workers.stuck)
        b.clock.advance(STUCK_SECONDS)
        b.rounds(1)
        network.gate.clear()
        one = await b.hold(batcher, network)
        another = b.ask(batcher, STUCK)
        await until(lambda: batcher.depth == 1)
        b.clock.advance(CALM)
        b.rounds(1)
        assert await asyncio.to_thread(network.entered.acquire, timeout=10)
        network.gate.set()
        await asyncio.gather(one, another)


async def test_a_network_whose_runs_stay_stuck_runs_no_more_until_one_ends() -> None:
    reasons: list[str] = []
    mended: list[str] = []
    async with bench() as b:
        network = Network(b.clock)
        batcher = b.serve(network, on_broken=reasons.append, on_mended=mended.append)
        await b.ask(batcher, 1)
        for _ in range(MOST_STUCK - 1):
            await b.hold(batcher, network)
            b.rounds(ROUNDS + 1)
        await b.hold(batcher, network)
        waiting = b.ask(batcher, 2, 3)
        await until(lambda: batcher.depth == 2)
        b.rounds(ROUNDS + 1)
        assert all(isinstance(one, NotReadyError) for one in await waiting)
        with pytest.raises(NotReadyError, match="runs that do not end"):
            await b.ask(batcher, 4)
        assert reasons == [batcher.broken]
        assert not mended
        network.gate.set()
        await until(lambda: mended == reasons)
        assert not batcher.broken
        (answer,) = await b.ask(batcher, 5)
        assert getattr(answer, "value", None) == 10


async def test_a_run_that_comes_back_before_its_batch_is_answered_leaves_the_network_whole() -> (
    None
):
    reasons: list[str] = []
    async with bench(workers=MOST_STUCK) as b:
        network = Network(b.clock)
        batcher = b.serve(network, on_broken=reasons.append)
        await b.ask(batcher, 1)
        held = [await b.hold(batcher, network) for _ in range(MOST_STUCK)]
        turns = [(worker, turn) for worker, turn, _, _ in b.workers.at_work()]
        for worker, turn in turns:
            assert b.workers.give_up(worker, turn)
        assert batcher.broken
        network.gate.set()
        await until(lambda: not batcher.broken)
        for _, turn in turns:
            batcher.answer(turn, 1)
        assert all(isinstance(one, StuckError) for (one,) in await asyncio.gather(*held))
        assert not reasons, "an empty reason would make the model not ready"
        (answer,) = await b.ask(batcher, 5)
        assert getattr(answer, "value", None) == 10


async def test_so_many_threads_are_replaced_as_may_be_and_then_readiness_ends() -> None:
    async with bench() as b:
        networks = [Network(b.clock) for _ in range(2 + LAST_SPARES)]
        for index, network in enumerate(networks):
            assert b.workers.left == 1
            batcher = b.serve(network, f"m{index}")
            await b.ask(batcher, 1)
            await b.hold(batcher, network)
            b.rounds(ROUNDS + 1)
        assert (b.workers.stuck, b.workers.left) == (len(networks), 0)
        networks[0].gate.set()
        await until(lambda: b.workers.left == 1)
        (answer,) = await b.ask(b.batchers[0], 5)
        assert getattr(answer, "value", None) == 10, (
            "the thread that came back took its place again"
        )


async def test_an_instance_with_memory_of_its_own_is_out_until_its_run_ends() -> None:
    async with bench() as b:
        network = BoundNetwork(b.clock)
        batcher = b.serve(network)
        await b.ask(batcher, 1)
        await b.hold(batcher, network)
        b.rounds(ROUNDS + 1)
        with pytest.raises(NotReadyError, match="has runs that do not end"):
            await b.ask(batcher, 2)
        network.gate.set()
        await until(lambda: not batcher.broken)
        (answer,) = await b.ask(batcher, 3)
        assert getattr(answer, "value", None) == 6


async def test_a_run_on_a_gpu_that_never_ends_costs_the_process_and_nothing_waits_for_it() -> None:
    broken: list[str] = []
    lost: list[str] = []
    async with bench(workers=2) as b:
        network = BoundNetwork(b.clock)
        batcher = b.serve(network, on_broken=broken.append, on_device_lost=lost.append)
        await b.ask(batcher, 1)
        held = await b.hold(batcher, network)
        b.rounds(ROUNDS + 1)
        assert isinstance((await held)[0], StuckError)
        (answer,) = await b.ask(batcher, 5)
        assert getattr(answer, "value", None) == 10, "the other instance goes on"
        b.rounds(RETURN_SECONDS - 1)
        assert (lost, batcher.broken) == ([], "")
        b.rounds(1)
        assert lost == ["m: a run does not end, although it was stopped"]
        assert broken == [batcher.broken]
        with pytest.raises(NotReadyError, match="ran on a GPU that failed"):
            await b.ask(batcher, 2)
        b.rounds(3 * RETURN_SECONDS)
        assert len(lost) == 1
        network.gate.set()
        await until(lambda: not b.workers.stuck)
        with pytest.raises(NotReadyError, match="ran on a GPU that failed"):
            await b.ask(batcher, 2)


class StoppableBoundNetwork(StoppableNetwork, BoundNetwork):
    """Has memory of its own, and ends its run when it is stopped, as `BoundSession` does."""


@pytest.mark.parametrize("kind", [StoppableBoundNetwork, Network])
async def test_a_run_that_comes_back_or_has_no_memory_of_its_own_costs_no_process(
    kind: type[Network],
) -> None:
    lost: list[str] = []
    async with bench(workers=2) as b:
        network = kind(b.clock)
        batcher = b.serve(network, on_device_lost=lost.append)
        await b.ask(batcher, 1)
        await b.hold(batcher, network)
        b.rounds(ROUNDS + 1)
        if kind is StoppableBoundNetwork:
            await until(lambda: not b.workers.stuck)
        b.rounds(2 * RETURN_SECONDS)
        (answer,) = await b.ask(batcher, 5)
        assert getattr(answer, "value", None) == 10
        assert lost == []


async def test_a_heavy_network_has_many_times_its_usual_time() -> None:
    async with bench() as b:
        network = Network(b.clock, seconds=2.0)
        batcher = b.serve(network)
        await b.ask(batcher, 1)
        held = await b.hold(batcher, network)
        b.rounds(STUCK_TIMES * 2)
        assert not held.done()
        b.rounds(1)
        assert isinstance((await held)[0], StuckError)


async def test_a_first_run_may_take_longer() -> None:
    async with bench() as b:
        network = Network(b.clock)
        held = await b.hold(b.serve(network), network)
        b.rounds(FIRST_RUN_SECONDS)
        assert not held.done()
        b.rounds(1)
        assert isinstance((await held)[0], StuckError)


async def test_the_clock_alone_makes_nothing_stuck() -> None:
    async with bench() as b:
        network = Network(b.clock)
        batcher = b.serve(network)
        await b.ask(batcher, 1)
        held = await b.hold(batcher, network)
        b.rounds(1)
        b.clock.advance(1e6)  # the machine has slept
        b.rounds(1)
        network.gate.set()
        (outcome,) = await held
        assert getattr(outcome, "value", None) == 2 * STUCK


@pytest.mark.parametrize("part", ["prepare", "finish"])
async def test_an_image_that_is_stuck_before_or_behind_the_network_takes_only_its_thread(
    part: str,
) -> None:
    entered, gate = threading.Semaphore(0), threading.Event()

    def held(result: Any) -> Any:
        entered.release()
        assert gate.wait(15)
        return result

    jobs = {
        "prepare": Job(lambda: (held(np.array(1)), None), lambda outputs, _: int(outputs["twice"])),
        "finish": Job(lambda: (np.array(1), None), lambda _, __: held(0)),
    }
    async with bench() as b:
        batcher = b.serve(Network(b.clock))
        b.gates.append(gate)
        await b.ask(batcher, 1)
        for _ in range(2):
            stuck = b.ask(batcher, jobs[part])
            assert await asyncio.to_thread(entered.acquire, timeout=10)
            b.rounds(STEP_SECONDS)
            assert not stuck.done()
            b.rounds(1)
            assert isinstance((await stuck)[0], StuckError)
            gate.set()
            await until(lambda: not b.workers.stuck)
            gate.clear()
        (answer,) = await b.ask(batcher, 2)
        assert getattr(answer, "value", None) == 4
        assert (batcher.broken, b.stuck_count()) == ("", 2)


async def test_a_batch_that_goes_on_is_not_stuck_however_long_it_takes() -> None:
    entered, gate = threading.Semaphore(0), threading.Semaphore(0)

    def prepare() -> tuple[Tensor, None]:
        entered.release()
        assert gate.acquire(timeout=15)
        b.clock.advance(0.5)
        return np.array(1), None

    async with bench() as b:
        slow = Job(prepare, lambda outputs, _: int(outputs["twice"]))
        answers = b.ask(b.serve(Network(b.clock)), *[slow] * 4)
        for _ in range(4):
            assert await asyncio.to_thread(entered.acquire, timeout=10)
            b.rounds(STEP_SECONDS)
            gate.release()
        assert [getattr(one, "value", None) for one in await answers] == [2] * 4


async def test_what_is_being_stopped_does_not_keep_the_workers_from_ending() -> None:
    async with bench() as b:
        network = Network(b.clock)
        batcher = b.serve(network)
        await b.ask(batcher, 1)
        await b.hold(batcher, network)
        b.rounds(ROUNDS + 1)
        await batcher.close()
        await asyncio.to_thread(b.workers.stop)
        assert b.workers.stuck == 1


def deadly(b: Bench, deaths: list[int]) -> Batcher:
    """Return an open batcher that ends the first thread that looks at its images."""

    class Deadly(Batcher):
        def ready_batches(self, now: float, *, low_priority_yields: bool = False) -> Any:
            if self.depth and not deaths:
                deaths.append(threading.get_ident())
                raise SystemExit
            return super().ready_batches(now, low_priority_yields=low_priority_yields)

    series = b.metrics.of_version("m", 1)
    batcher = Deadly([Network(b.clock)], b.workers, series, largest=8, capacity=9)
    batcher.open()
    b.batchers.append(batcher)
    return batcher


async def test_a_thread_that_has_died_is_replaced() -> None:
    deaths: list[int] = []
    async with bench() as b:
        batcher = deadly(b, deaths)
        asking = b.ask(batcher, 4)
        await until(lambda: bool(deaths) and not b.workers.alive)
        b.rounds(1)
        assert getattr((await asking)[0], "value", None) == 8


async def test_a_thread_that_can_not_be_replaced_is_tried_again_each_round(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = 3

    def start(worker: Worker) -> None:
        nonlocal refusals
        if deaths and refusals:
            refusals -= 1
            raise RuntimeError(NO_THREAD)
        worker.start()

    deaths: list[int] = []
    async with bench(start_thread=start) as b:
        batcher = deadly(b, deaths)
        asking = b.ask(batcher, 4)
        await until(lambda: bool(deaths) and not b.workers.alive)
        b.rounds(3)
        assert b.workers.lost
        assert not asking.done()
        b.rounds(1)
        assert getattr((await asking)[0], "value", None) == 8
        assert not b.workers.lost
    said = [one.getMessage() for one in caplog.records if "can not be replaced" in one.getMessage()]
    assert len(said) == 1, "once and not each second"


async def test_a_thread_that_never_begins_is_replaced_after_a_time_and_holds_nobody_up() -> None:
    lost = 1

    def start(worker: Worker) -> None:
        nonlocal lost
        if deaths and lost:
            lost -= 1
            worker.give_up()  # as where there is no memory for its first step
        worker.start()

    deaths: list[int] = []
    async with bench(start_thread=start) as b:
        batcher = deadly(b, deaths)
        asking = b.ask(batcher, 4)
        await until(lambda: bool(deaths) and not b.workers.alive)
        b.rounds(1)
        await until(lambda: not b.workers.alive)
        assert not asking.done()
        b.rounds(1)
        assert getattr((await asking)[0], "value", None) == 8


async def test_it_watches_in_rounds() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Watchdog(Workers(1), 0.5, sleep).watch()
    assert pauses == [0.5] * 3
