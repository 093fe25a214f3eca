"""What the replicas of a service agree on: which models have replicas, what admin calls have changed, what all counted.

There is one coordinator. Requests do not pass through it: while it is gone they are answered, and no model changes.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.cluster.fleet_state import FleetState, Placement
from service.cluster.joint_change import JointChange
from service.cluster.replicas import Refused
from service.errors import FovealError
from service.logs import LOGGER
from service.processes.metrics_merge import lasting, merge, read_families, write_families

log = logging.getLogger(LOGGER)

SILENT_SECONDS = 30.0
"""An ingress replica that was not heard for so long is gone: what it held is held no more."""
FRESH_SECONDS = 10.0
"""How long a model keeps its replicas before anyone says that it holds them."""
GONE_SECONDS = 300.0
"""After so long what a silent replica has counted becomes part of the sum that has no replica."""
ANSWER_SECONDS = 5.0
"""How long a replica may take to say what it has counted."""


class Cluster(Protocol):
    """What a coordinator does to a cluster. A call that a replica does not answer is an exception in its list."""

    def read(self) -> bytes:
        """Return what was written last; empty where nothing was. Blocking."""

    def write(self, state: bytes) -> None:
        """Keep it for the next coordinator. Blocking."""

    def forget(self) -> None:
        """Keep it no more. Blocking."""

    def deploy(self, placement: Placement) -> None:
        """Let replicas of a model start. Blocking, and returns before they run."""

    def delete(self, app: str) -> None:
        """Let the replicas of a model end. Blocking."""

    async def ask_ingress(self, method: str, *given: Any, timeout_seconds: float) -> list[Any]:  # noqa: ANN401
        """Call a method of every replica of the ingress that runs."""

    async def ask_model(self, app: str, method: str, *, timeout_seconds: float) -> list[Any]:
        """Call a method of every replica of a model that runs."""


@dataclass(slots=True)
class _Member:
    """An ingress replica: which models' replicas it uses, and when it was heard last."""

    holds: frozenset[str] = frozenset()
    heard: float = 0.0


@dataclass(slots=True)
class _Report:
    """What a replica has counted, and when it said so."""

    families: bytes
    at: float


