"""Networks laid open: a second session of a model with its inner maps as outputs, loaded when first asked for."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service.card import Card
from service.errors import OverloadedError
from service.graph.anatomy import Anatomy, instrument_graph
from service.metrics import ModelMetrics
from service.runtime.batcher import Batcher
from service.runtime.device import Device, plan_session
from service.runtime.job import Run
from service.runtime.model import Model
from service.runtime.repository import Servable
from service.runtime.session import open_session
from service.runtime.workers import Workers


@dataclass(frozen=True, slots=True)
class Opened:
    """A laid-open network ready to run."""

    run: Run
    anatomy: Anatomy


@dataclass(frozen=True, slots=True)
class Explainer:
    """A laid-open network with a queue of its own, whose jobs get every inner map among their outputs."""

    card: Card
    anatomy: Anatomy
    batcher: Batcher


@dataclass(slots=True, eq=False)
class _Seat:
    """One explainer's place; it is given up only while nobody uses it."""

    loading: "asyncio.Task[Explainer]"
    users: int = 0


@dataclass(slots=True, eq=False)
class Explainers:
    """The explainers of all models, a bounded number of them loaded, the least lately used one giving way.

    Nothing of it exists before it is asked for, so that a service that explains nothing pays nothing. Explanations run
    on the workers that run everything else, one image at a time, behind everybody's images.

    Args:
        workers: the threads that run batches.
        limit: how many may be loaded at once.
        capacity: jobs that may wait for one of them.
        open_explainer: lays a servable open; blocking, called on a thread.
        series_of: where a model's runs are counted.
    """

    workers: Workers
    limit: int
    capacity: int
    open_explainer: Callable[[Servable], Opened]
    series_of: Callable[[Model], ModelMetrics]
    _seats: "OrderedDict[Model, _Seat]" = field(default_factory=OrderedDict)

    @property
    def loaded(self) -> list[str]:
        """The names of the models that are laid open, least lately used first."""
        return [model.name for model in self._seats]

    @asynccontextmanager
    async def use(self, model: Model) -> AsyncIterator[Explainer]:
        """Give the model's explainer for as long as the block lasts; requests that come together share one loading.

        Raises:
            NotReadyError: the model is not being served.
            OverloadedError: all places are taken by explainers at work.
            ServableError: the graph can not be laid open.
        """
        _ = model.batcher  # what is not served is not explained
        seat = self._seats.get(model)
        if seat is None:
            await self._make_room()
            seat = self._seats.get(model) or _Seat(asyncio.create_task(self._load(model)))
            self._seats[model] = seat
        self._seats.move_to_end(model)
        seat.users += 1
        try:
            yield await asyncio.shield(seat.loading)
        finally:
            seat.users -= 1
            if _failed(seat.loading) and self._seats.get(model) is seat:
                del self._seats[model]

    async def close(self) -> None:
        """Answer what was accepted and let go of everything."""
        seats, self._seats = list(self._seats.values()), OrderedDict()
        await asyncio.gather(*(_vacate(seat) for seat in seats))

    async def _make_room(self) -> None:
        while len(self._seats) >= self.limit:
            idle = next((model for model, seat in self._seats.items() if not seat.users), None)
            if idle is None:
                raise OverloadedError(
                    f"{self.limit} networks are being explained already, which is this service's limit. "
                    "Try again in a moment."
                )
            await _vacate(self._seats.pop(idle))

    async def _load(self, model: Model) -> Explainer:
        opened = await asyncio.to_thread(self.open_explainer, model.servable)
        batcher = Batcher(
            [opened.run],
            self.workers,
            self.series_of(model),
            largest=1,
            capacity=self.capacity,
            macs=model.card.cost.macs,
        )
        batcher.open()
        return Explainer(model.card, opened.anatomy, batcher)


def open_explainer(servable: Servable) -> Opened:
    """Lay a servable open; blocking.

    It runs on the CPU wherever the model itself runs: one image at a time, so that a GPU keeps its memory and its
    engines for the fast path.

    Raises:
        ServableError: ONNX Runtime can not load the graph.
    """
    instrumented = instrument_graph(servable.path, servable.card)
    device = Device("cpu")
    plan = plan_session(device, largest=1, threads=1, cache=Path())
    session = open_session(servable.path, device, plan, graph=instrumented.graph)
    return Opened(session.run, instrumented.anatomy)


def _failed(loading: "asyncio.Task[Explainer]") -> bool:
    return loading.done() and (loading.cancelled() or loading.exception() is not None)


async def _vacate(seat: _Seat) -> None:
    await asyncio.wait([seat.loading])
    if not _failed(seat.loading):
        await seat.loading.result().batcher.close()
