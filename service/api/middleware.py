"""Around every request: its id, its record, what is told and let go at its end, and the last net under a fault."""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus

from fastapi import FastAPI
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.deps import RECORD_KEY, RequestRecord, Services
from service.api.errors import internal_error
from service.logs import FIELDS

log = logging.getLogger("foveal.request")

UNMATCHED = "unmatched"
"""The route of a request that no route took, so that unknown paths never make a new series."""

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
KNOWN_SERIES = 4096

_INTERNAL_SERVER_ERROR = int(HTTPStatus.INTERNAL_SERVER_ERROR)

_QUIET = ("/health/", "/metrics")
"""Paths that machines ask for every few seconds: logged at debug."""


class Telemetry:
    """Plain ASGI, so that nothing is buffered and no task is made."""

    def __init__(self, app: ASGIApp, services: Services, fastapi: FastAPI) -> None:
        self.app = app
        self.services = services
        self.fastapi = fastapi
        # 32 hex digits that no other process has: a random number, then a count; far cheaper than a UUID each.
        process = secrets.token_hex(10)
        self._ids = (f"{process}{number:012x}" for number in itertools.count())
        self._series = lru_cache(KNOWN_SERIES)(self._find_series)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stages: dict[str, float] = {}
        record = RequestRecord(_given_id(scope["headers"]) or next(self._ids))
        scope[RECORD_KEY] = record
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                self._let_go(record)  # before a client that reads no answer can keep it
                status = message["status"]
                stages.update(record.stage_ms())
                self._add_headers(message, record, stages)
            await send(message)

        metrics = self.services.metrics
        metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:  # whatever nobody else caught; FastAPI has answered its own already
            log.exception("unhandled", extra={FIELDS: {"request_id": record.request_id}})
            if not status:
                await internal_error(record)(scope, receive, send_with_headers)
        finally:
            metrics.in_flight.dec()
            self._let_go(record)
            self._tell(scope, record, stages, status or _INTERNAL_SERVER_ERROR)

    def _let_go(self, record: RequestRecord) -> None:
        if record.held_bytes:
            self.services.admission.release(record.held_bytes)
            record.held_bytes = 0

    def _find_series(
        self, route: str, model: str, status: int
    ) -> tuple[Counter, Histogram, Counter]:
        metrics = self.services.metrics
        return (
            metrics.requests.labels(route, model, str(status)),
            metrics.request_seconds.labels(route, model),
            metrics.request_bytes.labels(route),
        )

    def _add_headers(
        self, message: Message, record: RequestRecord, stages: Mapping[str, float]
    ) -> None:
        timing = "".join([f"{name};dur={ms:g}, " for name, ms in stages.items()])
        timing += f"total;dur={(time.perf_counter() - record.began) * 1e3:.2f}"
        if record.traces:
            timing += f", batch;desc={record.batch_size}"
        headers: list[tuple[bytes, bytes]] = message["headers"]
        headers.append((b"x-request-id", record.request_id.encode()))
        headers.append((b"server-timing", timing.encode()))
        if self.services.draining:
            headers.append((b"connection", b"close"))

    def _tell(
        self,
        scope: Scope,
        record: RequestRecord,
        stages: Mapping[str, float],
        status: int,
    ) -> None:
        seconds = time.perf_counter() - record.began
        route = getattr(scope.get("route"), "path", UNMATCHED)
        metrics = self.services.metrics
        answered, duration, received = self._series(route, record.model, status)
        answered.inc()
        duration.observe(seconds)
        if record.body_bytes:
            received.inc(record.body_bytes)
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
                extra={FIELDS: _line(record, stages, seconds)},
            )


def _line(record: RequestRecord, stages: Mapping[str, float], seconds: float) -> dict[str, object]:
    line: dict[str, object] = {"ms": round(seconds * 1e3, 2), "request_id": record.request_id}
    if record.error_code:
        line["code"] = record.error_code
    if record.model:
        line |= {
            "model": record.model,
            "images": record.images,
            "batch_size": record.batch_size,
            **{f"{stage}_ms": ms for stage, ms in stages.items()},
        }
    return line


def _given_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return a client's own id where it is safe to repeat in a header and a log."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return None
