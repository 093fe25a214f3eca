import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.card import Task
from service.errors import (
    ConfigurationError,
    NotReadyError,
    ServableError,
    UnknownModelError,
    UnknownVersionError,
    WrongTaskError,
)
from service.metrics import Metrics
from service.runtime.device import Device
from service.runtime.job import Job
from service.runtime.loading import Loaded, load_model
from service.runtime.registry import Batching, OpenModel, Registry
from service.runtime.repository import Servable, scan_repository
from service.runtime.workers import Workers
from tests.servables import color_model, write_servable

pytestmark = pytest.mark.anyio
CPU = Device("cpu")
LOAD = partial(load_model, device=CPU, largest=4, instances=1, threads=1, cache=Path())


@asynccontextmanager
async def serving(
    root: Path,
    open_model: OpenModel = LOAD,
    defaults: Mapping[Task, str] | None = None,
) -> AsyncIterator[Registry]:
    servables, refusals = scan_repository(root)
    workers = Workers(1)
    registry = Registry(
        servables,
        refusals,
        device=CPU,
        open_model=open_model,
        workers=workers,
        metrics=Metrics(),
        batching=Batching(capacity=8),
        defaults=defaults or {},
    )
    workers.start()
    try:
        yield registry
    finally:
        await registry.close()
        await asyncio.to_thread(workers.stop)


async def test_a_model_is_ready_when_its_health_check_came_back(repository: Path) -> None:
    async with serving(repository) as registry:
        assert registry.not_ready() == ["colors version 1 is still loading"]
        with pytest.raises(NotReadyError, match="still loading"):
            _ = registry.find(["classify"], None, None).batcher
        await registry.load()
        assert registry.not_ready() == []
        assert registry.models[0].batcher.batches_run == 1


async def test_an_empty_repository_is_not_ready(tmp_path: Path) -> None:
    async with serving(tmp_path) as registry:
        await registry.load()
        assert registry.not_ready() == ["the model repository is empty"]


async def test_a_model_that_can_not_be_loaded_does_not_keep_the_others(tmp_path: Path) -> None:
    write_servable(tmp_path, "good")
    write_servable(tmp_path, "other", model=color_model(input_name="pixels_in"))
    async with serving(tmp_path) as registry:
        await registry.load()
        assert registry.find(["classify"], "good", None).state == "ready"
        (reason,) = registry.not_ready()
        assert "the contract wants ['image']" in reason


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (color_model(side=16), "the card says"),
        (color_model(batch=1), "dynamic batch axis"),
    ],
)
async def test_a_graph_that_breaks_the_contract_is_not_served(
    tmp_path: Path, model: Any, fault: str
) -> None:
    write_servable(tmp_path, model=model)
    async with serving(tmp_path) as registry:
        await registry.load()
        assert fault in registry.not_ready()[0]


async def test_without_a_version_the_newest_answers(tmp_path: Path) -> None:
    for version in (1, 2, 10):
        write_servable(tmp_path, version=version)
    async with serving(tmp_path) as registry:
        assert registry.find(["classify"], "colors", None).version == 10
        assert registry.find(["classify"], "colors", 2).version == 2
        with pytest.raises(UnknownVersionError, match="Versions: 1, 2, 10"):
            registry.find(["classify"], "colors", 3)


