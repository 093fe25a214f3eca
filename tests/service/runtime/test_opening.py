"""What the log says when a version is ready: how long all of its loading took, until it had answered."""

import asyncio
import logging
from dataclasses import replace

import pytest

from service.metrics import Metrics
from service.runtime.device import Device
from service.runtime.job import Outputs, Tensor
from service.runtime.loaded import Loaded
from service.runtime.model import Model
from service.runtime.opening import Batching, Opener
from service.runtime.repository import Servable
from service.runtime.workers import Workers
from tests.service.runtime.clocks import ManualClock
from tests.service.runtime.networks import Loader, Network, servable

pytestmark = pytest.mark.anyio

MEASURING_SECONDS = 1.0
OPENING_SECONDS = 4.0
FIRST_RUN_SECONDS = 20.0


class SlowNetwork(Network):
    """Takes its time for each run, by a clock of the test."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(1)
        self.clock = clock

    def __call__(self, batch: Tensor) -> Outputs:
        self.clock.advance(FIRST_RUN_SECONDS)
        return super().__call__(batch)


async def test_a_version_is_ready_after_its_memory_was_measured_and_its_first_run_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, loader = ManualClock(), Loader()
    network = SlowNetwork(clock)
    loader.gate.set()

    def open_model(one: Servable) -> Loaded:
        clock.advance(OPENING_SECONDS)
        return replace(loader(one), runs=(network,))

    def measure() -> int:
        clock.advance(MEASURING_SECONDS)
        return 0

    workers, model = Workers(1, clock=clock), Model(servable("slow"))
    opener = Opener(
        device=Device("cpu"),
        open_model=open_model,
        workers=workers,
        metrics=Metrics(),
        batching=Batching(capacity=8),
        release_memory=loader.note_release,
        measure=measure,
    )
    workers.start()
    try:
        with caplog.at_level(logging.INFO):
            await opener.start(model, await opener.open(model))
    finally:
        await model.retire()
        await asyncio.to_thread(workers.stop)
    seconds = 2 * MEASURING_SECONDS + OPENING_SECONDS + FIRST_RUN_SECONDS
    assert f"slow version 1 is ready after {seconds:.2f} s: classify in fp32 on cpu" in caplog.text


@pytest.mark.parametrize(("device", "rests"), [(Device("cpu"), True), (Device("cuda"), False)])
async def test_stuck_runs_of_explanations_count_for_a_model_that_runs_on_the_cpu_too(
    device: Device, *, rests: bool
) -> None:
    loader, workers, model = Loader(), Workers(1), Model(servable("a"))
    loader.gate.set()
    opener = Opener(
        device=device,
        open_model=loader,
        workers=workers,
        metrics=Metrics(),
        batching=Batching(capacity=8),
        release_memory=loader.note_release,
    )
    workers.start()
    try:
        for _ in range(2):
            model.stuck_runs.back_off.note_stuck(workers.clock(), 60.0)
        await opener.start(model, await opener.open(model))
        assert model.state == "ready", "it was loaded again"
        for _ in range(2):
            model.stuck_runs.back_off.note_stuck(workers.clock(), 60.0)
        model.batcher.look()
        assert model.batcher.rests is rests
        assert bool(model.reason) is rests
    finally:
        await model.retire()
        await asyncio.to_thread(workers.stop)
