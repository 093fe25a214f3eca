"""OpenTelemetry's own parts: sampler, ids, W3C headers, the resource, and the exporter. Nothing else imports them.

What is imported here is an option of the installation, and takes time and memory: only `opening` imports this module,
where tracing is on.
"""

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision as Decide
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.spans import Attribute, Span, SpanId, new_span_id
from service.tracing.request_spans import EndedRequest
from service.tracing.session import open_session
from service.tracing.tracer import PARENT_HEADER, Caller, Decision

ATTRIBUTE_CHARACTERS = 256
"""Of a value, where OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT and OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT say nothing."""
_CREDENTIAL_PROVIDERS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOWHERE = Context()


class Sdk:
    """Samples requests and sends their spans as the variables `OTEL_…` of the environment say.

    Args:
        version: of the service.

    Raises:
        ValueError: a limit of spans is not a number.
    """

    def __init__(self, version: str) -> None:
        limits = SpanLimits()
        self._characters = limits.max_span_attribute_length or ATTRIBUTE_CHARACTERS
        self._most_links = limits.max_links or 0
        self._resource = _resource(version)
        provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self._sampler = provider.sampler
        self._ids = provider.id_generator
        self._propagator = TraceContextTextMapPropagator()
        self._scope = InstrumentationScope("foveal", version)
        # A provider of credentials has a session of its own.
        has_provider = any(map(os.environ.get, _CREDENTIAL_PROVIDERS))
        self._exporter = OTLPSpanExporter(session=None if has_provider else open_session())

    def decide(self, caller: Caller, name: str, attributes: Mapping[str, Attribute]) -> Decision:
        """Return the ids of a request's trace and span, and whether it is recorded."""
        context, parent = _NOWHERE, None
        if caller.traceparent:
            given = {PARENT_HEADER.decode(): [caller.traceparent]}
            if caller.tracestate:
                given["tracestate"] = [caller.tracestate]
            context = self._propagator.extract(given)
            found = get_current_span(context).get_span_context()
            parent = found if found.is_valid else None
        trace_id = self._ids.generate_trace_id() if parent is None else parent.trace_id
        result = self._sampler.should_sample(
            context, trace_id, name, SpanKind.SERVER, dict(attributes)
        )
        ids = SpanId(trace_id, self._ids.generate_span_id())
        sampled = result.decision is Decide.RECORD_AND_SAMPLE
        return Decision(ids, sampled, (parent, result.trace_state))

    def send(self, requests: Sequence[EndedRequest]) -> bool:
        """Send the spans of some requests, and return whether the collector took them; blocking."""
        spans = [one for request in requests for one in self._readable(request)]
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def stop(self) -> None:
        """Try nothing again that is being sent."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _readable(self, request: EndedRequest) -> list[ReadableSpan]:
        """Return spans as the exporter takes them: they have ended, so no recorder is needed."""
        origin = request.traced.origin
        assert isinstance(origin, tuple)
        parent, state = origin
        # Both clocks now: that of the system may have been set since the service started.
        epoch = time.time() - time.perf_counter()
        write = partial(self._span, trace_id=request.traced.ids.trace_id, state=state, epoch=epoch)
        own, *others = request.spans
        return [
            write(own, parent=parent, kind=SpanKind.SERVER),
            *(write(one) for one in others),
        ]

    def _span(
        self,
        span: Span,
        *,
        trace_id: int,
        state: TraceState | None,
        epoch: float,
        parent: SpanContext | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> ReadableSpan:
        """Return one span; the parent of all but a request's own is of the same trace."""
        if span.parent_id:
            parent = _context(SpanId(trace_id, span.parent_id), state)
        attributes = {name: self._cut(value) for name, value in span.attributes.items()}
        if span.error:
            attributes["error.type"] = span.error
        return ReadableSpan(
            span.name,
            _context(SpanId(trace_id, span.span_id or new_span_id()), state),
            parent,
            self._resource,
            attributes,
            (),
            [Link(_context(one, None)) for one in span.links[: self._most_links]],
            kind,
            status=Status(StatusCode.ERROR) if span.error else Status(StatusCode.UNSET),
            start_time=round((epoch + span.began) * 1e9),
            end_time=round((epoch + span.ended) * 1e9),
            instrumentation_scope=self._scope,
        )

    def _cut(self, value: Attribute) -> Attribute:
        if not isinstance(value, str):
            return value
        cut = value[: self._characters]
        return cut if cut.isascii() else cut.encode(errors="replace").decode()  # or none is sent


def _context(ids: SpanId, state: TraceState | None) -> SpanContext:
    return SpanContext(ids.trace_id, ids.span_id, False, _SAMPLED, state)  # noqa: FBT003  # is_remote


def _resource(version: str) -> Resource:
    """Return what all spans say of this process; what the environment says goes before."""
    own = {
        "service.name": "foveal",
        "service.version": version,
        "service.instance.id": str(uuid.uuid4()),
    }
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})
