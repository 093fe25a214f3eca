"""One replica of the ingress: the whole service but for the networks, whose batches run in replicas of the models."""

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from prometheus_client.registry import Collector

from service.background import background
from service.cluster.arguments import ClusterArguments
from service.cluster.coordinating import FromCoordinator
from service.cluster.remote_models import RemoteModels
from service.cluster.replicas import Refused, Replicas
from service.cluster.reports import INGRESS_FAMILIES, report_of
from service.engine import Engine
from service.errors import FovealError, NotReadyError, UnavailableError
from service.logs import LOGGER
from service.processes.fleet_changes import OVERRIDES
from service.processes.metrics_merge import Families, read_families
from service.runtime.change import Change, ChangeReport
from service.runtime.changes import Prepared
from service.runtime.device import Device
from service.runtime.opening import Elsewhere
from service.runtime.wanted import NO_OVERRIDES, Key
from service.settings import Settings

log = logging.getLogger(LOGGER)

BEAT_SECONDS = 5.0
"""How often a replica says that it lives."""
PREPARED_SECONDS = 1200.0
"""How long a prepared change waits for the word; then the coordinator is gone, and nothing has changed here."""
STUCK_SECONDS = 120.0
MODELS_AT_ONCE = 4
"""Of so many models all batches may wait for replicas at the same time; those of others wait for a thread then."""


