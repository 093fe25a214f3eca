"""What is known of one request while it is answered, and its headers."""

import itertools
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from fastapi import Request
from starlette.types import Scope

from service.api.deadline import LONGEST_TIMEOUT_MS, TIMEOUT_HEADER, Clock, Deadline, parse_timeout
from service.body_memory import BodyPlace
from service.errors import InvalidParameterError
from service.runtime.job import JobResult, Trace
from service.runtime.model import Model
from service.spans import TracedRequest

RECORD_KEY = "foveal.record"
"""The key of the request's record in the ASGI scope."""

UNMATCHED = "unmatched"
"""The route of requests without one, so that unknown paths do not make new series."""

STAGES = ("decode", "queue", "infer", "head")
"""The stages of an image's way, as `Trace` names them."""
_TIMES = b", ".join(b"%b;dur=%%.2f" % stage.encode() for stage in STAGES)

Headers = Iterable[tuple[bytes, bytes]]
"""As in an ASGI scope: names in lower case."""

_TIMEOUT = TIMEOUT_HEADER.lower().encode()


@dataclass(slots=True)
class RequestRecord:
    """What is known of one request: routes and handlers write it, the middleware reports it in metrics, header and log.

    Args:
        request_id: the client's own, or a new one.
        headers: the request's, from which the deadline is parsed.
        timeout_seconds: the deadline of a request that states none.
        longest_seconds: the longest deadline that a request can state; a longer one is cut to it.
        clock: what all durations of this request are measured with, in seconds.
    """

    request_id: str
    headers: Headers = ()
    timeout_seconds: float = 30.0
    longest_seconds: float = LONGEST_TIMEOUT_MS / 1e3
    clock: Clock = time.perf_counter
    began: float = field(init=False)
    route: str = ""
    """The template of the route that answered; empty where none did."""
    model: str = ""
    """The name of the model that answers; empty until it is found."""
    version: int = 0
    """Of the model."""
    body_bytes: int = 0
    images: int = 0
    error_code: str = ""
    cache_status: str = ""
    """The value of the `Cache-Status` header; empty where no answer is kept."""
    client: str = ""
    """The name of the API key that the request brought; empty without one."""
    traces: list[Trace] = field(default_factory=list)
    traced: TracedRequest | None = None
    """What is noted for the request's trace; None where tracing is off."""
    place: BodyPlace | None = None
    """What the body holds of the memory; None where it was small."""
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
            given = find_single_header(self.headers, _TIMEOUT)
            seconds = self.timeout_seconds
            if given is not None:
                seconds = min(parse_timeout(given), self.longest_seconds)
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

    def received(self) -> None:
        """Note that the whole body has arrived."""
        if self.traced is not None:
            self.traced.received_at = self.clock()

    def found(self, model: Model) -> None:
        """Note which model answers, or refuses to."""
        self.model, self.version = model.name, model.version

    def answered(self, outcomes: Sequence[object]) -> None:
        """Note what became of each image."""
        self.images = len(outcomes)
        self.traces = [outcome.trace for outcome in outcomes if isinstance(outcome, JobResult)]

    def stage_ms(self) -> dict[str, float]:
        """Return the milliseconds of each stage; of several images, which ran side by side, the longest."""
        traces = self.traces
        if len(traces) == 1:
            (one,) = traces
            return {stage: getattr(one, stage) * 1e3 for stage in STAGES}
        if not traces:
            return {}
        return {stage: max(getattr(one, stage) for one in traces) * 1e3 for stage in STAGES}

    def server_timing(self, stages: Mapping[str, float]) -> bytes:
        """Return the value of the `Server-Timing` header: the stages in ms, the time until now, the batch's size."""
        total = b"total;dur=%.2f" % (self.elapsed_seconds() * 1e3)
        if not stages:
            return total
        times = _TIMES % (*stages.values(),)
        return b"%b, %b, batch;desc=%d" % (times, total, self.batch_size)

    @property
    def batch_size(self) -> int:
        """The number of images in the largest batch that this request was part of."""
        if len(self.traces) == 1:
            return self.traces[0].batch_size
        return max((trace.batch_size for trace in self.traces), default=0)


def route_of(record: RequestRecord, scope: Scope) -> str:
    """Return the template of the route that answers a request, `UNMATCHED` where there is none."""
    return record.route or getattr(scope.get("route"), "path", UNMATCHED)


def request_ids() -> Iterator[str]:
    """Yield ids without end: 32 hexadecimal digits, unique among processes.

    Each is a random number, then a count. A UUID each costs far more.
    """
    process = secrets.token_hex(10)
    return (f"{process}{number:012x}" for number in itertools.count())


def header_of(request: Request, name: bytes) -> str | None:
    """Return the value of a request's header, None where it has none of this name; `name` is in lower case.

    For headers that are read in every request with images: Starlette's mapping takes nearly four times as long.
    """
    return find_header(request.scope["headers"], name)


def single_header_of(request: Request, name: bytes) -> str | None:
    """Return the value of a request's header that must not be there more than once, None where it is not.

    Raises:
        InvalidParameterError: it is there more than once: what stands before this service may have read another one.
    """
    return find_single_header(request.scope["headers"], name)


def list_header_of(request: Request, name: bytes) -> str:
    """Return the values of a request's header that holds a list, in however many lines (RFC 9110, 5.3)."""
    given = [value for key, value in request.scope["headers"] if key == name]
    return b", ".join(given).decode("latin-1")


def find_single_header(headers: Headers, name: bytes) -> str | None:
    """Return the header's value, None where there is none of this name; `name` is in lower case.

    Raises:
        InvalidParameterError: it is there more than once.
    """
    found: bytes | None = None
    for key, value in headers:
        if key == name:
            if found is not None:
                shown = name.decode("latin-1").title()
                raise InvalidParameterError(
                    f"The header {shown} is there more than once. Send it once."
                )
            found = value
    return None if found is None else found.decode("latin-1")


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
