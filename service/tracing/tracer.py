"""Decides which requests are traced, and hands over what was noted of them when they have ended."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from service.spans import CURRENT, Attribute, Place, SpanId, TracedRequest
from service.tracing.request_spans import EndedRequest, ended_request
from service.tracing.span_queue import SpanQueue

PARENT_HEADER = b"traceparent"
MOST_HEADER_BYTES = 1024
"""Of `traceparent`, and of all `tracestate` together; longer ones are ignored. The standard wants 512 at least."""

Headers = Iterable[tuple[bytes, bytes]]
"""As in an ASGI scope: names in lower case."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request says of the trace that it belongs to: the values of its headers, empty where there is none."""

    traceparent: str = ""
    tracestate: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Which trace a request belongs to, and whether it is recorded.

    `origin` is for the one that has decided, who also writes the spans.
    """

    ids: SpanId
    sampled: bool
    origin: object = None


class Sampler(Protocol):
    """Decides for each request whether its trace is recorded."""

    def decide(self, caller: Caller, name: str, attributes: Mapping[str, Attribute]) -> Decision:
        """Return the ids of a request's trace and span; what a caller sends wrong counts as nothing."""
        ...


class Tracer:
    """Traces requests. All of it runs on the event loop.

    Args:
        sampler: decides which.
        queue: sends the spans.
        close_seconds: how long the end of the service may wait for spans that are not sent yet.
    """

    def __init__(
        self, sampler: Sampler, queue: SpanQueue[EndedRequest], *, close_seconds: float
    ) -> None:
        self._sampler = sampler
        self._queue = queue
        self._close_seconds = close_seconds

    def start(self) -> None:
        """Begin to send spans."""
        self._queue.start()

    async def close(self) -> None:
        """Send what waits, for a short time."""
        await asyncio.to_thread(self._queue.close, self._close_seconds)

    def begin(
        self, headers: Headers, began: float, name: str, attributes: Mapping[str, Attribute]
    ) -> TracedRequest:
        """Return what is noted of a request from now on, in this task and in those that it starts.

        Args:
            headers: the request's.
            began: when its head arrived, in seconds of `time.perf_counter`.
            name: of its span, as far as it is known.
            attributes: of its span that are known already.
        """
        decision = self._sampler.decide(caller_of(headers), name, attributes)
        traced = TracedRequest(decision.ids, decision.sampled, began, decision.origin)
        CURRENT.set(Place(traced, decision.ids.span_id))
        return traced

    @staticmethod
    def skip() -> None:
        """Note nothing of this task: it may have been started in that of another request, on the same connection."""
        CURRENT.set(None)

    def end(
        self,
        traced: TracedRequest,
        *,
        name: str,
        ended: float,
        attributes: Callable[[], Mapping[str, Attribute]],
        error: str = "",
    ) -> None:
        """Hand over what was noted of a request, and note no more; see `ended_request`.

        Args:
            traced: what `begin` has returned.
            name: of its span.
            ended: when, in seconds of `time.perf_counter`.
            attributes: makes those of its span; called only where its trace is recorded.
            error: the code of the error that makes it a failure; empty where there is none.
        """
        CURRENT.set(None)
        traced.closed = True
        if traced.sampled:
            self._queue.put(
                ended_request(traced, name=name, ended=ended, attributes=attributes(), error=error)
            )


def caller_of(headers: Headers) -> Caller:
    """Return what the headers say of a trace; several `traceparent` say nothing."""
    parents, states = list[bytes](), list[bytes]()
    for name, value in headers:
        if name == PARENT_HEADER:
            parents.append(value)
        elif name == b"tracestate":
            states.append(value)
    if len(parents) != 1 or len(parents[0]) > MOST_HEADER_BYTES:
        return _NOBODY
    state = b",".join(states)
    if len(state) > MOST_HEADER_BYTES:
        state = b""
    return Caller(parents[0].decode("latin-1"), state.decode("latin-1"))


_NOBODY = Caller()
