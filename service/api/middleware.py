"""What every request passes first: its record, metrics, log line and last error handler, then the guards.

The order, from the outside: `Telemetry`; the guards, in the order of their list; the fast path; FastAPI with its routes
and mounts. A guard is plain ASGI, so it sees every request, whatever answers it. Telemetry is outside the guards, so
that a request that a guard refuses also has an id, metrics and a log line.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.deps import Services
from service.api.error_forms import error_response
from service.api.errors import error_of_fault
from service.api.record import RECORD_KEY, RequestRecord, request_ids, route_of
from service.api.request_span import TRACE_HEADER, begin_span, end_span
from service.errors import FovealError, NotFoundError, ShuttingDownError
from service.logs import FIELDS, REQUEST_LOGGER
from service.spans import TracedRequest
from service.stage_times import TRACE_LABEL

log = logging.getLogger(REQUEST_LOGGER)

Middleware = Callable[[ASGIApp], ASGIApp]
"""Makes the ASGI app that stands around another one. It must pass on what is not HTTP: the lifespan.

To refuse a request, raise a `FovealError` before the response starts, or send a response.
"""

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""Characters that no path of ours has. A route ends before a line feed (the `$` of its pattern), a guard's path does
not: a key for another scope would open it."""
_INTERNAL_SERVER_ERROR = int(HTTPStatus.INTERNAL_SERVER_ERROR)

NO_SNIFFING = (b"x-content-type-options", b"nosniff")
"""No browser takes an answer for another type than the service states."""

_API = (
    "/v1/", "/v2/", "/health/", "/metrics/", "/kserve/", "/label-studio/", "/x-anylabeling/",
)  # fmt: skip
"""Paths that may end with a slash."""

LONGEST_PATH = 1000
"""The characters of a path that the log repeats: a client can send 60,000."""
_QUIET = ("/health/", "/metrics", "/v2/health/")
"""Paths that monitoring requests every few seconds; the log has them at level debug, and no trace where none began."""


def guarded(app: ASGIApp, middleware: Sequence[Middleware]) -> ASGIApp:
    """Return the app behind the guards, of which the first is outermost."""
    for guard in reversed(middleware):
        app = guard(app)
    return app


