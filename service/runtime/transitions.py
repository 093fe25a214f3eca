"""From what is served to what shall be: loaded, warmed and checked aside, then at once, or not at all."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from service.errors import FovealError, NotReadyError, ShuttingDownError, for_clients
from service.logs import LOGGER
from service.runtime.discards import Discards
from service.runtime.faults import reason_of
from service.runtime.finder import Finder
from service.runtime.load_turn import in_turn
from service.runtime.model import Model
from service.runtime.opening import Opener
from service.runtime.repository import Servable
from service.runtime.residence import Residence
from service.runtime.served import Served
from service.runtime.wanted import Key, Wanted, key_of

log = logging.getLogger(LOGGER)


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


class Transitions:
    """Prepares and does transitions. All methods are called on the event loop.

    Args:
        served: what is served.
        finder: finds models there.
        opener: brings models into memory.
        residence: makes room for them.
        discards: lets go of those whose place was taken.
        load_seconds: how long the loading of a model may keep the others waiting; it goes on beside them.
    """

    def __init__(
        self,
        served: Served,
        finder: Finder,
        *,
        opener: Opener,
        residence: Residence,
        discards: Discards,
        load_seconds: float,
    ) -> None:
        self._served = served
        self._finder = finder
        self._opener = opener
        self._residence = residence
        self._discards = discards
        self._load_seconds = load_seconds
        self._aside: set[Model] = set()

    @property
    def aside(self) -> tuple[Model, ...]:
        """What was loaded for a transition that has not happened yet."""
        return tuple(self._aside)

    async def prepare(self, wanted: Wanted, before: Transition | None = None) -> Transition:
        """Load, warm and check aside what is wanted and not served yet. Nothing changes for any request.

        Where all of it does not fit into the budget of memory, what was loaded first falls asleep after its check.
        What is served and has failed is tried again. Nothing is left when the call is canceled.

        Args:
            wanted: what shall be served.
            before: a transition that this one takes the place of; what it has loaded is taken over.

        Raises:
            ShuttingDownError: the service ends.
        """
        aside = dict(before.aside) if before else {}
        failures = dict(before.failures) if before else {}
        try:
            for servable in wanted.servables:
                key = key_of(servable)
                if key in aside or key in failures or self._served.serves(servable):
                    continue
                try:
                    aside[key] = await in_turn(
                        self._opener.turn,
                        partial(self._load_aside, wanted, servable),
                        seconds=self._load_seconds,
                        name=f"{servable.name} version {servable.version}",
                        drop=self._drop,
                    )
                except ShuttingDownError:
                    raise
                except FovealError as error:
                    failures[key] = str(error)
                except Exception as error:  # noqa: BLE001  # whatever it is, it is why it is refused
                    failures[key] = reason_of(error)
                if key in failures:
                    self._opener.series.changed(servable.name, "refused")
                    log.error("%s version %d is refused: %s", *key, failures[key])
        except BaseException:  # canceled or closed: the threads and the memory must go
            self._aside.difference_update(aside.values())
            await self._discards.at_once(aside.values())
            raise
        return Transition(wanted, aside, failures)

    def commit(self, transition: Transition) -> list["asyncio.Task[None]"]:
        """Let what was prepared take the traffic at once; return the drains of what it takes the place of.

        Versions that failed are among the models, with the reason, unless another file of the same version is served.
        """
        defaults = self._finder.defaults()
        wanted = transition.wanted
        self._aside.difference_update(transition.aside.values())
        keys = {key_of(one) for one in wanted.servables}
        leaving = [
            model
            for model in self._served.models
            if (key := key_of(model.servable)) not in keys or key in transition.aside
        ]
        for model in leaving:
            self._served.leave(model)
        for servable in wanted.servables:
            self._enter(transition, servable)
        self._finder.install(wanted)
        for model in leaving:
            self._opener.series.changed(model.name, "removed")
            log.info("%s is taken out of the traffic and drains", model)
        self._report(defaults)
        self._residence.look()
        return [self._discards.drain(model) for model in leaving]

    async def abort(self, transition: Transition) -> None:
        """Let go of all that was loaded for a transition."""
        self._aside.difference_update(transition.aside.values())
        await self._discards.at_once(transition.aside.values())

    def _enter(self, transition: Transition, servable: Servable) -> None:
        """Let one version be served as a transition wants it."""
        key = key_of(servable)
        served = self._served.at(key)
        if key in transition.aside:
            self._served.enter(transition.aside[key])
            self._opener.series.changed(servable.name, "loaded")
            log.info("%s version %d is served now", *key)
        elif served is not None:
            served.ttl_seconds = transition.wanted.ttl_seconds(servable.name)
        else:
            failed = Model(servable)
            reason = transition.failures.get(key, "was not loaded")
            failed.mark_failed(for_clients(f"failed to load: {reason}", servable.path))
            self._served.enter(failed)

    async def _drop(self, model: Model) -> None:
        self._aside.discard(model)
        await self._discards.at_once([model])

    async def _load_aside(self, wanted: Wanted, servable: Servable) -> Model:
        self._opener.require_open()
        model = Model(servable, ttl_seconds=wanted.ttl_seconds(servable.name))
        await self._residence.make_room(model)
        try:
            loaded = await self._opener.open_in_time(model, beside=True)
            await self._opener.start(model, loaded)
            if model.state != "ready":
                raise NotReadyError(f"{model} {model.reason}.")
            self._aside.add(model)
            await self._residence.shrink(model)
        except BaseException:
            await self._drop(model)
            raise
        return model

    def _report(self, before: Mapping[str, str]) -> None:
        """Log what answers in the place of another: it never changes in silence."""
        for task, now in self._finder.defaults().items():
            former = before.get(task, "none")
            if now != former:
                log.warning(
                    "requests for %s that name no model: answered by %s before, now by %s",
                    task,
                    former,
                    now,
                )
