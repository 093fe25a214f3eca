"""The models that are served on one device: found by name, task and version; added and removed while serving."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from service.errors import (
    ConfigurationError,
    FovealError,
    NotReadyError,
    ShuttingDownError,
    UnknownModelError,
    UnknownVersionError,
    WrongTaskError,
    for_clients,
)
from service.logs import LOGGER
from service.metrics import Metrics, VersionMetrics
from service.runtime.batcher import STUCK_SECONDS, Batcher
from service.runtime.daemon_call import daemon_call
from service.runtime.device import Device
from service.runtime.faults import reason_of
from service.runtime.health import HealthWatcher
from service.runtime.loading import Loaded
from service.runtime.model import Model
from service.runtime.repository import Refusal, Servable
from service.runtime.routing import Routing
from service.runtime.session import shrink_arena
from service.runtime.workers import Workers

log = logging.getLogger(LOGGER)

LOAD_SECONDS = 30.0
"""How long the loading of a model may keep the others waiting."""
ADD_SECONDS = 600.0
"""How long the loading of a model that is added may take."""

OpenModel = Callable[[Servable], Loaded]
"""Loads a servable onto the device; blocking, called on a thread."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How the batches of each model are made; see `Batcher`."""

    capacity: int
    max_delay_seconds: float = 0.0
    stuck_seconds: float = STUCK_SECONDS