class Coordinator:
    """Keeps the replicas of a service together. All methods run on one event loop.

    Args:
        cluster: it.
        clock: in seconds.
    """

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._state = FleetState()
        self._turn = asyncio.Lock()
        self._placing = asyncio.Lock()
        self._members: dict[str, _Member] = {}
        self._fresh: dict[str, float] = {}
        self._reports: dict[str, _Report] = {}
        self._began = clock()

    async def start(self) -> None:
        """Go on where an earlier coordinator ended."""
        kept = await asyncio.to_thread(self._cluster.read)
        if kept:
            self._state = FleetState.read(kept)
            for name, text in self._state.gone.items():
                self._reports[name] = _Report(text.encode(), self._clock())
            log.info(
                "this coordinator goes on with revision %d of the models", self._state.revision
            )

    async def close(self) -> None:
        """End what this service has on the cluster: the service itself ends."""
        for one in self._state.placements:
            await asyncio.to_thread(self._cluster.delete, one.app)
        await asyncio.to_thread(self._cluster.forget)

    # What ingress replicas call.

    async def join(self, member: str) -> dict[str, Any]:
        """Return what admin calls have changed. It waits for a change that is under way: its outcome counts."""
        async with self._turn:
            self._members.setdefault(member, _Member()).heard = self._clock()
            return {"revision": self._state.revision, "overrides": self._state.overrides}

    async def beat(self, member: str, holds: Sequence[str]) -> int:
        """Note that a replica lives and which models' replicas it uses; return the revision of the models."""
        self._members[member] = _Member(frozenset(holds), self._clock())
        await self._let_go()
        return self._state.revision

    async def leave(self, member: str, families: bytes) -> None:
        """Note that a replica ends, and what it has counted."""
        self._members.pop(member, None)
        self._reports[member] = _Report(families, self._clock())
        await self._fold(at_once=member)
        await self._let_go()

    async def place(self, member: str, name: str, version: int, digest: str) -> str:
        """Return where the replicas of a version are; they start with its first call."""
        async with self._placing:
            placement = self._state.placement(name, version, digest)
            if placement is None:
                app = f"foveal-{name}-{version}-{secrets.token_hex(3)}"
                placement = Placement(name=name, version=version, digest=digest, app=app)
                await asyncio.to_thread(self._cluster.deploy, placement)
                self._state = self._state.with_placement(placement)
                await self._save()
                log.info("replicas of %s version %d start", name, version)
            self._fresh[placement.app] = self._clock()
            known = self._members.setdefault(member, _Member(heard=self._clock()))
            known.holds |= {placement.app}
            return placement.app

    async def change(self, change: dict[str, Any]) -> dict[str, Any] | Refused:
        """Change the models of all ingress replicas, or of none; return the report."""
        async with self._turn:
            joint = JointChange(self._cluster, change, secrets.token_hex(8))
            try:
                overrides = await joint.prepare()
            except FovealError as error:
                await joint.drop()
                return Refused.of(error)
            self._state = self._state.with_overrides(overrides)
            await self._save()
            return await joint.commit(self._state.revision)

    async def exposition(self) -> bytes:
        """Return what all replicas have counted together, those that ended too."""
        alive = await self._gather()
        silent = {name: one.families for name, one in self._reports.items() if name not in alive}
        if silent.keys() != self._state.gone.keys():
            self._state = self._state.with_gone(silent)
            await self._save()
        gone = [lasting(read_families(families)) for families in silent.values()]
        parts = [read_families(self._reports[name].families) for name in alive]
        parts += [*gone, self._state.counted()]
        merged = await asyncio.to_thread(lambda: write_families(merge(parts)))
        await self._fold()
        return merged

    async def not_ready(self) -> list[str]:
        """Return why not every ingress replica is ready, each reason with its replica's name."""
        answers = await self._cluster.ask_ingress("not_ready", timeout_seconds=ANSWER_SECONDS)
        reasons: list[str] = []
        for one in answers:
            if isinstance(one, BaseException):
                reasons.append("a replica of the ingress does not answer")
            else:
                name, own = one
                reasons += [f"{name}: {reason}" for reason in own]
        return reasons

    # Its own.

    async def _gather(self) -> set[str]:
        """Let all replicas report, and return the names of those that did."""
        asked = [self._cluster.ask_ingress("report", timeout_seconds=ANSWER_SECONDS)]
        asked += [
            self._cluster.ask_model(one.app, "report", timeout_seconds=ANSWER_SECONDS)
            for one in self._state.placements
        ]
        alive = set()
        for answers in await asyncio.gather(*asked):
            for one in answers:
                if not isinstance(one, BaseException):
                    name, families = one
                    self._reports[name] = _Report(families, self._clock())
                    alive.add(name)
        return alive

    async def _fold(self, at_once: str = "") -> None:
        """Add what replicas counted that are gone to the sum that has no replica."""
        now = self._clock()
        gone = [
            name
            for name, one in self._reports.items()
            if name == at_once or now - one.at > GONE_SECONDS
        ]
        if not gone:
            return
        parts = [lasting(read_families(self._reports.pop(name).families)) for name in gone]
        left = {name: text.encode() for name, text in self._state.gone.items() if name not in gone}
        self._state = self._state.with_gone(left).with_counted(
            merge([self._state.counted(), *parts])
        )
        await self._save()

    async def _let_go(self) -> None:
        """Delete the replicas of versions that no ingress replica uses."""
        now = self._clock()
        if now - self._began < SILENT_SECONDS:
            return  # some may not have said yet what they use
        for name in [
            name for name, one in self._members.items() if now - one.heard > SILENT_SECONDS
        ]:
            log.warning("%s is gone", name)
            del self._members[name]
        held = {app for one in self._members.values() for app in one.holds}
        async with self._placing:
            for one in self._state.placements:
                if one.app not in held and now - self._fresh.get(one.app, 0.0) > FRESH_SECONDS:
                    self._fresh.pop(one.app, None)
                    self._state = self._state.without_placement(one.app)
                    await self._save()
                    await asyncio.to_thread(self._cluster.delete, one.app)
                    log.info("the replicas of %s version %d end", one.name, one.version)

    async def _save(self) -> None:
        await asyncio.to_thread(self._cluster.write, self._state.written())
