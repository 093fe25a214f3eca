"""Explainers are loaded once, when asked for, and a bounded number of them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from service.errors import OverloadedError, ServableError
from service.explain.explainers import Explainers, Opened
from service.graph.anatomy import Anatomy
from service.metrics import Metrics
from service.runtime.batcher import Batcher
from service.runtime.job import Job, Outputs, Tensor
from service.runtime.model import Model
from service.runtime.repository import Servable
from service.runtime.workers import Workers
from tests.servables import color_card

pytestmark = pytest.mark.anyio


@dataclass
class Opener:
    """Stands in for laying a network open; can be held up, and can fail."""

    opened: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    faults: int = 0

    def __call__(self, servable: Servable) -> Opened:
        self.opened.append(servable.name)
        assert self.gate.wait(5)
        if self.faults:
            self.faults -= 1
            raise ServableError("no")
        return Opened(_echo, Anatomy(None, None, {}))


def _echo(batch: Tensor) -> Outputs:
    return {"seen": batch}


@dataclass
class House:
    explainers: Explainers
    opener: Opener
    models: list[Model]


@asynccontextmanager
async def house(limit: int = 2) -> AsyncIterator[House]:
    workers, metrics, opener = Workers(1), Metrics(), Opener()
    opener.gate.set()
    series = metrics.of_model("any", lambda: 0)
    explainers = Explainers(
        workers, limit=limit, capacity=8, open_explainer=opener, series_of=lambda _: series
    )
    card = color_card()
    models = [Model(Servable(name, 1, Path(name), card)) for name in ("a", "b", "c")]
    async with AsyncExitStack() as stack:
        workers.start()
        stack.push_async_callback(asyncio.to_thread, workers.stop)
        for model in models:
            model.queue = Batcher([_echo], workers, series, largest=1, capacity=1)
        stack.push_async_callback(explainers.close)
        yield House(explainers, opener, models)


async def test_requests_that_come_together_share_one_loading() -> None:
    async with house() as home:
        home.opener.gate.clear()

        async def ask() -> object:
            async with home.explainers.use(home.models[0]) as explainer:
                return explainer

        asking = [asyncio.create_task(ask()) for _ in range(5)]
        await asyncio.sleep(0)
        home.opener.gate.set()
        explainers = await asyncio.gather(*asking)
        assert home.opener.opened == ["a"]
        assert len(set(map(id, explainers))) == 1


async def test_the_least_lately_used_gives_way() -> None:
    async with house(limit=2) as home:
        for index in (0, 1, 0, 2, 0, 1):
            async with home.explainers.use(home.models[index]):
                pass
        assert home.opener.opened == ["a", "b", "c", "b"]


async def test_one_at_work_never_gives_way() -> None:
    async with house(limit=1) as home, home.explainers.use(home.models[0]) as explainer:
        with pytest.raises(OverloadedError, match="1 networks"):
            async with home.explainers.use(home.models[1]):
                pass
        job = Job(lambda: (np.ones(2, np.uint8), None), lambda seen, _: seen["seen"].sum())
        (outcome,) = await explainer.batcher.submit([job], timeout_seconds=5)
        assert getattr(outcome, "value", None) == 2


async def test_a_failed_loading_is_tried_again() -> None:
    async with house() as home:
        home.opener.faults = 1
        with pytest.raises(ServableError):
            async with home.explainers.use(home.models[0]):
                pass
        async with home.explainers.use(home.models[0]) as explainer:
            assert explainer.anatomy.fields == {}
        assert home.opener.opened == ["a", "a"]


async def test_a_caller_that_leaves_does_not_spoil_the_loading_for_others() -> None:
    async with house() as home:
        home.opener.gate.clear()

        async def ask() -> str:
            async with home.explainers.use(home.models[0]) as explainer:
                return explainer.card.name

        leaver, stayer = asyncio.create_task(ask()), asyncio.create_task(ask())
        await asyncio.sleep(0)
        leaver.cancel()
        home.opener.gate.set()
        assert await stayer == "colors"
        assert home.opener.opened == ["a"]
