"""Explainers are loaded once, on the first request, and a bounded number of them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import NotReadyError, OverloadedError, ServableError, ShuttingDownError
from service.explain.explainers import Explainers, Opened, open_explainer
from service.explain.memory import ExplanationMemory
from service.graph.anatomy import Anatomy
from service.imaging.room import PixelRoom
from service.metrics import Metrics
from service.runtime.batcher import Batcher
from service.runtime.host import private_bytes, trim_heap
from service.runtime.job import Job, Outputs, Tensor
from service.runtime.model import Model
from service.runtime.opening import return_memory
from service.runtime.repository import Servable, scan_repository
from service.runtime.workers import Workers
from tests.bad_networks import endless_when_bright
from tests.live import bundled
from tests.servables import color_card, write_servable

pytestmark = pytest.mark.anyio


def plentiful() -> ExplanationMemory:
    """Return the memory of explanations where it is not short."""
    return ExplanationMemory(PixelRoom(64_000_000), 5.0)


@dataclass
class Opener:
    """Opens no network but counts; can be held up, and can fail."""

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
    return {"echo": batch}


@dataclass
class Bench:
    explainers: Explainers
    opener: Opener
    models: list[Model]


@asynccontextmanager
async def running(limit: int = 2) -> AsyncIterator[Bench]:
    workers, metrics, opener = Workers(1), Metrics(), Opener()
    opener.gate.set()
    series = metrics.of_version("any", 1)
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
        yield Bench(explainers, opener, models)


async def test_requests_that_come_together_share_one_loading() -> None:
    async with running() as bench:
        bench.opener.gate.clear()

        async def use() -> object:
            async with bench.explainers.use(bench.models[0]) as explainer:
                return explainer

        using = [asyncio.create_task(use()) for _ in range(5)]
        await asyncio.sleep(0)
        bench.opener.gate.set()
        explainers = await asyncio.gather(*using)
        assert bench.opener.opened == ["a"]
        assert len(set(map(id, explainers))) == 1


async def test_the_least_recently_used_is_unloaded_for_a_new_one() -> None:
    async with running(limit=2) as bench:
        for index in (0, 1, 0, 2, 0, 1):
            async with bench.explainers.use(bench.models[index]):
                pass
        assert bench.opener.opened == ["a", "b", "c", "b"]


async def test_one_in_use_is_never_unloaded() -> None:
    async with running(limit=1) as bench, bench.explainers.use(bench.models[0]) as explainer:
        with pytest.raises(OverloadedError, match="1 networks"):
            async with bench.explainers.use(bench.models[1]):
                pass
        job = Job(lambda: (np.ones(2, np.uint8), None), lambda outputs, _: outputs["echo"].sum())
        (outcome,) = await explainer.batcher.submit([job], timeout_seconds=5)
        assert getattr(outcome, "value", None) == 2


async def test_a_model_that_rests_is_not_explained_though_its_copy_is_loaded_anew() -> None:
    async with running(limit=1) as bench:
        model, now = bench.models[0], bench.explainers.workers.clock()
        for _ in range(2):
            model.stuck_runs.back_off.note_stuck(now, 60.0)
        job = Job(lambda: (np.ones(2, np.uint8), None), lambda outputs, _: outputs["echo"].sum())
        for _ in range(2):
            async with bench.explainers.use(model) as explainer:
                with pytest.raises(NotReadyError, match="not run again for 60 s"):
                    await explainer.batcher.submit([job], timeout_seconds=5)
            async with bench.explainers.use(bench.models[1]) as other:
                (outcome,) = await other.batcher.submit([job], timeout_seconds=5)
                assert getattr(outcome, "value", None) == 2
        assert bench.opener.opened == ["a", "b", "a", "b"]


async def test_a_failed_loading_is_tried_again() -> None:
    async with running() as bench:
        bench.opener.faults = 1
        with pytest.raises(ServableError):
            async with bench.explainers.use(bench.models[0]):
                pass
        async with bench.explainers.use(bench.models[0]) as explainer:
            assert explainer.anatomy.fields == {}
        assert bench.opener.opened == ["a", "a"]


async def test_a_caller_that_leaves_does_not_spoil_the_loading_for_others() -> None:
    async with running() as bench:
        bench.opener.gate.clear()

        async def use() -> str:
            async with bench.explainers.use(bench.models[0]) as explainer:
                return explainer.card.name

        leaver, stayer = asyncio.create_task(use()), asyncio.create_task(use())
        await asyncio.sleep(0)
        leaver.cancel()
        bench.opener.gate.set()
        assert await stayer == "colors"
        assert bench.opener.opened == ["a"]


async def test_none_is_loaded_once_they_are_closed() -> None:
    async with running() as bench:
        await bench.explainers.close()
        with pytest.raises(ShuttingDownError):
            async with bench.explainers.use(bench.models[0]):
                pass
        assert bench.opener.opened == []


async def _open(servable: Servable, **options: Any) -> None:
    """Use the explainer of a servable, opened from its file."""
    workers, series = Workers(1), Metrics().of_version("any", 1)
    settings = {"open_explainer": partial(open_explainer, plentiful()), **options}
    explainers = Explainers(workers, limit=1, capacity=8, series_of=lambda _: series, **settings)
    model = Model(servable)
    model.queue = Batcher([_echo], workers, series, largest=1, capacity=1)
    try:
        async with explainers.use(model):
            pass
    finally:
        await explainers.close()


async def test_a_model_whose_file_is_gone_is_not_explained(repository: Path) -> None:
    ((one,), _) = scan_repository(repository)
    await _open(one)
    one.path.unlink()
    with pytest.raises(NotReadyError, match="can not be explained: its file can not be read"):
        await _open(one)


async def test_a_model_whose_file_was_replaced_is_not_explained_by_another_network(
    tmp_path: Path,
) -> None:
    write_servable(tmp_path / "a")
    ((one,), _) = scan_repository(tmp_path / "a")
    other = write_servable(tmp_path / "b", model=endless_when_bright())
    other.replace(one.path)
    with pytest.raises(NotReadyError, match="its file was replaced"):
        await _open(one)


async def test_an_explainer_that_never_loads_is_given_up_and_does_not_keep_the_end() -> None:
    gate = threading.Event()

    def hold(_: Servable) -> Opened:
        assert gate.wait(10)
        return Opened(_echo, Anatomy(None, None, {}))

    one = Servable("a", 1, Path("a"), color_card())
    with pytest.raises(NotReadyError, match=r"did not load for explanations within 0\.01 s"):
        await _open(one, open_explainer=hold, load_seconds=0.01)
    gate.set()


async def test_what_an_explanation_took_goes_back_to_the_system(
    tmp_path: Path,
) -> None:
    ((servable,), _) = scan_repository(bundled(tmp_path, "u2netp"))
    explain = open_explainer(plentiful(), servable).run
    size = servable.card.image_input
    image = np.zeros((1, size.height, size.width, 3), np.uint8)
    return_memory()
    before = private_bytes()
    for _ in range(2):
        maps = sum(output.nbytes for output in explain(image).values())
        trim_heap()
        assert private_bytes() - before < 2 * maps  # which are still held, in regions of the arena
