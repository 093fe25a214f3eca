"""Around every request: its id, its record, what metrics, headers and log say of it, and the last net under a fault."""

import logging
import re
import time
import uuid
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.deps import RECORD_KEY, RequestRecord, Services
from service.logs import FIELDS

log = logging.getLogger("foveal.request")

UNMATCHED = "unmatched"
"""The route of a request that no route took, so that unknown paths never make a new series."""

CLIENT_LEFT = 499
"""What is counted when there is nobody left to answer (nginx's status for it)."""

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_QUIET = ("/health/", "/metrics")
"""Paths that machines ask for every few seconds: logged at debug."""


class ClientLeftError(Exception):
    """The client closed its connection before the answer: nothing to send, and no fault."""


class Telemetry:
    """Plain ASGI, so that nothing is buffered and no task is made."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        record = RequestRecord(_request_id(Headers(scope=scope).get("x-request-id")))
        scope[RECORD_KEY] = record
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(message, record, began)
            await send(message)

        metrics = self.services.metrics
        metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_with_headers)
        except ClientLeftError:
            status = CLIENT_LEFT
        except (
            Exception
        ):  # Starlette has answered it with a problem already and raises it to be logged
            log.exception("unhandled", extra={FIELDS: {"request_id": record.request_id}})
        finally:
            metrics.in_flight.dec()
            self._tell(scope, record, status or int(HTTPStatus.INTERNAL_SERVER_ERROR), began)

    def _add_headers(self, message: Message, record: RequestRecord, began: float) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-ID"] = record.request_id
        total = round((time.perf_counter() - began) * 1e3, 2)
        stages = {**record.stage_ms(), "total": total}
        headers["Server-Timing"] = ", ".join(f"{name};dur={ms:g}" for name, ms in stages.items())
        if self.services.draining:
            headers["Connection"] = "close"

    def _tell(self, scope: Scope, record: RequestRecord, status: int, began: float) -> None:
        seconds = time.perf_counter() - began
        route = getattr(scope.get("route"), "path", UNMATCHED)
        metrics = self.services.metrics
        metrics.requests.labels(route, record.model, str(status)).inc()
        metrics.request_seconds.labels(route, record.model).observe(seconds)
        if record.body_bytes:
            metrics.request_bytes.labels(route).inc(record.body_bytes)
        if record.error_code:
            metrics.errors.labels(record.error_code).inc()
        level = logging.DEBUG if scope["path"].startswith(_QUIET) and status < 400 else logging.INFO
        if log.isEnabledFor(level):
            log.log(
                level,
                "%s %s %d",
                scope["method"],
                scope["path"],
                status,
                extra={FIELDS: _line(record, seconds)},
            )


def _line(record: RequestRecord, seconds: float) -> dict[str, object]:
    line: dict[str, object] = {"ms": round(seconds * 1e3, 2), "request_id": record.request_id}
    if record.error_code:
        line["code"] = record.error_code
    if record.model:
        line |= {
            "model": record.model,
            "pictures": record.pictures,
            "batch_size": record.batch_size,
            **{f"{stage}_ms": ms for stage, ms in record.stage_ms().items()},
        }
    return line


def _request_id(given: str | None) -> str:
    """Keep a client's own id where it is safe to repeat in a header and a log."""
    return given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
