"""What the routes need, handed to them by FastAPI: the composed parts, and this request's record."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from service.api.ingest.admission import Admission
from service.engine import Engine
from service.metrics import Metrics
from service.processes.peers import Peers
from service.runtime.job import JobResult, Trace
from service.runtime.model import Model

RECORD_KEY = "foveal.record"
"""Where the middleware keeps the request's record in the ASGI scope."""


@dataclass(slots=True)
class Services:
    """Everything the routes may use.

    `peers` are the service's other processes, where there are any.
    """

    engine: Engine
    admission: Admission
    max_body_bytes: int
    max_images: int
    max_video_bytes: int
    peers: Peers | None = None

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


@dataclass(slots=True)
class RequestRecord:
    """What becomes of a request: filled by routes and handlers, told by the middleware in metrics, header and log."""

    request_id: str
    began: float = field(default_factory=time.perf_counter)
    model: str = ""
    body_bytes: int = 0
    held_bytes: int = 0
    """Of the body, counted in the intake until the answer begins."""
    images: int = 0
    error_code: str = ""
    traces: list[Trace] = field(default_factory=list)

    def answered_by(self, model: Model, outcomes: Sequence[object]) -> None:
        self.model = model.name
        self.images = len(outcomes)
        self.traces = [outcome.trace for outcome in outcomes if isinstance(outcome, JobResult)]

    def stage_ms(self) -> dict[str, float]:
        """Return the milliseconds of each stage; of several images, which went side by side, the longest."""
        traces = self.traces
        if not traces:
            return {}
        if len(traces) == 1:
            return _stage_ms(traces[0])
        each = [_stage_ms(trace) for trace in traces]
        return {stage: max(one[stage] for one in each) for stage in each[0]}

    @property
    def batch_size(self) -> int:
        return max((trace.batch_size for trace in self.traces), default=0)


def _stage_ms(trace: Trace) -> dict[str, float]:
    return {
        "decode": round(trace.decode * 1e3, 2),
        "queue": round(trace.queue * 1e3, 2),
        "infer": round(trace.infer * 1e3, 2),
        "head": round(trace.head * 1e3, 2),
    }


def header_of(request: Request, name: bytes) -> str | None:
    """Return a request's header by its lower-case name.

    For what is read of every image's request: Starlette's mapping takes nearly four times as long.
    """
    for key, value in request.scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def announced_bytes(request: Request) -> int | None:
    """Return how long the body says it will be, None if it does not."""
    told = header_of(request, b"content-length") or ""
    return int(told) if told.isdecimal() else None


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _record(request: Request) -> RequestRecord:
    record: RequestRecord = request.scope[RECORD_KEY]
    return record


# Asynchronous, or FastAPI would send each of these look-ups to a thread.
ServicesDep = Annotated[Services, Depends(_services)]
RecordDep = Annotated[RequestRecord, Depends(_record)]
JsonObject = dict[str, Any]
