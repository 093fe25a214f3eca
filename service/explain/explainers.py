"""Explainers: a second session of a model, whose outputs include its inner maps, loaded on the first request."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from service.card import Card, CardError
from service.errors import (
    FovealError,
    NotReadyError,
    OverloadedError,
    ShuttingDownError,
    told_shortages,
)
from service.explain.memory import ExplanationMemory
from service.graph.anatomy import Anatomy, instrument_graph
from service.logs import LOGGER
from service.metrics import VersionMetrics
from service.runtime.batcher import Batcher
from service.runtime.daemon_call import daemon_call
from service.runtime.device import Device, plan_session
from service.runtime.instances import FIRST_RUN_SECONDS, STUCK_SECONDS
from service.runtime.job import Run
from service.runtime.model import Model
from service.runtime.repository import Servable
from service.runtime.session import open_session
from service.runtime.workers import Workers
from service.servable_file import check_certificate

log = logging.getLogger(LOGGER)

LOAD_SECONDS = 60.0
LEAST_MACS = 3e8
"""Multiply-accumulate operations in a second, of the slowest core on which a first run that takes longer is stuck."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A session whose outputs include the inner maps, and what is known of its graph."""

    run: Run
    anatomy: Anatomy


@dataclass(frozen=True, slots=True)
class Explainer:
    """A model's second session with a queue of its own; its jobs get the inner maps among their outputs.

    Its card has the stages of the model's card that are in the graph.
    """

    card: Card
    anatomy: Anatomy
    batcher: Batcher


@dataclass(slots=True, eq=False)
class _Place:
    """One explainer, loading or loaded; it is unloaded only while no request uses it."""

    loading: "asyncio.Task[Explainer]"
    users: int = 0


@dataclass(slots=True, eq=False)
class Explainers:
    """The explainers of all models. At most `limit` are loaded; the least recently used one is unloaded for a new one.

    None is loaded before its first request, so that a service that explains nothing needs no memory for it.
    Explanations run on the workers that run everything else, one image at a time, as low-priority jobs.

    Args:
        workers: the threads that run batches.
        limit: how many explainers may be loaded at once.
        capacity: how many jobs may wait for one of them.
        open_explainer: opens a servable with its inner maps as outputs; blocking, called on a thread.
        series_of: the metrics of a model, where the runs of its explainer count too.
        load_seconds: how long an explainer may take to load.
        stuck_seconds: a run is given up after so long, or later where it usually takes long.
    """

    workers: Workers
    limit: int
    capacity: int
    open_explainer: Callable[[Servable], Opened]
    series_of: Callable[[Model], VersionMetrics]
    load_seconds: float = LOAD_SECONDS
    stuck_seconds: float = STUCK_SECONDS
    _places: "OrderedDict[Model, _Place]" = field(default_factory=OrderedDict)
    _closed: bool = False

    @property
    def loaded(self) -> list[str]:
        """The names of the models whose explainers are loaded, least recently used first."""
        return [model.name for model in self._places]

    @asynccontextmanager
    async def use(self, model: Model) -> AsyncIterator[Explainer]:
        """Give the model's explainer for the length of the block; simultaneous requests share one loading.

        Raises:
            NotReadyError: the model is not being served, or its file can not be read, or does not load in time.
            ShuttingDownError: the explainers were closed.
            OverloadedError: all explainers that may be loaded are in use.
            ServableError: the session can not be opened.
        UnavailableError: it needs more memory than there is.
        """
        model.require_served()
        if self._closed:
            raise ShuttingDownError("The service is shutting down. Send this to another instance.")
        place = self._places.get(model)
        if place is None:
            await self._make_room()
            place = self._places.get(model) or _Place(asyncio.create_task(self._load(model)))
            self._places[model] = place
        self._places.move_to_end(model)
        place.users += 1
        try:
            yield await asyncio.shield(place.loading)
        finally:
            place.users -= 1
            if _failed(place.loading) and self._places.get(model) is place:
                del self._places[model]

    async def forget(self, model: Model) -> None:
        """Unload a model's explainer, unless a request uses it: the model itself has left the memory."""
        place = self._places.get(model)
        if place is not None and not place.users:
            del self._places[model]
            await _unload(place)

    async def close(self) -> None:
        """Unload all explainers; returns when their accepted jobs are finished."""
        self._closed = True
        places, self._places = list(self._places.values()), OrderedDict()
        for place in places:
            place.loading.cancel()  # without effect on one that is loaded
        await asyncio.gather(*(_unload(place) for place in places))

    async def _make_room(self) -> None:
        while len(self._places) >= self.limit:
            idle = next((model for model, place in self._places.items() if not place.users), None)
            if idle is None:
                raise OverloadedError(
                    f"{self.limit} networks are being explained already, which is this service's limit. "
                    "Try again in a moment."
                )
            await _unload(self._places.pop(idle))

    async def _load(self, model: Model) -> Explainer:
        opened = await self._open(model)
        batcher = Batcher(
            [opened.run],
            self.workers,
            self.series_of(model),
            largest=1,
            capacity=self.capacity,
            macs=model.card.cost.macs,
            stuck_seconds=self.stuck_seconds,
            # It runs on the CPU, where a first run compiles nothing.
            first_run_seconds=min(FIRST_RUN_SECONDS, model.card.cost.macs / LEAST_MACS),
            stuck=model.stuck_runs,
            device="cpu",
        )
        batcher.open()
        return Explainer(_card_of(model, opened.anatomy), opened.anatomy, batcher)

    async def _open(self, model: Model) -> Opened:
        try:
            with told_shortages():
                async with asyncio.timeout(self.load_seconds):
                    return await daemon_call(
                        partial(self.open_explainer, model.servable), "foveal-explainer"
                    )
        except TimeoutError:
            raise NotReadyError(
                f"{model} did not load for explanations within {self.load_seconds:g} s."
            ) from None
        except FovealError:
            raise
        except OSError as error:
            raise NotReadyError(
                f"{model} can not be explained: its file can not be read ({error.strerror or error})."
            ) from error


