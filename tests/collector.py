"""A collector of traces on a socket: it reads OTLP over HTTP with the protocol's own messages, as others do."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Seen:
    """One span as it came over the wire."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    began: int
    ended: int
    status: int
    state: str
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    resource: dict[str, Any]

    def within(self, other: "Seen") -> bool:
        return other.began <= self.began <= self.ended <= other.ended


@dataclass
class Collector:
    """What has come; `wait` returns as soon as there is enough."""

    url: str
    status: int = 200
    spans: list[Seen] = field(default_factory=list)
    posts: int = 0
    bodies: list[bytes] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)
    held: threading.Event = field(default_factory=threading.Event)
    """Answers wait for it; set unless a test makes the collector hang."""

    def wait(self, enough: Callable[[list[Seen]], bool], seconds: float = 15) -> list[Seen]:
        with self.changed:
            assert self.changed.wait_for(lambda: enough(self.spans), seconds), [
                one.name for one in self.spans
            ]
            return list(self.spans)

    def wait_for_posts(self, count: int, seconds: float = 15) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.posts >= count, seconds)

    def trace(self, trace_id: str) -> list[Seen]:
        """Return the spans of a trace once its request has come, which is sent together with them."""
        spans = self.wait(lambda all_: any(_is_request(one, trace_id) for one in all_))
        return [one for one in spans if one.trace_id == trace_id]


def _is_request(span: Seen, trace_id: str) -> bool:
    return span.trace_id == trace_id and span.kind == 2


def one(spans: list[Seen], name: str) -> Seen:
    """Return the only span of this name."""
    (found,) = [span for span in spans if span.name == name]
    return found


@contextmanager
def collect() -> Iterator[Collector]:
    """Listen until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with found.changed:
                found.posts += 1
                found.paths.add(self.path)
                if found.status == 200:
                    found.spans += _read(body, self.headers.get("content-encoding", ""))
                found.bodies.append(body)
                found.changed.notify_all()
            found.held.wait()
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(found.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Collector(f"http://127.0.0.1:{server.server_port}")
    found.held.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        found.held.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _read(body: bytes, coding: str) -> Iterator[Seen]:
    message = ExportTraceServiceRequest.FromString(
        gzip.decompress(body) if coding == "gzip" else body
    )
    for part in message.resource_spans:
        resource = _values(part.resource.attributes)
        for scope in part.scope_spans:
            for span in scope.spans:
                yield Seen(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.name,
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.code,
                    span.trace_state,
                    _values(span.attributes),
                    [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    resource,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
