"""A request's own span, with the names of OpenTelemetry's semantic conventions for HTTP servers.

A query and headers are never part of it: they may hold keys.
"""

from collections.abc import Mapping

from starlette.types import Scope

from service.api.record import UNMATCHED, RequestRecord, find_header, route_of
from service.spans import Attribute
from service.tracing.tracer import PARENT_HEADER, Tracer

TRACE_HEADER = b"traceresponse"
"""Of W3C's draft "Trace Context": in the form of `traceparent`."""
METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
OTHER = "_OTHER"


def begin_span(tracer: Tracer, scope: Scope, record: RequestRecord, *, is_probe: bool) -> None:
    """Begin a request's span; what is done for it from now on can be noted.

    A probe of monitoring is traced only where its caller traces it: there are thousands of them in a day.
    """
    if is_probe and find_header(record.headers, PARENT_HEADER) is None:
        tracer.skip()
        return
    method = _method(scope)
    record.traced = tracer.begin(
        record.headers,
        record.began,
        _name(method),
        _known_attributes(scope, method),
    )


def end_span(
    tracer: Tracer, scope: Scope, record: RequestRecord, status: int, ended: float
) -> None:
    """End a request's span.

    By the conventions only a 5xx is a failure of a server; the code of any other error is an attribute of ours.
    """
    assert record.traced is not None
    route = route_of(record, scope)
    method = _method(scope)
    name = _name(method)
    tracer.end(
        record.traced,
        name=name if route == UNMATCHED else f"{name} {route}",
        ended=ended,
        attributes=lambda: _attributes(scope, record, method, route, status),
        error=(record.error_code or str(status)) if status >= 500 else "",
    )


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else OTHER


def _name(method: str) -> str:
    """Return the name of a span as far as the method decides it."""
    return method if method != OTHER else "HTTP"


def _known_attributes(scope: Scope, method: str) -> Mapping[str, Attribute]:
    """Return what is known when the head of a request is there."""
    return {
        "http.request.method": method,
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
    }


def _attributes(
    scope: Scope, record: RequestRecord, method: str, route: str, status: int
) -> Mapping[str, Attribute]:
    attributes: dict[str, Attribute] = {
        **_known_attributes(scope, method),
        "http.response.status_code": status,
        "network.protocol.version": scope.get("http_version", "1.1"),
        "foveal.request.id": record.request_id,
    }
    if method == OTHER:
        attributes["http.request.method_original"] = scope["method"]
    optional: dict[str, Attribute] = {
        "http.route": "" if route == UNMATCHED else route,
        "http.request.body.size": record.body_bytes,
        "foveal.model.name": record.model,
        "foveal.model.version": str(record.version or ""),
        "foveal.images": record.images,
        "foveal.batch.size": record.batch_size,
        "foveal.cache": record.cache_status,
        "foveal.error.code": record.error_code,
    }
    return attributes | {key: value for key, value in optional.items() if value}