def open_explainer(memory: ExplanationMemory, servable: Servable) -> Opened:
    """Open a servable with its inner maps as outputs, if its file is still the one that is served; blocking.

    To load it, and each of its runs, waits for memory.

    The session runs on the CPU even where the model itself runs on a GPU: one image at a time needs no GPU, whose
    memory stays free for ordinary requests.

    Raises:
        NotReadyError: the file is another one by now.
        ServableError: ONNX Runtime can not load the graph.
        OSError: the file can not be read.
        UnavailableError: it needs more memory than there is, or than there was in time.
    """
    try:
        check_certificate(servable.path, servable.card)
    except CardError as error:
        raise NotReadyError(
            f"{servable.name} can not be explained: its file was replaced since it was loaded. Restart the service."
        ) from error
    size = servable.path.stat().st_size
    memory.require(servable.name, size)
    with memory.loading(size):
        instrumented = instrument_graph(servable.path, servable.card)
        memory.require(servable.name, size, instrumented.run_bytes)
        device = Device("cpu")
        plan = replace(
            plan_session(device, largest=1, threads=1, cache=Path()), returns_memory=True
        )
        session = open_session(servable.path, device, plan, graph=instrumented.graph)
    return Opened(memory.bounded(session, instrumented.run_bytes), instrumented.anatomy)


def _card_of(model: Model, anatomy: Anatomy) -> Card:
    if not anatomy.lacking:
        return model.card
    log.warning(
        "%s is explained without its stages %s: its card names them, and its graph does not have their tensors",
        model,
        ", ".join(anatomy.lacking),
    )
    stages = tuple(one for one in model.card.stages if one.name not in anatomy.lacking)
    return model.card.model_copy(update={"stages": stages})


def _failed(loading: "asyncio.Task[Explainer]") -> bool:
    return loading.done() and (loading.cancelled() or loading.exception() is not None)


async def _unload(place: _Place) -> None:
    await asyncio.wait([place.loading])
    if not _failed(place.loading):
        await place.loading.result().batcher.close()
