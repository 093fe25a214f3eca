"""The models that are served on one device: found by name, task and version; replaced while serving."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field

from service.errors import (
    ConfigurationError,
    FovealError,
    InvalidParameterError,
    NotReadyError,
    ShuttingDownError,
    UnknownModelError,
    UnknownVersionError,
    WrongTaskError,
    for_clients,
)
from service.logs import LOGGER
from service.metrics import VersionMetrics
from service.runtime.device import Device
from service.runtime.faults import reason_of
from service.runtime.fleet import Routes, Selector, parse_selector
from service.runtime.health import HealthWatcher
from service.runtime.loading import Loaded
from service.runtime.model import STILL_LOADING, Model
from service.runtime.model_series import ModelSeries
from service.runtime.opening import Batching, Opener
from service.runtime.repository import Refusal, Servable
from service.runtime.residence import Residence
from service.runtime.routing import Routing
from service.runtime.wanted import Key, Wanted, key_of

log = logging.getLogger(LOGGER)

LOAD_SECONDS = 30.0
"""How long the loading of a model at the start may keep the others waiting."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What is ready to take the place of what is served.

    Attributes:
        wanted: what shall be served then.
        aside: versions that were loaded, warmed and checked for it.
        failures: why others that it wants can not be.
    """

    wanted: Wanted
    aside: Mapping[Key, Model] = field(default_factory=dict)
    failures: Mapping[Key, str] = field(default_factory=dict)


class Registry:
    """All models that are served on one device, and the health of each.

    A model that can not be loaded never keeps the others from being served. All methods are called on the event loop;
    they replace tuples and never change one, so that an iteration over the models is never disturbed. What the metrics
    show of the models is read at each scrape.

    Args:
        wanted: the models that `load` loads, and how requests find them.
        opener: brings them into memory and out of it.
        networks: by task, the tasks whose networks can do it; a task that is not there has its own.
        load_seconds: how long the loading of a model may keep the others waiting; it goes on beside them.
        budget_bytes: how much memory the models may hold together; 0: any.

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
    ) -> None:
        self.device: Device = opener.device
        self.health: HealthWatcher = opener.health
        self._opener = opener
        self._networks = networks or {}
        self._load_seconds = load_seconds
        self._models: tuple[Model, ...] = ()
        self._by_name: dict[str, tuple[Model, ...]] = {}
        self._series = ModelSeries(opener.metrics, opener.batching.capacity, opener.device.name)
        opener.metrics.version_states.show(
            lambda: [(one.name, one.version, one.state, one.memory_bytes) for one in self._models]
        )
        self._late: set[asyncio.Task[None]] = set()
        self._draining: set[asyncio.Task[None]] = set()
        self._loading = asyncio.Lock()
        self.residence = Residence(
            opener,
            models=lambda: self._models,
            loading=self._loading,
            start=self._start,
            budget_bytes=budget_bytes,
        )
        self.require_defaults(wanted)
        self._expected = {one.name for one in wanted.servables} | {
            one.name for one in wanted.refusals
        }
        for servable in wanted.servables:
            self._enter(Model(servable, ttl_seconds=_ttl(wanted, servable)))
        self._install(wanted)

    @property
    def wanted(self) -> Wanted:
        """What shall be served."""
        return self._wanted

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What lies beside the models and can not be served."""
        return self._wanted.refusals

    @property
    def batching(self) -> Batching:
        """How the batches of each model are made."""
        return self._opener.batching

    @property
    def models(self) -> tuple[Model, ...]:
        """Every version of every model, by name and ascending version."""
        return self._models

    # Finding.

    def find(
        self,
        tasks: Collection[str],
        name: str | None,
        version: int | None,
        *,
        task: str = "",
    ) -> Model:
        """Return the model that answers a request.

        Args:
            tasks: the model must do one of them.
            name: of the model, `name:version` or `name@alias`; None for the default.
            version: of the model; None: by its shares, else the newest that is ready, or the newest if none is.
            task: whose default answers, where it has one of its own; else that of the first of `tasks` that has one.

        Raises:
            UnknownModelError: there is no such model, or none for the tasks.
            UnknownVersionError: the model has no such version or alias.
            NoDefaultModelError: no name, no default, and several models do the task.
            InvalidParameterError: a version is given twice, or the name can not be one.
            WrongTaskError: the model does none of the tasks.
        """
        selector = None
        if name is None:
            selector = self._default(tasks, task)
            name = selector.name
        versions = self._by_name.get(name)
        if versions is None and selector is None:
            selector = parse_selector(name)
            if version is not None and str(selector) != selector.name:
                raise InvalidParameterError(
                    f"version: {name[:120]} names one already. Send one of them."
                )
            name = selector.name
            versions = self._by_name.get(name)
        if versions is None:
            able = (model.name for model in self._models if model.card.task in tasks)
            raise UnknownModelError(
                f"There is no model {name[:120]!r}. This task's models: {_listed(able)}."
            )
        if version is None and selector is not None:
            version = self._version_of(selector)
        model = (
            self._routing.version_of(versions) if version is None else self._version(name, version)
        )
        if model.card.task not in tasks:
            raise WrongTaskError(f"{name} does {model.card.task}, not {_either(tasks)}.")
        return model

    @property
    def has_shadows(self) -> bool:
        """Whether any model has a shadow."""
        return self._has_shadows

    def shadow_of(self, model: Model) -> Model | None:
        """Return the version that shadows a model's requests; None where there is none, or it is the same."""
        versions = self._by_name.get(model.name)
        shadow = self._routing.shadow_of(versions) if versions else None
        return shadow if shadow is not model else None

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
        return Routing({}).version_of(versions)

    def versions(self, name: str) -> tuple[Model, ...]:
        """Return all versions of a model, oldest first.

        Raises:
            UnknownModelError: there is no such model.
        """
        if name not in self._by_name:
            raise UnknownModelError(
                f"There is no model {name[:120]!r}. Models: {_listed(self._by_name)}."
            )
        return self._by_name[name]

    def default_of(self, task: str) -> Selector | None:
        """Return what answers a task when a request names no model; None where a request must name one."""
        try:
            return self._default(self._networks.get(task, (task,)), task)
        except FovealError:
            return None

    def routes_of(self, name: str) -> Routes:
        """Return the aliases, shares and shadow of a model."""
        return self._routing.of(name)

    def series_of(self, model: Model) -> VersionMetrics:
        """Return the counters of a version."""
        return self._series.of(model)

    def not_ready(self) -> list[str]:
        """Return the reasons why the service is not ready.

        It is ready when each model has a version that answers, nothing loads for the first time any more, and what a
        default names answers. A version that was refused beside one that answers takes no readiness away, nor does a
        model that came while the service ran and has never answered.
        """
        answering = {model.name for model in self._models if model.can_answer}
        named = {
            (one.name, version)
            for one in self._wanted.defaults.values()
            if (version := self._known_version(one)) is not None
        }
        reasons = [
            f"{model} {model.reason}"
            for model in self._models
            if not model.can_answer
            and (
                (model.name not in answering and model.name in self._expected)
                or (model.state == "loading" and model.reason == STILL_LOADING)
                or key_of(model.servable) in named
            )
        ]
        reasons += [
            for_clients(one.reason, one.path)
            for one in self.refusals
            if one.name not in answering and one.name in self._expected
        ]
        workers = self._opener.workers
        if not workers.left:
            reasons.append(
                f"all {workers.count} threads that run batches are in runs that do not end; restart the service"
            )
        return reasons or ([] if self._models else ["the model repository is empty"])

    def when_gone(self, call: Callable[[Model], Awaitable[None]]) -> None:
        """Await a function for each model whose memory is to go, for what others keep of it."""
        self._opener.when_gone(call)

    def require_defaults(self, wanted: Wanted) -> None:
        """Check that each default leads to a model that does its task.

        Raises:
            ConfigurationError: one does not.
        """
        withheld = [one for one, _ in wanted.withheld]
        refused = {one.name for one in wanted.refusals}
        for task, selector in wanted.defaults.items():
            fitting = self._networks.get(task, (task,))
            fits = [one for one in (*wanted.servables, *withheld) if one.card.task in fitting]
            if selector.name in refused or any(_is_of(selector, one, wanted) for one in fits):
                continue
            raise ConfigurationError(
                f"The default of {task} is {str(selector)!r}, which does not do it or is not there. "
                f"Models for {task}: {_listed(one.name for one in fits)}."
            )

    # Loading at the start.

    async def load(self) -> None:
        """Load, warm and check the models that were there at the start, one after the other."""
        for refusal in self.refusals:
            log.error("refused: %s", refusal.reason)
        log.info("loading %s", _listed(map(str, self._models)))
        for model in self._models:
            async with self._loading:
                if model in self._models:
                    await self.residence.make_room(model)
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
        try:
            loaded = await self._opener.open(model)
            if model not in self._models:  # it was removed meanwhile
                return
            await self._start(model, loaded)
            if model in self._models:
                self._series.show_info(model)
            await self.residence.shrink(model)
            self._count(model, "loaded")
        except FovealError as error:
            self._refuse(model, str(error))
        except Exception as error:  # noqa: BLE001  # the others must be loaded whatever this one does
            self._refuse(model, reason_of(error))

    def _refuse(self, model: Model, reason: str) -> None:
        model.mark_failed(for_clients(f"failed to load: {reason}", model.servable.path))
        self._count(model, "refused")
        log.error("%s is not served: %s", model.name, reason)

    # Changing while serving.

    async def prepare(self, wanted: Wanted, before: Transition | None = None) -> Transition:
        """Load, warm and check aside what is wanted and not served yet. Nothing changes for any request.

        What is served and has failed is tried again. Nothing is left when the call is canceled.

        Args:
            wanted: what shall be served.
            before: a transition that this one takes the place of; what it has loaded is taken over.

        Raises:
            ShuttingDownError: the registry was closed.
        """
        aside = dict(before.aside) if before else {}
        failures = dict(before.failures) if before else {}
        try:
            for servable in wanted.servables:
                key = key_of(servable)
                if key in aside or key in failures or self._serves(servable):
                    continue
                async with self._loading:
                    self._opener.require_open()
                    try:
                        aside[key] = await self._load_aside(wanted, servable)
                    except ShuttingDownError:
                        raise
                    except FovealError as error:
                        failures[key] = str(error)
                    except Exception as error:  # noqa: BLE001  # whatever it is, it is why it is refused
                        failures[key] = reason_of(error)
                if key in failures:
                    self._count(servable.name, "refused")
                    log.error("%s version %d is refused: %s", *key, failures[key])
        except BaseException:  # canceled or closed: the threads and the memory must go
            await self._to_the_end(self._discard_all(aside.values()))
            raise
        return Transition(wanted, aside, failures)

    def commit(self, transition: Transition) -> list["asyncio.Task[None]"]:
        """Let what was prepared take the traffic at once; return the drains of what it takes the place of.

        Versions that failed are among the models, with the reason, unless another file of the same version is served.
        """
        answered = self._answers()
        wanted, leaving = transition.wanted, []
        keys = {key_of(one) for one in wanted.servables}
        for model in self._models:
            key = key_of(model.servable)
            if key not in keys or key in transition.aside:
                leaving.append(model)
        for model in leaving:
            self._leave(model)
        for servable in wanted.servables:
            key = key_of(servable)
            served = self._served(key)
            if key in transition.aside:
                self._enter(transition.aside[key])
                self._count(servable.name, "loaded")
                log.info("%s version %d is served now", *key)
            elif served is not None:
                served.ttl_seconds = _ttl(wanted, servable)
            else:
                failed = Model(servable)
                reason = transition.failures.get(key, "was not loaded")
                failed.mark_failed(for_clients(f"failed to load: {reason}", servable.path))
                self._enter(failed)
        self._install(wanted)
        for model in leaving:
            self._count(model.name, "removed")
            log.info("%s is taken out of the traffic and drains", model)
        self._report(answered)
        self._expected |= {model.name for model in self._models if model.can_answer}
        self.residence.look()
        return [self._keep(self._discard_once_loaded(model)) for model in leaving]

    async def abort(self, transition: Transition) -> None:
        """Let go of all that was loaded for a transition."""
        await self._to_the_end(self._discard_all(transition.aside.values()))

    async def close(self) -> None:
        """Accept nothing more and return when everything accepted has been answered."""
        self._opener.close()
        self.residence.close()
        for task in tuple(self._late):
            task.cancel()
        for model in self._models:
            model.wake = None
        queues = [model.queue for model in self._models if model.queue]
        await asyncio.gather(*(queue.close() for queue in queues), *self._draining)

    async def _load_aside(self, wanted: Wanted, servable: Servable) -> Model:
        model = Model(servable, ttl_seconds=_ttl(wanted, servable))
        await self.residence.make_room(model)
        try:
            await self._start(model, await self._opener.open_in_time(model))
            if model.state != "ready":
                raise NotReadyError(f"{model} {model.reason}.")
        except BaseException:
            await self._to_the_end(self._discard_aside(model))
            raise
        return model

    async def _start(self, model: Model, loaded: Loaded) -> None:
        await self._opener.start(model, loaded, self._series.begin(model), _mark_broken)
        self.residence.look()

    async def _to_the_end(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` in a task of its own, which goes on when the caller is canceled, and which `close` awaits."""
        await asyncio.shield(self._keep(work))

    def _keep(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)
        return task

    async def _discard_all(self, models: Iterable[Model]) -> None:
        for model in models:
            await self._discard_aside(model)

    async def _discard_aside(self, model: Model) -> None:
        """Let go of a version that no request has found."""
        await self._opener.discard(model, at_once=True)
        self._end_series(model)

    async def _discard_once_loaded(self, model: Model) -> None:
        if model.state == "loading":
            async with self._loading:  # a load that has begun ends first
                pass
        await self._opener.discard(model)
        self._end_series(model)

    def _end_series(self, model: Model) -> None:
        if self._served(key_of(model.servable)) is None:
            self._series.end(model)

    # The tables.

    def _install(self, wanted: Wanted) -> None:
        routes = {name: plan for name, plan in wanted.plans.items() if plan.has_routes}
        self._wanted = wanted
        self._routing = Routing(wanted.defaults, routes)
        self._has_shadows = any(one.shadow is not None for one in routes.values())
        self._answering: dict[str, Selector] = {}
        self._opener.metrics.refused_models.set(len(wanted.refusals))

    def _enter(self, model: Model) -> None:
        self._series.publish(model)
        self._models = tuple(sorted((*self._models, model), key=_order))
        self._regroup(model.name)

    def _leave(self, model: Model) -> None:
        self._series.unpublish(model)
        self._models = tuple(other for other in self._models if other is not model)
        self._regroup(model.name)

    def _regroup(self, name: str) -> None:
        versions = tuple(model for model in self._models if model.name == name)
        if versions:
            self._by_name[name] = versions
        else:
            del self._by_name[name]

    def _serves(self, servable: Servable) -> bool:
        """Return whether this very network is served, and has not failed."""
        served = self._served(key_of(servable))
        return (
            served is not None
            and served.state != "failed"
            and served.card == servable.card
            and served.servable.path == servable.path
        )

    def _served(self, key: Key) -> Model | None:
        name, version = key
        versions = self._by_name.get(name, ())
        return next((model for model in versions if model.version == version), None)

    def _version(self, name: str, version: int) -> Model:
        model = self._served((name, version))
        if model is not None:
            return model
        existing = _listed(str(model.version) for model in self._by_name[name])
        why = "".join(
            f" Version {version} {reason}."
            for one, reason in self._wanted.withheld
            if key_of(one) == (name, version)
        )
        raise UnknownVersionError(f"{name} has no version {version}. Versions: {existing}.{why}")

    def _default(self, tasks: Collection[str], task: str) -> Selector:
        """Return what answers a request that names no model; the answer is kept until the models change."""
        found = self._answering.get(task) if task else None
        if found is None:
            found = self._routing.model_of(tasks, task, self._models)
            if found is None:
                raise UnknownModelError(
                    f"There is no model for {_either(tasks)}. This task's models: none."
                )
            if task:
                self._answering[task] = found
        return found

    def _version_of(self, selector: Selector) -> int | None:
        if selector.alias is not None:
            return self._routing.aliased(selector.name, selector.alias)
        return selector.version

    def _known_version(self, selector: Selector) -> int | None:
        """Return the version that a default leads to; None where it leads to a name, or nowhere."""
        try:
            return self._version_of(selector)
        except UnknownVersionError:
            return None

    def _answers(self) -> dict[str, str]:
        """Return what answers each task when a request names no model."""
        tasks = self._networks or {model.card.task: () for model in self._models}
        return {task: str(self.default_of(task) or "none") for task in tasks}

    def _report(self, before: Mapping[str, str]) -> None:
        """Log what answers in the place of another: it never changes in silence."""
        for task, now in self._answers().items():
            former = before.get(task, "none")
            if now != former:
                log.warning(
                    "requests for %s that name no model: answered by %s before, now by %s",
                    task,
                    former,
                    now,
                )

    def _count(self, model: Model | str, change: str) -> None:
        name = model if isinstance(model, str) else model.name
        self._opener.metrics.model_changes.labels(name, change).inc()


def _ttl(wanted: Wanted, servable: Servable) -> float | None:
    plan = wanted.plans.get(servable.name)
    return plan.ttl_seconds if plan else None


def _is_of(selector: Selector, servable: Servable, wanted: Wanted) -> bool:
    if servable.name != selector.name:
        return False
    if selector.alias is not None:
        plan = wanted.plans.get(selector.name)
        return plan is not None and plan.aliases.get(selector.alias) == servable.version
    return selector.version in {None, servable.version}


def _mark_broken(model: Model, reason: str) -> None:
    model.mark_failed(reason)
    log.error("%s is not served any more: it %s", model, reason)


def _order(model: Model) -> tuple[str, int]:
    return model.name, model.version


def _either(tasks: Collection[str]) -> str:
    return " or ".join(sorted(tasks))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "none"
