"""What is noted of a request that is traced. Nothing is noted while tracing is off; OpenTelemetry is not known here.

Where the work of a request goes on in another task or on a thread of `asyncio.to_thread`, Python takes `CURRENT` there.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import NamedTuple

Attribute = str | int | float | bool

MOST_SPANS = 128
"""Of one request, beside those of its images."""
MOST_IMAGES = 64
"""Of one request whose stages are noted; the others are only counted."""
MOST_LINKS = 64
"""Of one batch to the requests that it carried."""
SAMPLED = 1
"""The flag of W3C trace context that says that a trace is recorded."""


class SpanId(NamedTuple):
    """Where a span is found: the id of its trace and its own."""

    trace_id: int
    span_id: int


@dataclass(slots=True, eq=False)
class Span:
    """Something that took time. Times are seconds of `time.perf_counter`.

    Attributes:
        name: what it was.
        began: when.
        ended: when it was over; 0 while it is not.
        parent_id: of the span that it is a part of.
        span_id: its own; 0 where nothing refers to it.
        attributes: what else is known of it; no content of images, no keys, no queries.
        links: spans of other requests that belong to it.
        error: the code of the error that ended it; empty where none did.
    """

    name: str
    began: float
    ended: float
    parent_id: int
    span_id: int = 0
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    links: Sequence[SpanId] = ()
    error: str = ""


@dataclass(slots=True, eq=False)
class TracedImage:
    """When an image reached which stage; 0 where it never did. Times are seconds of `time.perf_counter`.

    Attributes:
        parent_id: of the span that its stages are parts of.
        request: whose image it is.
        model: the network's name.
        version: of the network.
        device: where it runs.
        accepted_at: when it was queued.
        taken_at: when a worker took its batch.
        decode_at: when its preparation began.
        decoded_at: when that was over.
        infer_at: when the run of its batch began.
        inferred_at: when that was over.
        head_at: when the reading of its outputs began.
        finished_at: when that was over.
        left_at: when its caller had its outcome.
        batch_size: images in the run of its batch.
        batch: the span of its batch.
        head_id: of the span of its head, for what is noted inside.
        error: the code of its error.
    """

    parent_id: int
    request: "TracedRequest"
    model: str
    version: str
    device: str
    accepted_at: float
    taken_at: float = 0.0
    decode_at: float = 0.0
    decoded_at: float = 0.0
    infer_at: float = 0.0
    inferred_at: float = 0.0
    head_at: float = 0.0
    finished_at: float = 0.0
    left_at: float = 0.0
    batch_size: int = 0
    batch: SpanId | None = None
    head_id: int = 0
    error: str = ""


@dataclass(slots=True, eq=False)
class TracedRequest:
    """A request with a trace id, and what is noted of it where its trace is recorded.

    Notes may come from any thread. What comes after the request has ended is lost.

    Attributes:
        ids: the trace's id, and that of the request's own span.
        sampled: whether the trace is recorded; else nothing is noted.
        began: when its head arrived, in seconds of `time.perf_counter`.
        origin: what the tracer knows of the span that called, and of the state that it sent.
        received_at: when its body was complete; 0 where it never was, or has none.
        unnoted: spans and images that were too many.
        closed: whether it has ended.
    """

    ids: SpanId
    sampled: bool
    began: float
    origin: object = None
    received_at: float = 0.0
    spans: list[Span] = field(default_factory=list)
    images: list[TracedImage] = field(default_factory=list)
    unnoted: int = 0
    closed: bool = False

    @property
    def trace_id(self) -> str:
        """The id of the trace as 32 hexadecimal digits."""
        return f"{self.ids.trace_id:032x}"

    @property
    def span_id(self) -> str:
        """The id of the request's own span as 16 hexadecimal digits."""
        return f"{self.ids.span_id:016x}"

    @property
    def flags(self) -> str:
        """The flags of W3C trace context as two hexadecimal digits."""
        return f"{SAMPLED if self.sampled else 0:02x}"

    @property
    def parent(self) -> str:
        """What `traceparent` says of the request's own span."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def note(self, span: Span) -> bool:
        """Add a span, and return whether there was room for it."""
        if self.closed:
            return False
        if len(self.spans) >= MOST_SPANS:
            self.unnoted += 1
            return False
        self.spans.append(span)
        return True

    def add(self, image: TracedImage) -> bool:
        """Add an image, and return whether its stages are noted."""
        if self.closed:
            return False
        if len(self.images) >= MOST_IMAGES:
            self.unnoted += 1
            return False
        self.images.append(image)
        return True


class Place(NamedTuple):
    """A request, and the id of its span that is at work."""

    request: TracedRequest
    span_id: int


CURRENT: ContextVar[Place | None] = ContextVar("foveal.span", default=None)
"""Where this task, or this thread, is at work; None where tracing is off. Set for requests that are not sampled too."""


def place() -> Place | None:
    """Return where spans are noted now; None where none are."""
    here = CURRENT.get()
    return here if here is not None and here.request.sampled else None


def new_span_id() -> int:
    """Return a random id that is not 0."""
    return random.getrandbits(64) or 1


class OpenSpan:
    """A span that has begun. It is noted already, so that no part of it is noted without it.

    Args:
        request: whose it is.
        noted: the span, without its end.
    """

    __slots__ = ("_noted", "_request")

    def __init__(self, request: TracedRequest, noted: Span) -> None:
        self._request = request
        self._noted = noted

    @property
    def within(self) -> Place:
        """Where its parts are noted."""
        return Place(self._request, self._noted.span_id)

    def context(self) -> Context:
        """Return a context for tasks that are parts of it."""
        context = copy_context()
        context.run(CURRENT.set, self.within)
        return context

    def end(
        self,
        error: BaseException | None = None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> None:
        """Note its end, and what is known only then."""
        noted = self._noted
        noted.ended = time.perf_counter()
        noted.error = "" if error is None else error_code(error)
        noted.attributes = {**noted.attributes, **(attributes or {})}


def begin(name: str, attributes: Mapping[str, Attribute] | None = None) -> OpenSpan | None:
    """Return a span that begins now; None where none is noted."""
    here = place()
    if here is None:
        return None
    began = Span(
        name, time.perf_counter(), 0.0, here.span_id, new_span_id(), attributes=attributes or {}
    )
    return OpenSpan(here.request, began) if here.request.note(began) else None


@contextmanager
def span(name: str, attributes: Mapping[str, Attribute] | None = None) -> Iterator[None]:
    """Note the block as a span; for work of milliseconds, not for the way of every image.

    Not in an asynchronous generator: what it sets would be set for its caller.
    """
    opened = begin(name, attributes)
    if opened is None:
        yield
        return
    with inside(opened.within):
        try:
            yield
        except BaseException as error:
            opened.end(error)
            raise
    opened.end()


@contextmanager
def inside(here: Place) -> Iterator[None]:
    """Note the spans of the block as parts of another one; for a thread that works for several requests."""
    token = CURRENT.set(here)
    try:
        yield
    finally:
        CURRENT.reset(token)


def error_code(error: BaseException) -> str:
    """Return the code of one of our errors; what is no error of ours has ended from outside, or is a fault."""
    code: str = getattr(error, "code", "") or (
        "internal_error" if isinstance(error, Exception) else "canceled"
    )
    return code