class IngressReplica:
    """The service behind one replica of the ingress: an engine, and what its fellows ask of it.

    Args:
        settings: of the service.
        arguments: of the cluster.
        member: the name of this replica.
        coordinator: the only one.
        replicas_of: returns the replicas of a model by the name of their application.
        beat_seconds: how often this replica says that it lives.
    """

    def __init__(
        self,
        settings: Settings,
        arguments: ClusterArguments,
        member: str,
        *,
        coordinator: FromCoordinator,
        replicas_of: Callable[[str], Replicas],
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        # A batch that waits for another replica is not stuck.
        self.settings = settings.model_copy(update={"stuck_seconds": STUCK_SECONDS})
        self._arguments = arguments
        self._member = member
        self._coordinator = coordinator
        self._beat_seconds = beat_seconds
        self._remote = RemoteModels(arguments, member, coordinator, replicas_of, self._beat_soon)
        self._pending: dict[str, tuple[AsyncExitStack, Prepared]] = {}
        self._revision = 0
        self._behind = 0
        self._beat = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._engine: Engine | None = None

    async def open(self) -> Engine:
        """Return this replica's engine; its models begin to start elsewhere, all at the same time.

        Raises:
            ConfigurationError: see `Engine`.
            UnavailableError: the coordinator does not answer.
        """
        joined = await self._coordinator.join(self._member)
        self._revision = joined["revision"]
        given = joined["overrides"]
        overrides = NO_OVERRIDES if given is None else OVERRIDES.validate_python(given)
        elsewhere = Elsewhere(
            Device("cpu", detail="replicas on Ray"),
            self._remote.open,
            batches=max(map(self._arguments.batches_in_flight, ("", *self._arguments.models)))
            * MODELS_AT_ONCE,
            imaging_threads=max(1, math.ceil(self._arguments.ingress_cpus)),
        )
        engine = await asyncio.to_thread(
            partial(
                Engine,
                self.settings,
                overrides=overrides,
                environment=os.environ,
                elsewhere=elsewhere,
            )
        )
        engine.metrics.replicas.labels("", "").set(1)
        self._engine = engine
        await asyncio.to_thread(
            self._remote.place_all, [model.servable for model in engine.registry.models]
        )
        return engine

    @property
    def engine(self) -> Engine:
        assert self._engine is not None  # `open` comes first
        return self._engine

    @asynccontextmanager
    async def taking_part(self) -> AsyncIterator[None]:
        """Let the coordinator know for the length of the block that this replica lives."""
        async with background(self._keep_beating()):
            yield

    async def leave(self) -> None:
        """Tell the coordinator that this replica ends, with all that it has counted."""
        with contextlib.suppress(UnavailableError):
            await self._coordinator.leave(*self.report())

    # What the coordinator asks.

    def report(self) -> tuple[str, bytes]:
        """Return this replica's name, and what it has counted."""
        return self._member, report_of(self.engine.metrics.registry, of=INGRESS_FAMILIES)

    def not_ready(self) -> tuple[str, list[str]]:
        """Return this replica's name, and why it is not ready."""
        return self._member, self.engine.not_ready()

    async def prepare(
        self, identity: str, change: dict[str, Any]
    ) -> tuple[str, dict[str, Any] | Refused]:
        """Prepare a change; return what fails to load, and what admin calls would have changed then."""
        stack = AsyncExitStack()
        try:
            prepared = await stack.enter_async_context(
                self.engine.changes.prepared(Change.model_validate(change))
            )
        except FovealError as error:
            return self._member, Refused.of(error)
        self._pending[identity] = stack, prepared
        self._loop.call_later(PREPARED_SECONDS, self._forget, identity)
        return self._member, self._answer(prepared)

    async def do_without(
        self, identity: str, failures: Collection[tuple[Key, str]]
    ) -> tuple[str, dict[str, Any] | Refused]:
        """Prepare the change again, without versions that others could not load."""
        if identity not in self._pending:
            return self._member, Refused.of(UnavailableError("The change was given up."))
        _, prepared = self._pending[identity]
        try:
            await self.engine.changes.do_without(prepared, dict(failures))
        except FovealError as error:
            return self._member, Refused.of(error)
        return self._member, self._answer(prepared)

    async def commit(self, identity: str, revision: int) -> tuple[str, dict[str, Any] | None]:
        """Let the prepared change happen; return what came of it, None where it was not prepared here."""
        if identity not in self._pending:
            return self._member, None
        stack, prepared = self._pending.pop(identity)
        async with stack:
            report = await self.engine.changes.commit(prepared)
        self._revision = revision
        return self._member, report.model_dump(mode="json")

    async def drop(self, identity: str) -> None:
        """Forget a change that was prepared."""
        if identity in self._pending:
            stack, _ = self._pending.pop(identity)
            await stack.aclose()

    async def require_joined(self) -> None:
        """Raise where the models have changed while this replica loaded them; Ray Serve starts it again.

        Raises:
            NotReadyError
            UnavailableError: the coordinator does not answer.
        """
        joined = await self._coordinator.join(self._member)
        if joined["revision"] != self._revision:
            raise NotReadyError("The models have changed while this replica loaded them.")

    def require_current(self) -> None:
        """Raise where this replica has missed a change of the models; another one begins with it.

        Raises:
            NotReadyError
        """
        if self._behind > 1:
            raise NotReadyError("This replica has missed a change of the models.")

    # Its own.

    @staticmethod
    def _answer(prepared: Prepared) -> dict[str, Any]:
        return {
            "failures": list(prepared.transition.failures.items()),
            "overrides": OVERRIDES.dump_python(prepared.overrides, mode="json"),
        }

    def _forget(self, identity: str) -> None:
        if identity in self._pending:
            self._dropping = self._loop.create_task(self.drop(identity))

    def _beat_soon(self) -> None:
        """Tell the coordinator what is held now; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._beat.set)

    async def _keep_beating(self) -> None:
        while True:
            try:
                revision = await self._coordinator.beat(self._member, self._remote.held())
            except UnavailableError as error:
                log.warning("the coordinator does not answer: %s", error)
            else:
                is_behind = revision != self._revision and not self._pending
                self._behind = self._behind + 1 if is_behind else 0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._beat.wait(), self._beat_seconds)
            self._beat.clear()


class Fellows:
    """All replicas, as one of the ingress reports on them: `service.api.deps.Peers`.

    Args:
        replica: this one.
        coordinator: the only one.
    """

    def __init__(self, replica: IngressReplica, coordinator: FromCoordinator) -> None:
        self._replica = replica
        self._coordinator = coordinator

    async def not_ready(self) -> list[str]:
        """Return why not every replica of the ingress is ready; without a coordinator, why this one is not."""
        try:
            return await self._coordinator.not_ready()
        except UnavailableError:
            return self._replica.engine.not_ready()

    async def exposition(self, encode: Callable[[Collector], bytes]) -> bytes:
        """Return the metrics of all replicas together, encoded.

        Raises:
            UnavailableError: the coordinator does not answer; this replica's own would look as if counters fell.
        """
        families = await self._coordinator.exposition()
        return await asyncio.to_thread(lambda: encode(Families(read_families(families))))

    async def change(self, change: Change) -> ChangeReport:
        """Change the models of all replicas, or of none.

        Raises:
            RequestError: it can not be done.
            UnavailableError: the coordinator or a replica does not answer.
        """
        answer = await self._coordinator.change(change.model_dump(mode="json"))
        if isinstance(answer, Refused):
            raise answer.error()
        return ChangeReport.model_validate(answer)
