"""Changes of what is served, one at a time: prepared beside the traffic, then done at once or not at all."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from service.errors import (
    ConfigurationError,
    FovealError,
    RefusedModelError,
    StorageError,
    StorageUnavailableError,
    UnavailableError,
    for_clients,
    shortage_of,
)
from service.logs import LOGGER
from service.runtime.change import Change, ChangeReport
from service.runtime.change_rules import ChangeRules
from service.runtime.change_turn import TURN_SECONDS, ChangeTurn
from service.runtime.fleet import FLEET_FILE, NO_PLAN, ModelPlan
from service.runtime.registry import Registry
from service.runtime.repository import any_version
from service.runtime.transitions import Transition
from service.runtime.wanted import (
    NO_OVERRIDES,
    Catalog,
    Key,
    Overrides,
    Wanted,
    choose,
    key_of,
    missing_versions,
    require_targets,
)

log = logging.getLogger(LOGGER)

Refresh = Callable[[Collection[Path], Collection[Key]], None]

DRAINED_SECONDS = 10.0
"""How long the answer to a change waits until what it has removed has drained; the draining goes on after it."""


@dataclass(slots=True)
class Prepared:
    """A change that waits for the word whether it happens.

    Attributes:
        transition: what takes the traffic.
        overrides, catalog: what counts from then on.
        committed: whether it has happened.
    """

    transition: Transition
    overrides: Overrides
    catalog: Catalog
    committed: bool = field(default=False, init=False)


class Changes:
    """Changes what is served. All methods are called on the event loop.

    Args:
        registry: what serves.
        read: returns what lies in the folder now; blocking, called on a thread.
        catalog: what lay in the folder at the start.
        overrides: what earlier admin calls have changed.
        drained_seconds: how long an answer waits for what drains.
        turn_seconds: how long a change waits for those before it.
        on_commit: takes over what else lies in the folder, when the models have changed; blocking, called on a thread
            with what counts from then on.
        refresh: brings the folder up to date, with the files that are served and versions that are wanted besides;
            blocking, called on a thread before `read` where a change may load something.
    """

    def __init__(
        self,
        registry: Registry,
        read: Callable[[], Catalog],
        catalog: Catalog,
        overrides: Overrides = NO_OVERRIDES,
        *,
        drained_seconds: float = DRAINED_SECONDS,
        turn_seconds: float = TURN_SECONDS,
        on_commit: Callable[[Catalog], None] | None = None,
        refresh: Refresh | None = None,
    ) -> None:
        self._registry = registry
        self._read = read
        self._catalog = catalog
        self._overrides = overrides
        self._drained_seconds = drained_seconds
        self._on_commit = on_commit
        self._refresh = refresh
        self._turn = ChangeTurn(turn_seconds)
        self._missing: tuple[Key, ...] = ()

    @property
    def overrides(self) -> Overrides:
        """What admin calls have changed."""
        return self._overrides

    async def change(self, change: Change) -> ChangeReport:
        """Do a change, and say what came of it. Once it has begun it goes on when the caller is canceled.

        Raises:
            RequestError: it can not be done; nothing has changed.
            UnavailableError: too many changes wait, those before this one take too long, or the service ends.
        """
        async with self.prepared(change) as prepared:
            return await self.commit(prepared)

    async def start(self) -> None:
        """Serve older versions in the place of those that failed at the start, where a policy leaves them out."""
        self._report_missing(self._registry.wanted, self._catalog)
        failed = self._failed()
        if not failed:
            return
        wanted = choose(self._catalog, self._overrides, failed)
        if len(wanted.servables) > len(self._registry.wanted.servables):
            async with self._turn.of("start"):
                transition = Transition(wanted, {}, failed)
                transition = await self._registry.prepare(wanted, transition)
                self._registry.commit(transition)

    @asynccontextmanager
    async def prepared(self, change: Change) -> AsyncIterator[Prepared]:
        """Give a change that is ready to happen; where the block does not commit it, nothing has changed.

        Raises:
            RequestError: it can not be done.
            UnavailableError: too many changes wait, those before this one take too long, or the service ends.
        """
        async with self._turn.of(change):
            prepared = await self._prepare(change)
            try:
                yield prepared
            finally:
                if not prepared.committed:
                    await self._registry.abort(prepared.transition)

    async def commit(self, prepared: Prepared) -> ChangeReport:
        """Let a change happen, and wait a while until what it has removed has drained."""
        before = {key_of(model.servable): model for model in self._registry.models}
        was = self._registry.wanted
        drains = self._registry.commit(prepared.transition)
        prepared.committed = True
        known = set(self._catalog.refusals)
        for refusal in prepared.catalog.refusals:
            if refusal not in known:
                log.error("refused: %s", refusal.reason)
        self._report_missing(prepared.transition.wanted, prepared.catalog)
        self._catalog, self._overrides = prepared.catalog, prepared.overrides
        if self._on_commit is not None:
            await asyncio.to_thread(self._on_commit, self._catalog)
        after = {key_of(model.servable): model for model in self._registry.models}
        if drains:
            await asyncio.wait(drains, timeout=self._drained_seconds)
        return ChangeReport(
            loaded=_named(
                key
                for key, model in after.items()
                if before.get(key) is not model and model.state != "failed"
            ),
            removed=_named(key for key in before if key not in after),
            refused=self._refused(prepared),
            plans=_other_plans(was, self._registry.wanted),
            defaults=_other_defaults(was, self._registry.wanted),
            drained=all(task.done() for task in drains),
        )

    async def do_without(self, prepared: Prepared, failures: Mapping[Key, str]) -> None:
        """Prepare a change again, without versions that other processes could not load."""
        transition = prepared.transition
        keep = {key: one for key, one in transition.aside.items() if key not in failures}
        gone = {key: one for key, one in transition.aside.items() if key in failures}
        await self._registry.abort(replace(transition, aside=gone))
        prepared.transition = Transition(transition.wanted, keep, failures)  # aborted if this fails
        wanted = choose(prepared.catalog, prepared.overrides, failures)
        prepared.transition = await self._registry.prepare(wanted, prepared.transition)

    async def _prepare(self, change: Change) -> Prepared:
        try:
            return await self._prepare_or_fail(change)
        except StorageError as error:
            log.error("nothing was changed: %s", error)
            raise StorageUnavailableError(
                f"Nothing was changed: {for_clients(str(error))}"
            ) from error
        except ConfigurationError as error:  # of foveal.toml, or the folder itself
            if error.__cause__ is not None and shortage_of(error.__cause__):
                raise UnavailableError(f"Nothing was changed: {for_clients(str(error))}") from error
            raise RefusedModelError(for_clients(str(error))) from error

    async def _prepare_or_fail(self, change: Change) -> Prepared:
        await self._look_again(change)
        catalog = await self._read_catalog(change)
        overrides = self._overrides
        if change.kind == "reload":
            if overrides.routes and catalog.fleet.digest != overrides.digest:
                log.warning(
                    "foveal.toml was changed: the aliases, shares and shadows that admin calls had set are dropped"
                )
                overrides = replace(overrides, routes={})
        else:
            overrides = ChangeRules(self._registry, catalog, overrides).after(change)
        wanted = choose(catalog, overrides)
        require_targets(wanted, catalog)
        self._registry.require_defaults(wanted)
        transition = await self._registry.prepare(wanted)
        if transition.failures:
            transition = await self._without_failures(change, catalog, overrides, transition)
        return Prepared(transition, overrides, catalog)

    async def _without_failures(
        self, change: Change, catalog: Catalog, overrides: Overrides, transition: Transition
    ) -> Transition:
        """Return a transition that does without what failed: older versions where a policy leaves them out.

        Raises:
            RefusedModelError: the change was for one of these.
        """
        failures = transition.failures
        wanted = choose(catalog, overrides, failures)
        try:
            if change.kind not in {"reload", "look"}:
                reasons = (
                    f"{name} version {version}: {for_clients(reason, _path_of(wanted, (name, version)))}"
                    for (name, version), reason in failures.items()
                )
                raise RefusedModelError(" ".join(reasons))
            return await self._registry.prepare(wanted, transition)
        except FovealError:
            await self._registry.abort(transition)
            raise

    async def _look_again(self, change: Change) -> None:
        """Bring the folder up to date for a change that may load something.

        Raises:
            StorageError: the place that the models come from can not be read.
        """
        is_new = bool(change.version) and change.version not in self._catalog.versions(change.name)
        loads = change.kind in {"reload", "load_model", "load_version"}
        if self._refresh is None or not (loads or (change.kind == "alias" and is_new)):
            return
        served = [model.servable.path for model in self._registry.models]
        also = {*self._overrides.loaded, *([(change.name, change.version)] if is_new else [])}
        await asyncio.to_thread(self._refresh, served, also)

    async def _read_catalog(self, change: Change) -> Catalog:
        """Return what lies in the folder; of other models than the change's, what lay there before."""
        found = await asyncio.to_thread(self._read)
        broken = {one.path for one in found.refusals}
        held = [
            model.servable
            for model in self._registry.models
            if model.can_answer and not broken.isdisjoint(_places_of(model.servable.path))
        ]
        if held:  # the file of what is served is broken now, or can not be reached: it goes on
            there = {key_of(one) for one in held}
            kept = [one for one in found.servables if key_of(one) not in there]
            found = replace(found, servables=tuple(sorted([*kept, *held], key=key_of)))
        if change.kind == "reload":
            return found
        return self._catalog.with_model(change.name, found)

    def _report_missing(self, wanted: Wanted, catalog: Catalog) -> None:
        """Log the versions that a list names and that are not there, each once while it is missing."""
        missing = missing_versions(wanted, catalog)
        for name, version in missing:
            if (name, version) not in self._missing:
                log.warning(
                    "%s lists version %d of %s, which is not there", FLEET_FILE, version, name
                )
        self._missing = missing

    def _failed(self) -> dict[Key, str]:
        return {
            key_of(model.servable): model.reason
            for model in self._registry.models
            if model.state == "failed"
        }

    def _refused(self, prepared: Prepared) -> dict[str, str]:
        refused = {
            f"{one.name}:{one.path.parent.name}": for_clients(one.reason, one.path)
            for one in prepared.catalog.refusals
        }
        for key, reason in prepared.transition.failures.items():
            refused[f"{key[0]}:{key[1]}"] = for_clients(
                reason, _path_of(prepared.transition.wanted, key)
            )
        return refused


def _path_of(wanted: Wanted, key: Key) -> Path | None:
    return next((one.path for one in wanted.servables if key_of(one) == key), None)


def _places_of(path: Path) -> tuple[Path, Path]:
    """Return what a refusal of a file may name: it, or all versions of its model."""
    return path, any_version(path.parent.parent)


def _named(keys: Iterable[Key]) -> list[str]:
    return [f"{name}:{version}" for name, version in keys]


def _other_plans(was: Wanted, wanted: Wanted) -> dict[str, ModelPlan]:
    """Return what is wanted of each model of which something else was wanted before."""
    return {
        name: plan
        for name, plan in sorted(wanted.plans.items())
        if plan != was.plans.get(name, NO_PLAN)
    }


def _other_defaults(was: Wanted, wanted: Wanted) -> dict[str, str]:
    """Return the default of each task that had another; empty text where it has none any more."""
    return {
        task: str(wanted.defaults.get(task, ""))
        for task in sorted(was.defaults.keys() | wanted.defaults.keys())
        if was.defaults.get(task) != wanted.defaults.get(task)
    }