async def test_without_a_name_the_default_answers(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_servable(tmp_path, name)
    async with serving(tmp_path) as registry:
        assert registry.find(["classify"], None, None).name == "a"
    async with serving(tmp_path, defaults={"classify": "b"}) as registry:
        assert registry.find(["classify"], None, None).name == "b"


async def test_a_default_that_names_no_model_stops_the_start(repository: Path) -> None:
    with pytest.raises(ConfigurationError, match="FOVEAL_DEFAULTS names 'nothing'"):
        async with serving(repository, defaults={"classify": "nothing"}):
            pass


async def test_what_is_not_there_is_named_with_what_is(repository: Path) -> None:
    async with serving(repository) as registry:
        with pytest.raises(UnknownModelError, match="models: colors"):
            registry.find(["classify"], "paints", None)
        with pytest.raises(UnknownModelError, match="no model for segment"):
            registry.find(["segment"], None, None)
        with pytest.raises(WrongTaskError, match="does classify, not detect"):
            registry.find(["detect"], "colors", None)
        with pytest.raises(UnknownModelError):
            registry.versions("paints")


async def test_a_model_that_stops_answering_makes_the_service_not_ready(repository: Path) -> None:
    answers = iter([np.zeros(3), np.full(3, np.nan)])

    def fall(batch: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        return {"logits": next(answers)[None].repeat(len(batch), axis=0)}

    loaded = Loaded((fall,), 1, np.zeros(1, np.uint8))
    async with serving(repository, open_model=lambda _: loaded) as registry:
        await registry.load()
        assert registry.not_ready() == []
        watching = asyncio.create_task(registry.watch(every_seconds=0.001))
        while not registry.not_ready():
            await asyncio.sleep(0.001)
        watching.cancel()
        assert "not finite" in registry.not_ready()[0]


class Watched:
    """A network that counts its runs; `seconds` is how long each takes."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.runs = 0
        self.broken = False
        self._seconds = seconds

    def load(self, _: Servable) -> Loaded:
        return Loaded((self._run,), 1, np.zeros(1, np.uint8))

    def _run(self, batch: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        time.sleep(self._seconds)
        if self.broken:
            raise RuntimeError("broken")
        self.runs += 1
        return {"logits": np.zeros((len(batch), 3))}


async def test_a_model_that_answers_is_not_tried(repository: Path) -> None:
    network = Watched()
    async with serving(repository, open_model=network.load) as registry:
        await registry.load()
        batcher = registry.models[0].batcher
        watching = asyncio.create_task(registry.watch(every_seconds=0.3))
        images, until = 0, time.perf_counter() + 1
        while time.perf_counter() < until:
            images += 1
            job = Job(lambda: (np.zeros(1, np.uint8), None), lambda outputs, _: outputs)
            await batcher.submit([job], timeout_seconds=5)
            await asyncio.sleep(0.005)
        assert network.runs == 1 + images, "the health check at the start, and the images"
        while network.runs == 1 + images:
            await asyncio.sleep(0.005)  # idle now, it is tried again
        watching.cancel()


async def test_a_heavy_model_is_tried_less_often(repository: Path) -> None:
    heavy = Watched(seconds=0.02)
    async with serving(repository, open_model=heavy.load) as registry:
        await registry.load()
        watching = asyncio.create_task(registry.watch(every_seconds=0.01))
        await asyncio.sleep(0.3)
        watching.cancel()
        assert heavy.runs == 1, "its next try is due 20 s after its first"


async def test_a_heavy_model_that_fails_its_callers_is_tried_at_the_next_look(
    repository: Path,
) -> None:
    heavy = Watched(seconds=0.02)
    async with serving(repository, open_model=heavy.load) as registry:
        await registry.load()
        watching = asyncio.create_task(registry.watch(every_seconds=0.01))
        heavy.broken = True
        job = Job(lambda: (np.zeros(1, np.uint8), None), lambda outputs, _: outputs)
        await registry.models[0].batcher.submit([job], timeout_seconds=5)
        async with asyncio.timeout(5):
            while not registry.not_ready():
                await asyncio.sleep(0.01)
        watching.cancel()
        assert "did not answer its health check" in registry.not_ready()[0]


async def test_a_loader_that_refuses_is_quoted(repository: Path) -> None:
    def refuse(_: Servable) -> Loaded:
        raise ServableError("no room on the device")

    async with serving(repository, open_model=refuse) as registry:
        await registry.load()
        assert registry.not_ready() == ["colors version 1 failed to load: no room on the device"]


async def test_a_forged_certificate_keeps_a_model_out(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    forged = path.read_bytes().replace(b"colors", b"colorz", 1)
    path.write_bytes(forged)
    async with serving(tmp_path) as registry:
        await registry.load()
        assert "changed after it was proved" in registry.not_ready()[0]