class Registry:
    """All models that are served on one device, and the health of each.

    A model that can not be loaded never keeps the others from being served, and the service is not ready while it is
    among the models. All methods are called on the event loop; they replace tuples and never change one, so that an
    iteration over the models is never disturbed. What the metrics show of the models is read at each scrape.

    Args:
        servables: the models that `load` loads, by name and ascending version.
        refusals: what lies beside them and can not be served.
        device: where they run.
        open_model: loads one of them.
        workers: the threads that run batches.
        metrics: where the models are counted.
        batching: how batches are made.
        defaults: by task, the model that answers it when a request names none.
        networks: by task, the tasks whose networks can do it; a task that is not there has its own.
        pool: where images are prepared and results finished; None: on the workers.
        load_seconds: how long the loading of a model may keep the others waiting; it goes on beside them.
        add_seconds: how long the loading of a model that is added may take.
        release_memory: returns memory that no model uses to the system; blocking, called on a thread after a removal.

    Attributes:
        device: where the models run.
        health: checks the models; its `watch` must run beside the service.

    Raises:
        ConfigurationError: a default names no model that does the task.
    """

    def __init__(
        self,
        servables: Collection[Servable],
        refusals: Collection[Refusal],
        *,
        device: Device,
        open_model: OpenModel,
        workers: Workers,
        metrics: Metrics,
        batching: Batching,
        defaults: Mapping[str, str],
        networks: Mapping[str, Collection[str]] | None = None,
        pool: Executor | None = None,
        load_seconds: float = LOAD_SECONDS,
        add_seconds: float = ADD_SECONDS,
        release_memory: Callable[[], None] = shrink_arena,
    ) -> None:
        self.device = device
        self.health = HealthWatcher(workers.clock)
        self._models: tuple[Model, ...] = ()
        self._by_name: dict[str, tuple[Model, ...]] = {}
        self._refusals = tuple(refusals)
        self._open_model = open_model
        self._workers = workers
        self._metrics = metrics
        self._batching = batching
        self._pool = pool
        self._load_seconds = load_seconds
        self._add_seconds = add_seconds
        self._release_memory = release_memory
        self._late: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loading = asyncio.Lock()
        self._draining: set[asyncio.Task[None]] = set()
        for servable in servables:
            self._enter(Model(servable))
        self._routing = Routing(self._checked(defaults, networks or {}))

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What lies beside the models and can not be served."""
        return self._refusals

    @property
    def batching(self) -> Batching:
        """How the batches of each model are made."""
        return self._batching

    @property
    def models(self) -> tuple[Model, ...]:
        """Every version of every model, by name and ascending version."""
        return self._models

    def find(
        self,
        tasks: Collection[str],
        name: str | None,
        version: int | None,
        *,
        task: str | None = None,
    ) -> Model:
        """Return the model that answers a request.

        Args:
            tasks: the model must do one of them.
            name: of the model; None for the default.
            version: of the model; None for the newest that is ready, or the newest if none is.
            task: whose default answers, where it has one of its own; else that of the first of `tasks` that has one.

        Raises:
            UnknownModelError: there is no such model, or none for the tasks.
            UnknownVersionError: the model has no such version.
            WrongTaskError: the model does none of the tasks.
        """
        if name is None:
            name = self._routing.defaults.get(task or "") or next(
                (found for one in tasks if (found := self.default_of(one))), None
            )
        if name is None or name not in self._by_name:
            able = (model.name for model in self._models if model.card.task in tasks)
            missing = (
                f"There is no model {name!r}" if name else f"There is no model for {_either(tasks)}"
            )
            raise UnknownModelError(f"{missing}. This task's models: {_listed(able)}.")
        versions = self._by_name[name]
        model = (
            self._routing.version_of(versions) if version is None else self._version(name, version)
        )
        if model.card.task not in tasks:
            raise WrongTaskError(f"{name} does {model.card.task}, not {_either(tasks)}.")
        return model

    def backbone_of(self, head: Model) -> Model:
        """Return the model whose features a temporal head reads.

        Raises:
            NotReadyError: no model has the graph that the head was trained on.
        """
        card = head.card
        versions = [
            model
            for model in self._by_name.get(card.backbone or "", ())
            if model.card.certificate.graph_sha256 == card.backbone_sha256
        ]
        if not versions:
            raise NotReadyError(
                f"{head.name} reads the features of {card.backbone}. The {card.backbone} that it was trained with is "
                "not among the models. Put it back, or export both again."
            )
        return self._routing.version_of(versions)

    def versions(self, name: str) -> tuple[Model, ...]:
        """Return all versions of a model, oldest first.

        Raises:
            UnknownModelError: there is no such model.
        """
        if name not in self._by_name:
            raise UnknownModelError(
                f"There is no model {name!r}. Models: {_listed(self._by_name)}."
            )
        return self._by_name[name]

    def default_of(self, task: str) -> str | None:
        """Return the name of the model that answers a task when none is named; see `Routing.model_of`."""
        return self._routing.model_of(task, self._models)

    def series_of(self, model: Model) -> VersionMetrics:
        """Return the counters of a model."""
        return self._metrics.of_version(model.name, model.version)

    def not_ready(self) -> list[str]:
        """Return the reasons why the service is not ready; empty when every model in the repository is."""
        reasons = [f"{model} {model.reason}" for model in self._models if model.state != "ready"]
        reasons += [for_clients(one.reason, one.path) for one in self._refusals]
        if not self._workers.left:
            reasons.append(
                f"all {self._workers.count} threads that run batches are in runs that do not end; restart the service"
            )
        return reasons or ([] if self._models else ["the model repository is empty"])

    async def load(self) -> None:
        """Load, warm and check the models that were there at the start, one after the other."""
        for refusal in self._refusals:
            log.error("refused: %s", refusal.reason)
        log.info("loading %s", _listed(map(str, self._models)))
        for model in self._models:
            async with self._loading:
                if model in self._models:
                    await self._load_or_leave(model)

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
        began = time.perf_counter()
        try:
            loaded = await self._open(model)
            if model not in self._models:  # it was removed meanwhile
                return
            await self._start(model, loaded)
            self._tell_ready(model, loaded, began)
        except FovealError as error:
            self._refuse(model, str(error))
        except Exception as error:  # noqa: BLE001  # the others must be loaded whatever this one does
            self._refuse(model, reason_of(error))

    def _tell_ready(self, model: Model, loaded: Loaded, began: float) -> None:
        if model.state != "ready":
            return
        log.info(
            "%s is ready after %.2f s: %s in %s on %s, at most %s in a batch",
            model,
            time.perf_counter() - began,
            model.card.task,
            model.card.precision,
            self.device.name,
            "1 image" if loaded.largest == 1 else f"{loaded.largest} images",
        )

    @staticmethod
    def _refuse(model: Model, reason: str) -> None:
        model.mark_failed(for_clients(f"failed to load: {reason}", model.servable.path))
        log.error("%s is not served: %s", model.name, reason)

    async def add(self, servable: Servable) -> Model:
        """Load, warm and check a version aside, then let it take part in traffic.

        Nothing changes for any request before that, and nothing is left of a version that fails.

        Raises:
            ConfigurationError: this version is there already; or loading failed, see `ModelLoader.load`.
            NotReadyError: it does not load in time, or does not answer its health check.
            ShuttingDownError: the registry was closed.
        """
        async with self._loading:
            model = Model(servable)
            self._refuse_if_closed()
            if any(other.version == model.version for other in self._by_name.get(model.name, ())):
                raise ConfigurationError(f"{model} is served already. Remove it first.")
            began = time.perf_counter()
            try:
                loaded = await self._open_in_time(model)
                await self._start(model, loaded)
                if model.state != "ready":
                    raise NotReadyError(f"{model} {model.reason}.")
            except BaseException:  # canceled or failed, its threads and memory must go
                await self._to_the_end(self._discard(model))
                raise
            self._enter(model)
            self._tell_ready(model, loaded, began)
            return model

    async def remove(self, name: str, version: int) -> None:
        """Take a version out of the traffic, answer everything that it has accepted, and let its memory go.

        This happens too when the call is canceled.

        Raises:
            UnknownModelError: there is no such model.
            UnknownVersionError: the model has no such version.
        """
        self.versions(name)
        model = self._version(name, version)
        self._leave(model)
        await self._to_the_end(self._discard_once_loaded(model))

    async def close(self) -> None:
        """Accept nothing more and return when everything accepted has been answered."""
        self._closed = True
        for task in tuple(self._late):
            task.cancel()
        queues = [model.queue for model in self._models if model.queue]
        await asyncio.gather(*(queue.close() for queue in queues), *self._draining)

    async def _open(self, model: Model) -> Loaded:
        return await daemon_call(partial(self._open_model, model.servable), "foveal-load")

    async def _open_in_time(self, model: Model) -> Loaded:
        try:
            async with asyncio.timeout(self._add_seconds):
                return await self._open(model)
        except TimeoutError:
            raise NotReadyError(f"{model} did not load within {self._add_seconds:g} s.") from None

    async def _start(self, model: Model, loaded: Loaded) -> None:
        self._refuse_if_closed()
        model.blank, model.signature = loaded.blank, loaded.signature
        model.queue = queue = Batcher(
            loaded.runs,
            self._workers,
            self.series_of(model),
            statistics=self._metrics.statistics.of_version(model.name, model.version),
            largest=loaded.largest,
            wide=loaded.wide,
            capacity=self._batching.capacity,
            max_delay_seconds=self._batching.max_delay_seconds,
            macs=model.card.cost.macs,
            pool=self._pool,
            cores=loaded.cores,
            stuck_seconds=self._batching.stuck_seconds,
            on_broken=partial(_mark_broken, model),
        )
        queue.open()
        await self.health.admit(model, queue)
        self._metrics.model_info.labels(*self._info(model)).set(1)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ShuttingDownError("The service is shutting down. No model can be added.")

    async def _to_the_end(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` in a task of its own, which goes on when the caller is canceled, and which `close` awaits."""
        task = asyncio.create_task(work)
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)
        await asyncio.shield(task)

    async def _discard_once_loaded(self, model: Model) -> None:
        if model.state == "loading":
            async with self._loading:  # a load that has begun ends first
                pass
        await self._discard(model)

    async def _discard(self, model: Model) -> None:
        """Drain a version that no request finds, and let go of all that was made for it."""
        self.health.forget(model)
        self._metrics.model_info.remove(*self._info(model))
        await model.retire()
        if not any(_order(other) == _order(model) for other in self._models):
            self._metrics.version_removed(model.name, model.version)
        await asyncio.to_thread(self._release_memory)

    def _enter(self, model: Model) -> None:
        self._publish(model)
        self._models = tuple(sorted((*self._models, model), key=_order))
        self._regroup(model.name)

    def _leave(self, model: Model) -> None:
        self._unpublish(model)
        self._models = tuple(other for other in self._models if other is not model)
        self._regroup(model.name)

    def _regroup(self, name: str) -> None:
        versions = tuple(model for model in self._models if model.name == name)
        if versions:
            self._by_name[name] = versions
        else:
            del self._by_name[name]

    def _version(self, name: str, version: int) -> Model:
        versions = self._by_name[name]
        for model in versions:
            if model.version == version:
                return model
        existing = _listed(str(model.version) for model in versions)
        raise UnknownVersionError(f"{name} has no version {version}. Versions: {existing}.")

    def _checked(
        self, defaults: Mapping[str, str], networks: Mapping[str, Collection[str]]
    ) -> dict[str, str]:
        for task, name in defaults.items():
            fitting = networks.get(task, (task,))
            if name not in self._by_name or self._by_name[name][-1].card.task not in fitting:
                able = (model.name for model in self._models if model.card.task in fitting)
                raise ConfigurationError(
                    f"FOVEAL_DEFAULTS names {name!r} for {task}. Models for it: {_listed(able)}."
                )
        return dict(defaults)

    # What the gauges of a model show is read at each scrape.

    def _publish(self, model: Model) -> None:
        metrics, labels = self._metrics, (model.name, model.version)
        metrics.version_added(*labels)
        metrics.model_ready.labels(*labels).set_function(lambda: model.state == "ready")
        metrics.queue_capacity.labels(*labels).set_function(lambda: self._batching.capacity)
        metrics.queue_depth.labels(*labels).set_function(
            lambda: model.queue.depth if model.queue else 0
        )

    def _unpublish(self, model: Model) -> None:
        for gauge in (
            self._metrics.model_ready,
            self._metrics.queue_capacity,
            self._metrics.queue_depth,
        ):
            gauge.remove(model.name, model.version)

    def _info(self, model: Model) -> tuple[str, ...]:
        card = model.card
        return model.name, str(model.version), card.task, card.precision, self.device.name


def _mark_broken(model: Model, reason: str) -> None:
    model.mark_failed(reason)
    log.error("%s is not served any more: it %s", model, reason)


def _order(model: Model) -> tuple[str, int]:
    return model.name, model.version


def _either(tasks: Collection[str]) -> str:
    return " or ".join(sorted(tasks))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "none"
