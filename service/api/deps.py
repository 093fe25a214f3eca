"""What FastAPI passes to the routes: the composed parts of the service, and the record of this request."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from prometheus_client.registry import Collector

from service.api.guards.queue_share import QueueShares
from service.api.ingest.admission import Admission
from service.api.ingest.arriving import ArrivingBodies
from service.api.ingest.model_upload import UploadPlaces
from service.api.output_room import OutputRoom
from service.api.record import RECORD_KEY, RequestRecord
from service.api.shared_calls import SharedCalls
from service.api.shedding import Shedding
from service.engine import Engine
from service.errors import AdminOffError
from service.metrics import Metrics
from service.runtime.change import Change, ChangeReport
from service.video_memory import VideoMemory


class Peers(Protocol):
    """All processes of the service, as one of them reports on them."""

    async def not_ready(self) -> list[str]:
        """Return why not every process is ready, one reason each; empty where all are."""
        ...

    async def exposition(self, encode: Callable[[Collector], bytes]) -> bytes:
        """Return the metrics of all processes together, encoded."""
        ...

    async def change(self, change: Change) -> ChangeReport:
        """Change the models of all processes, or of none."""
        ...


@dataclass(slots=True)
class Services:
    """Everything the routes may use.

    `admin` says whether calls may change the models. `peers` is None where the service has one process, `shares` where
    a client may have a whole queue. `sheds` says
    whether requests may be refused before the guards see them.
    """

    engine: Engine
    outputs: OutputRoom
    admission: Admission
    arriving: ArrivingBodies
    arriving_videos: ArrivingBodies
    video_memory: VideoMemory
    uploads: UploadPlaces
    max_body_bytes: int
    max_images: int
    max_form_fields: int
    max_json_depth: int
    max_video_bytes: int
    min_bytes_per_second: int
    longest_seconds: float
    admin: bool = False
    max_model_bytes: int = 0
    max_upload_seconds: float = 0.0
    peers: Peers | None = None
    shares: QueueShares | None = None
    sheds: bool = True
    shedding: Shedding = field(init=False)
    expositions: SharedCalls[bytes] = field(default_factory=SharedCalls)
    readiness: SharedCalls[list[str]] = field(default_factory=SharedCalls)

    def __post_init__(self) -> None:
        registry = self.engine.registry
        self.shedding = Shedding(
            self.engine.metrics,
            sharing=registry.sharing,
            wanted=lambda: registry.wanted,
            remembers=self.sheds,
        )

    def require_admin(self) -> None:
        """Refuse a call that changes the models where the settings do not allow them.

        Raises:
            AdminOffError
        """
        if not self.admin:
            raise AdminOffError(
                "This service does not let its models be changed. Its operator allows it with FOVEAL_ADMIN=true and a "
                "key with the scope admin."
            )

    async def change(self, change: Change) -> ChangeReport:
        """Change the models of all processes, or of none; it goes on when the client leaves.

        Raises:
            RequestError: it can not be done.
            UnavailableError: too many changes wait, or a process does not answer.
        """
        doer = self.engine.changes if self.peers is None else self.peers
        return await asyncio.shield(asyncio.ensure_future(doer.change(change)))

    async def not_ready(self) -> list[str]:
        """Return why the service is not ready, one reason each; empty where it is.

        Probes need no key and come in any number. Each would ask every other process on a connection of its own, and
        with some hundred at once none of these was answered in time.
        """
        if self.peers is None:
            return self.engine.not_ready()
        return await self.readiness.run("readiness", self.peers.not_ready)

    async def exposition(
        self, kind: Hashable, encode: Callable[[Collector], bytes], own: Collector
    ) -> bytes:
        """Return the metrics of all processes together, encoded; with hundreds of versions this takes a second.

        Args:
            kind: what `encode` makes of them: those who wait for the same share it.
            encode: called on a thread.
            own: what is encoded where the service has one process.
        """
        if self.peers is None:
            return await self.expositions.run(kind, partial(asyncio.to_thread, encode, own))
        return await self.expositions.run(kind, partial(self.peers.exposition, encode))

    @property
    def draining(self) -> bool:
        """Whether the process is to end: it is not ready, and connections close with their response."""
        return self.engine.draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self.engine.draining = value

    @property
    def metrics(self) -> Metrics:
        return self.engine.metrics

    @property
    def timeout_seconds(self) -> float:
        """The deadline of a request that brings none."""
        return self.engine.timeout_seconds


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _record(request: Request) -> RequestRecord:
    record: RequestRecord = request.scope[RECORD_KEY]
    return record


# Coroutines, because FastAPI would run a plain function on a thread.
ServicesDep = Annotated[Services, Depends(_services)]
RecordDep = Annotated[RequestRecord, Depends(_record)]
JsonObject = dict[str, Any]