class Telemetry:
    """Plain ASGI middleware: it buffers nothing and starts no task.

    Args:
        app: the guards and what is behind them.
        services: the metrics, and the default deadline.
        fastapi: the app that has the routes; for the command line and tests.
    """

    def __init__(self, app: ASGIApp, services: Services, fastapi: FastAPI) -> None:
        self.app = app
        self.services = services
        self.fastapi = fastapi
        self._ids = request_ids()
        self._in_flight = 0
        self._tracer = services.engine.tracer
        services.metrics.in_flight.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if path[-1:] == "/":
            scope["path"] = without_slash(path)
        headers = scope["headers"]
        record = RequestRecord(
            given_id(headers) or next(self._ids),
            headers,
            self.services.timeout_seconds,
            self.services.longest_seconds,
        )
        scope[RECORD_KEY] = record
        if self._tracer is not None:
            begin_span(self._tracer, scope, record, is_probe=path.startswith(_QUIET))
        status = 0
        stages: Mapping[str, float] = {}

        async def send_with_headers(message: Message) -> None:
            nonlocal status, stages
            if message["type"] == "http.response.start":
                record.release()  # now, because a client may read its response slowly or never
                stages = record.stage_ms()
                message = self._with_headers(message, record, stages)
                status = message["status"]  # only now: what fails above is still answered
            await send(message)

        self._in_flight += 1
        try:
            _refuse_control_characters(path)
            await self.app(scope, receive, send_with_headers)
        except (
            FovealError,
            asyncio.CancelledError,
        ) as raised:  # a guard's; the app has handled its own
            error = self._error_of(raised)
            record.error_code = error.code
            if not status:
                await error_response(error, scope)(scope, receive, send_with_headers)
        except (
            Exception
        ) as fault:  # that nothing else caught; FastAPI has sent the response to its own
            log.exception("unhandled", extra={FIELDS: {"request_id": record.request_id}})
            if not status:
                record.traces = []  # they may be what failed
                await error_response(error_of_fault(fault), scope)(
                    scope, receive, send_with_headers
                )
        finally:
            self._in_flight -= 1
            record.release()
            self._report(scope, record, stages, status or _INTERNAL_SERVER_ERROR)

    def _error_of(self, raised: FovealError | asyncio.CancelledError) -> FovealError:
        """Return the error; for a request without a deadline that the end of the process cuts short, what says so."""
        if isinstance(raised, FovealError):
            return raised
        if not self.services.draining:
            raise raised
        return ShuttingDownError(
            "The service ended before the request did. Send it to another instance, or again later."
        )

    def _with_headers(
        self, message: Message, record: RequestRecord, stages: Mapping[str, float]
    ) -> Message:
        headers: list[tuple[bytes, bytes]] = [
            *message.get("headers", ()),
            (b"x-request-id", record.request_id.encode()),
            (b"server-timing", record.server_timing(stages)),
            NO_SNIFFING,
        ]
        if record.cache_status:
            headers.append((b"cache-status", record.cache_status.encode()))
        if record.traced is not None:
            headers.append((TRACE_HEADER, record.traced.parent.encode()))
        if self.services.draining:
            headers.append((b"connection", b"close"))
        return {**message, "headers": headers}

    def _report(
        self, scope: Scope, record: RequestRecord, stages: Mapping[str, float], status: int
    ) -> None:
        """Count the request and write its log line."""
        seconds = record.elapsed_seconds()
        route = route_of(record, scope)
        metrics = self.services.metrics
        answered, duration, received = metrics.of_request(
            route, record.model, record.version, status
        )
        answered.inc()
        duration.observe(seconds, None if record.traced is None else _exemplar(record.traced))
        if record.body_bytes:
            received.inc(record.body_bytes)
        if record.error_code:
            metrics.errors.labels(route, record.error_code).inc()
        level = logging.DEBUG if scope["path"].startswith(_QUIET) and status < 400 else logging.INFO
        if log.isEnabledFor(level):
            log.log(
                level,
                "%s %s %d",
                scope["method"],
                scope["path"][:LONGEST_PATH],
                status,
                extra={FIELDS: _line(record, stages, seconds)},
            )
        if self._tracer is not None and record.traced is not None:
            end_span(self._tracer, scope, record, status, record.began + seconds)


def _exemplar(traced: TracedRequest) -> dict[str, str] | None:
    """Return what names a trace that is recorded, for the histogram of the requests."""
    return {TRACE_LABEL: traced.trace_id} if traced.sampled else None


def _line(record: RequestRecord, stages: Mapping[str, float], seconds: float) -> dict[str, object]:
    line: dict[str, object] = {"ms": round(seconds * 1e3, 2), "request_id": record.request_id}
    if record.error_code:
        line["code"] = record.error_code
    if record.cache_status:
        line["cache"] = record.cache_status
    if record.client:
        line["key"] = record.client
    if record.model:
        line |= {
            "model": record.model,
            "images": record.images,
            "batch_size": record.batch_size,
            **{f"{stage}_ms": round(ms, 2) for stage, ms in stages.items()},
        }
    return line


def _refuse_control_characters(path: str) -> None:
    if _CONTROL.search(path) is not None:
        raise NotFoundError(
            "The path holds a control character, such as %0A. See /docs for the paths that exist."
        )


def without_slash(path: str) -> str:
    """Return the path without the slash at its end where it is one of the API: clients and proxies append one.

    No client follows a redirect with its body, and a redirect would name a host. The pages have relative links, so
    their paths stay as they are.
    """
    if path.startswith(_API) and path[-2:] != "//":
        return path[:-1]
    return path


def given_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the client's own id where it is safe to repeat in a header and a log."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return None
