"""What FastAPI passes to the routes: the composed parts of the service, and the record of this request."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from prometheus_client.registry import Collector

from service.api.deadline import TIMEOUT_HEADER, Clock, Deadline, parse_timeout
from service.api.ingest.admission import Admission
from service.explain.runner import Runner
from service.fanout import FanOut
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.runtime.job import JobResult, Trace
from service.runtime.registry import Model, Registry
from service.video.reader import ClipLimits

RECORD_KEY = "foveal.record"
"""The key of the request's record in the ASGI scope."""

Headers = Iterable[tuple[bytes, bytes]]
"""As in an ASGI scope: names in lower case."""

_TIMEOUT = TIMEOUT_HEADER.lower().encode()


class Peers(Protocol):
    """All processes of the service, as one of them reports on them."""

    async def not_ready(self) -> list[str]:
        """Return why not every process is ready, one reason each; empty where all are."""
        ...

    async def exposition(self, encode: Callable[[Collector], bytes]) -> bytes:
        """Return the metrics of all processes together, encoded."""
        ...


@dataclass(slots=True)
class Services:
    """Everything the routes may use.

    `peers` is None where the service has one process. `draining` is set once, when the process receives the signal to
    end.
    """

    registry: Registry
    pipeline: Pipeline
    fan_out: FanOut
    explanation: Runner
    metrics: Metrics
    admission: Admission
    version: str
    timeout_seconds: float
    max_body_bytes: int
    max_images: int
    max_video_bytes: int
    clip_limits: ClipLimits
    peers: Peers | None = None
    draining: bool = False

    def not_ready(self) -> list[str]:
        """Return why this process is not ready, one reason each; empty where it is."""
        draining = ["the service is shutting down"] if self.draining else []
        return draining + self.registry.not_ready()


@dataclass(slots=True)
class RequestRecord:
    """What is known of one request: routes and handlers write it, the middleware reports it in metrics, header and log.

    Args:
        request_id: the client's own, or a new one.
        headers: the request's, from which the deadline is parsed.
        timeout_seconds: the deadline of a request that states none.
        clock: what all durations of this request are measured with, in seconds.
    """

    request_id: str
    headers: Headers = ()
    timeout_seconds: float = 30.0
    clock: Clock = time.perf_counter
    began: float = field(init=False)
    model: str = ""
    body_bytes: int = 0
    images: int = 0
    error_code: str = ""
    traces: list[Trace] = field(default_factory=list)
    _deadline: Deadline | None = field(default=None, init=False)
    _held: ExitStack | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def deadline(self) -> Deadline:
        """The request's one deadline. It is parsed where it is first needed, so that its error reaches the client.

        Raises:
            InvalidParameterError: the client sent one that is not a number of milliseconds within range.
        """
        if self._deadline is None:
            given = find_header(self.headers, _TIMEOUT)
            seconds = self.timeout_seconds if given is None else parse_timeout(given)
            self._deadline = Deadline(seconds, self.began, given is not None, self.clock)
        return self._deadline

    def elapsed_seconds(self) -> float:
        """Return the seconds since the request's head arrived."""
        return self.clock() - self.began

    def release_with_response(self, resource: AbstractContextManager[object]) -> None:
        """Enter `resource`; it is left exactly once, before the response starts or else at the end of the request."""
        if self._held is None:
            self._held = ExitStack()
        self._held.enter_context(resource)

    def release(self) -> None:
        """Leave what `release_with_response` entered, the last first. For the middleware, which alone sees the end."""
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def answered_by(self, model: Model, outcomes: Sequence[object]) -> None:
        """Note the model and what became of each image."""
        self.model = model.name
        self.images = len(outcomes)
        self.traces = [outcome.trace for outcome in outcomes if isinstance(outcome, JobResult)]

    def stage_ms(self) -> dict[str, float]:
        """Return the milliseconds of each stage; of several images, which ran side by side, the longest."""
        traces = self.traces
        if not traces:
            return {}
        if len(traces) == 1:
            return _stage_ms(traces[0])
        each = [_stage_ms(trace) for trace in traces]
        return {stage: max(one[stage] for one in each) for stage in each[0]}

    @property
    def batch_size(self) -> int:
        """The number of images in the largest batch that this request was part of."""
        return max((trace.batch_size for trace in self.traces), default=0)


def _stage_ms(trace: Trace) -> dict[str, float]:
    return {
        "decode": round(trace.decode * 1e3, 2),
        "queue": round(trace.queue * 1e3, 2),
        "infer": round(trace.infer * 1e3, 2),
        "head": round(trace.head * 1e3, 2),
    }


def header_of(request: Request, name: bytes) -> str | None:
    """Return the value of a request's header, None where it has none of this name; `name` is in lower case.

    For headers that are read in every request with images: Starlette's mapping takes nearly four times as long.
    """
    return find_header(request.scope["headers"], name)


def find_header(headers: Headers, name: bytes) -> str | None:
    """Return the first value of the header, None where there is none of this name; `name` is in lower case."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def announced_bytes(request: Request) -> int | None:
    """Return the body's size by its `Content-Length`, None where there is none."""
    length = header_of(request, b"content-length") or ""
    return int(length) if length.isdecimal() else None


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
