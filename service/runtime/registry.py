"""The models that are served on one device: found by name, task and version; replaced while serving."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from service.errors import FovealError, for_clients
from service.logs import LOGGER, printable
from service.metrics import VersionMetrics
from service.runtime.device import Device
from service.runtime.discards import Discards
from service.runtime.faults import reason_of
from service.runtime.finder import Finder, listed
from service.runtime.fleet import Routes, Selector
from service.runtime.health import HealthWatcher
from service.runtime.model import Model
from service.runtime.opening import Batching, Opener
from service.runtime.readiness import Readiness
from service.runtime.repository import Refusal
from service.runtime.residence import LOAD_SECONDS, STAY_SECONDS, Residence
from service.runtime.served import Served
from service.runtime.transitions import Transition, Transitions
from service.runtime.wanted import Wanted

log = logging.getLogger(LOGGER)


class NotServed(NamedTuple):
    """A version that lies in the folder and is not served, with the reason; all three may be shown to clients."""

    name: str
    version: str
    reason: str


class Registry:
    """All models that are served on one device, and the health of each.

    A model that can not be loaded never keeps the others from being served. All methods are called on the event loop.
    What the metrics show of the models is read at each scrape.

    Args:
        wanted: the models that `load` loads, and how requests find them.
        opener: brings them into memory and out of it.
        networks: by task, the tasks whose networks can do it; a task that is not there has its own.
        load_seconds: how long the loading of a model may keep the others waiting; it goes on beside them.
        budget_bytes: how much memory the models may hold together; 0: any.
        stay_seconds: how long a model that was loaded for a request stays before another one may take its room.

    Attributes:
        device: where the models run.
        health: checks the models; its `watch` must run beside the service.
        residence: lets idle models go; its `watch` must run beside the service.

    Raises:
        ConfigurationError: a default leads to no model that does the task.
    """

    def __init__(
        self,
        wanted: Wanted,
        *,
        opener: Opener,
        networks: Mapping[str, Collection[str]] | None = None,
        load_seconds: float = LOAD_SECONDS,
        budget_bytes: int = 0,
        stay_seconds: float = STAY_SECONDS,
    ) -> None:
        self.device: Device = opener.device
        self.health: HealthWatcher = opener.health
        self._opener = opener
        self._load_seconds = load_seconds
        self._late: set[asyncio.Task[None]] = set()
        self._served = Served(opener.series)
        self._finder = Finder(self._served, networks or {}, wanted)
        self._readiness = Readiness(self._served, self._finder, opener.workers)
        self._discards = Discards(opener, self._served)
        self.residence = Residence(
            opener,
            models=lambda: (*self.models, *self._transitions.aside),
            budget_bytes=budget_bytes,
            stay_seconds=stay_seconds,
            load_seconds=load_seconds,
        )
        self._transitions = Transitions(
            self._served,
            self._finder,
            opener=opener,
            residence=self.residence,
            discards=self._discards,
            load_seconds=load_seconds,
        )
        for servable in wanted.servables:
            ttl_seconds = wanted.ttl_seconds(servable.name)
            self._served.enter(Model(servable, ttl_seconds=ttl_seconds))
        opener.metrics.refused_models.set_function(lambda: len(self.refusals))
        opener.metrics.version_states.show(
            lambda: [(one.name, one.version, one.state, one.memory_bytes) for one in self.models]
        )

    @property
    def wanted(self) -> Wanted:
        """What shall be served."""
        return self._finder.wanted

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What lies beside the models and can not be served."""
        return self.wanted.refusals

    @property
    def not_served(self) -> tuple[NotServed, ...]:
        """What lies in the folder and is not served: what is withheld, then what can not be served."""
        withheld = (
            NotServed(one.name, str(one.version), reason) for one, reason in self.wanted.withheld
        )
        refused = (
            NotServed(one.name, printable(one.path.parent.name), for_clients(one.reason, one.path))
            for one in self.refusals
        )
        return (*withheld, *refused)

    @property
    def batching(self) -> Batching:
        """How the batches of each model are made."""
        return self._opener.batching

    @property
    def models(self) -> tuple[Model, ...]:
        """Every version of every model, by name and ascending version."""
        return self._served.models

    def find(
        self,
        tasks: Collection[str],
        name: str | None,
        version: int | None,
        *,
        task: str = "",
        takes_turn: bool = True,
    ) -> Model:
        """Return the model that answers a request; see `Finder.find`."""
        return self._finder.find(tasks, name, version, task=task, takes_turn=takes_turn)

    def versions(self, name: str) -> tuple[Model, ...]:
        """Return all versions of a model, oldest first; see `Finder.versions`."""
        return self._finder.versions(name)

    def shadow_of(self, model: Model, name: str | None, version: int | None) -> Model | None:
        """Return the version that shadows the request that a model answers; see `Finder.shadow_of`."""
        return self._finder.shadow_of(model, name, version)

    def backbone_of(self, head: Model) -> Model:
        """Return the model whose features a temporal head reads; see `Finder.backbone_of`."""
        return self._finder.backbone_of(head)

    def default_of(self, task: str) -> Selector | None:
        """Return what answers a task when a request names no model; None where a request must name one."""
        return self._finder.default_of(task)

    def routes_of(self, name: str) -> Routes:
        """Return the aliases, shares and shadow of a model."""
        return self._finder.routes_of(name)

    def sharing(self, name: str) -> Collection[int]:
        """Return the versions of a model that answer, by their shares, requests that name none; see `Routing`."""
        return self._finder.sharing(name)

    def require_defaults(self, wanted: Wanted) -> None:
        """Check that each default leads to a model that does its task; see `Finder.require_defaults`."""
        self._finder.require_defaults(wanted)

    def series_of(self, model: Model) -> VersionMetrics:
        """Return the counters of a version."""
        return self._opener.series.of(model)

    def device_of(self, model: Model) -> str:
        """Return the name of the device that a model runs on."""
        return model.device or self.device.name

    def not_ready(self) -> list[str]:
        """Return the reasons why the service is not ready; see `Readiness`."""
        return self._readiness.reasons()

    def require_room(self, path: Path) -> None:
        """Refuse a file that the memory has no room for; see `Opener.require_room`."""
        self._opener.require_room(path)

    def when_gone(self, call: Callable[[Model], Awaitable[None]]) -> None:
        """Await a function for each model whose memory is to go, for what others keep of it."""
        self._opener.when_gone(call)

    async def prepare(self, wanted: Wanted, before: Transition | None = None) -> Transition:
        """Load aside what is wanted and not served yet; see `Transitions.prepare`."""
        return await self._transitions.prepare(wanted, before)

    def commit(self, transition: Transition) -> list["asyncio.Task[None]"]:
        """Let what was prepared take the traffic at once; see `Transitions.commit`."""
        drains = self._transitions.commit(transition)
        self._readiness.expect()
        return drains

    async def abort(self, transition: Transition) -> None:
        """Let go of all that was loaded for a transition."""
        await self._transitions.abort(transition)

    async def load(self) -> None:
        """Load, warm and check the models that were there at the start, one after the other."""
        for refusal in self.refusals:
            log.error("refused: %s", refusal.reason)
        log.info("loading %s", listed(map(str, self.models)))
        for model in self.models:
            async with self._opener.turn:
                if model in self.models:
                    await self.residence.make_room(model)
                    await self._load_or_leave(model)

    async def close(self) -> None:
        """Accept nothing more and return when everything accepted has been answered."""
        self._opener.close()
        late = tuple(self._late)
        for task in late:
            task.cancel()
        for model in self.models:
            model.wake = None
        queues = [model.queue for model in self.models if model.queue]
        await asyncio.gather(
            *(queue.close() for queue in queues), self.residence.close(), self._discards.close()
        )
        await asyncio.gather(*late, return_exceptions=True)

    async def _load_or_leave(self, model: Model) -> None:
        """Load a model; where that takes too long, let it go on beside those that follow."""
        task = asyncio.create_task(self._load(model))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        done, _ = await asyncio.wait([task], timeout=self._load_seconds)
        if not done and model.state == "loading":
            model.reason = f"has been loading for more than {self._load_seconds:g} s"
            log.error("%s %s; the others are served meanwhile", model, model.reason)

    async def _load(self, model: Model) -> None:
        try:
            loaded = await self._opener.open(model)
            if model not in self.models:  # it was removed meanwhile
                return
            await self._opener.start(model, loaded)
            if model.queue is None:  # it was removed while it was checked
                return
            if model in self.models:
                self._opener.series.show_info(model)
            await self.residence.shrink(model)
            self.residence.look()
            self._opener.series.changed(model.name, "loaded")
        except FovealError as error:
            self._refuse(model, str(error))
        except Exception as error:  # noqa: BLE001  # the others must be loaded whatever this one does
            self._refuse(model, reason_of(error))

    def _refuse(self, model: Model, reason: str) -> None:
        model.mark_failed(for_clients(f"failed to load: {reason}", model.servable.path))
        self._opener.series.changed(model.name, "refused")
        log.error("%s is not served: %s", model.name, reason)
