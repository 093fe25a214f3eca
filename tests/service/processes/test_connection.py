"""What one connection lets a client send: bytes in, bytes out, by a real parser and a clock that the test moves.

The statuses and the forms of the messages are those of RFC 9110, 9112 and 6585.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from weakref import WeakMethod

import pytest
import uvicorn
from uvicorn.server import ServerState

from service.api.ingest.body import COMPLETE_KEY
from service.api.record import RequestRecord
from service.api.shedding import Shedding
from service.errors import FovealError, OverloadedError
from service.metrics import Metrics
from service.processes.connection import (
    AT_ONCE_SECONDS,
    SHED_SECONDS,
    Connection,
)
from service.processes.half_closed import (
    CHECK_SECONDS,
    FIRST_SECONDS,
    INTERIM,
    MOST_CHECK_SECONDS,
    can_be_known,
)
from service.processes.idle import SPARED_SECONDS, IdleConnections
from service.processes.leaving import LeavingConnections
from service.processes.limits import Limits
from service.processes.rest_of_body import DISCARD_SECONDS
from service.processes.transport import LINGER_BYTES, LINGER_SECONDS
from service.processes.unread import UnreadAnswers
from tests.service.api.clock import Timer

pytestmark = pytest.mark.anyio

GET = b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n"
POST = b"POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"
CHUNKED = b"POST /body HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\nok"
LAST_OK = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
REFUSED = b"date: now\r\nx-refused: yes\r\nconnection: close\r\n\r\nno"
"""What the tests' own refusals have behind their status line."""
SHED_TARGET = {"type": "http", "raw_path": b"/full", "path": "/full", "query_string": b""}
SHED_POST = b"POST /full HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n%s\r\nabc"


class Socket:
    """A socket in a state of TCP."""

    def __init__(self) -> None:
        self.state = 1  # established

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 80

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 4000

    def getsockopt(self, *_: int) -> bytes:
        return bytes([self.state])


@dataclass
class Raw:
    """A transport that only notes what is done to it."""

    socket: Socket = field(default_factory=Socket)
    written: bytes = b""
    reads: bool = True
    ended: bool = False
    closed: bool = False
    aborted: bool = False

    def write(self, data: bytes) -> None:
        assert not self.ended
        if not self.closed:  # asyncio drops what is written to a closed transport
            self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_extra_info(self, name: str) -> Socket | None:
        return self.socket if name == "socket" else None

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        taken, self.written = self.written, b""
        return taken


class Loop(Timer):
    """The running event loop with a time that the test moves."""

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Any) -> Any:
        return self(seconds, call)

    def call_soon(self, call: Any) -> Any:
        return self(0, call)

    def create_task(self, work: Any) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)


@dataclass
class Exchange:
    """A request in the application, which the test answers."""

    scope: Any
    receive: Any
    send: Any
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    async def begin(self) -> None:
        fields = [(b"content-length", b"2")]
        await self.send({"type": "http.response.start", "status": 200, "headers": fields})

    async def end(self) -> None:
        await self.send({"type": "http.response.body", "body": b"ok"})
        self.over.set()

    async def answer(self) -> None:
        await self.begin()
        await self.end()


class Host:
    """A service without one: its application waits until the test has answered."""

    def __init__(self, limits: Limits, shedding: Shedding) -> None:
        self.loop = Loop()
        self.leaving = LeavingConnections(most=2)
        self.idle = IdleConnections()
        self.errors: list[FovealError] = []
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"now")]
        self.exchanges: list[Exchange] = []
        self._arrived: asyncio.Queue[Exchange] = asyncio.Queue()
        self._limits = limits
        self._shedding = shedding
        self._config = uvicorn.Config(
            self._app,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            proxy_headers=False,
            timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]  # as `Server` does
        )

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send)
        self.exchanges.append(exchange)
        self._arrived.put_nowait(exchange)
        await exchange.over.wait()

    def _refuse(self, error: FovealError) -> tuple[list[tuple[bytes, bytes]], bytes]:
        self.errors.append(error)
        return [(b"x-refused", b"yes")], b"no"

    def connect(self) -> tuple[Connection, Raw]:
        raw = Raw()
        connection = Connection(
            limits=self._limits,
            refuse=self._refuse,
            shedding=self._shedding,
            unread=UnreadAnswers(2**20),
            leaving=self.leaving,
            idle=self.idle,
            config=self._config,
            server_state=self.state,
            app_state={},
            _loop=self.loop,
        )
        connection.connection_made(cast("Any", raw))
        return connection, raw

    async def request(self) -> Exchange:
        await self.started()
        return self._arrived.get_nowait()

    async def started(self) -> int:
        """Return how many requests have reached the application, those included that just start."""
        marker = asyncio.Event()
        asyncio.get_running_loop().call_soon(marker.set)  # behind the tasks that were made before
        await marker.wait()
        return len(self.exchanges)

    async def close(self) -> None:
        for connection in list(self.state.connections):
            connection.connection_lost(None)
        await self.started()
        for exchange in self.exchanges:
            exchange.over.set()
        await asyncio.gather(*self.state.tasks)


@asynccontextmanager
async def hosting(
    limits: Limits | None = None, shedding: Shedding | None = None
) -> AsyncIterator[Host]:
    host = Host(limits or Limits(), shedding or Shedding(Metrics()))
    try:
        yield host
    finally:
        await host.close()


def head_of(size: int, start: bytes = b"GET / HTTP/1.1\r\nhost: h\r\n") -> bytes:
    """Return a head of exactly so many bytes."""
    return start + b"x: " + b"y" * (size - len(start) - len(b"x: \r\n\r\n")) + b"\r\n\r\n"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 7, 150, 1000])
async def test_a_head_has_so_many_bytes_and_not_one_more(size: int) -> None:
    async with hosting(Limits(head_bytes=200)) as host:
        connection, raw = host.connect()
        for piece in pieces(head_of(200) + head_of(200), size):
            connection.data_received(piece)
        for _ in range(2):
            await (await host.request()).answer()
        assert raw.taken() == OK + OK
        for piece in pieces(head_of(201), size):
            connection.data_received(piece)
        assert await host.started() == 2
        assert raw.taken() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n" + REFUSED
        assert raw.ended
        assert "more than 200 bytes" in str(host.errors[0])


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4])
async def test_bytes_behind_a_head_are_none_of_it_wherever_it_is_cut(cut: int) -> None:
    head = head_of(200, POST[:-2] % 300)
    async with hosting(Limits(head_bytes=200)) as host:
        connection, raw = host.connect()
        connection.data_received(head[: 200 - cut])
        connection.data_received(head[200 - cut :] + b"b" * 300)
        exchange = await host.request()
        assert (await exchange.receive())["body"] == b"b" * 300
        await exchange.answer()
        assert raw.taken() == OK


@pytest.mark.parametrize("cut", [1, 2, 3])
async def test_the_begin_of_a_next_head_counts_wherever_the_last_was_cut(cut: int) -> None:
    first, second = GET % 1, head_of(201)
    async with hosting(Limits(head_bytes=200)) as host:
        connection, raw = host.connect()
        connection.data_received(first[:-cut])
        connection.data_received(first[-cut:] + second[:150])
        await (await host.request()).answer()
        assert raw.taken() == OK
        connection.data_received(second[150:])
        assert raw.taken().startswith(b"HTTP/1.1 431 ")


async def test_a_head_without_an_end_is_refused_at_its_limit() -> None:
    async with hosting(Limits(head_bytes=200)) as host:
        connection, raw = host.connect()
        connection.data_received(b"GET / HTTP/1.1\r\nx: ".ljust(200, b"y"))
        assert not raw.written
        connection.data_received(b"y")
        assert raw.taken().startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(("chunks", "refused"), [(25, False), (26, True)])
async def test_frames_of_chunks_count_as_far_as_they_are_longer_than_the_chunks(
    chunks: int,
    refused: bool,  # noqa: FBT001
) -> None:
    async with hosting(Limits(head_bytes=100)) as host:
        connection, raw = host.connect()
        connection.data_received(CHUNKED)
        exchange = await host.request()
        for _ in range(chunks):
            connection.data_received(b"1\r\na\r\n")  # five bytes around one: four are too many
        assert raw.taken().startswith(b"HTTP/1.1 431 ") == refused
        assert ((await exchange.receive())["type"] == "http.disconnect") == refused


async def test_so_many_requests_wait_and_no_more_is_parsed_or_read() -> None:
    async with hosting(Limits(waiting=2)) as host:
        connection, raw = host.connect()
        connection.data_received(b"".join(GET % number for number in range(4)))
        connection.data_received(GET % 4)  # it was on its way
        assert len(connection.pipeline) == 2
        assert not raw.reads
        for number in range(5):
            exchange = await host.request()
            assert exchange.path == f"/{number}"
            assert await host.started() == number + 1
            assert len(connection.pipeline) == min(2, 4 - number)
            await exchange.answer()
            assert raw.taken() == OK
        assert raw.reads
        assert not raw.closed


@pytest.mark.parametrize(
    "garbage",
    [b"nonsense\r\n\r\n", CHUNKED + b"nonsense\r\n"],
    ids=["no request", "a body that is none"],
)
@pytest.mark.parametrize("before", [1, 3])
async def test_what_is_refused_behind_requests_is_answered_after_them(
    before: int, garbage: bytes
) -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(b"".join(GET % number for number in range(before)) + garbage)
        connection.data_received(GET % 9)
        for number in range(before):
            assert not raw.written
            exchange = await host.request()
            assert exchange.path == f"/{number}"
            await exchange.answer()
            if number < before - 1:
                assert raw.taken() == OK
        assert raw.taken() == OK + b"HTTP/1.1 400 Bad Request\r\n" + REFUSED
        assert raw.ended
        assert await host.started() == before


async def test_what_is_refused_behind_the_last_request_of_a_connection_is_not_answered() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        last = (GET % 0).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        connection.data_received(last + b"nonsense\r\n\r\n")
        await (await host.request()).answer()
        assert raw.taken() == LAST_OK


@pytest.mark.parametrize("cut", [1, 2, 3])
async def test_no_more_wait_wherever_a_head_is_cut(cut: int) -> None:
    async with hosting(Limits(waiting=1)) as host:
        connection, _ = host.connect()
        connection.data_received(GET % 0)
        connection.data_received((GET % 1)[:-cut])
        connection.data_received((GET % 1)[-cut:] + GET % 2 + GET % 3)
        assert len(connection.pipeline) == 1


async def test_the_rest_of_a_body_that_was_answered_is_discarded() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(POST % 10 + b"begi")
        await (await host.request()).answer()
        assert raw.taken() == OK
        assert raw.reads
        connection.data_received(b"GET / " + GET % 7)  # of which six bytes are the body
        exchange = await host.request()
        assert exchange.path == "/7"
        assert (await exchange.receive())["body"] == b""
        await exchange.answer()
        host.loop.advance(DISCARD_SECONDS)
        assert raw.taken() == OK
        assert (raw.ended, raw.closed) == (False, False)


async def test_a_rest_that_does_not_come_in_time_ends_the_connection() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(POST % 10 + b"begi")
        await (await host.request()).answer()
        host.loop.advance(DISCARD_SECONDS - 0.1)
        connection.data_received(b"n")
        assert not raw.ended
        host.loop.advance(0.1)
        assert raw.ended
        host.loop.advance(LINGER_SECONDS)
        assert raw.closed


@pytest.mark.parametrize(("left", "ended"), [(LINGER_BYTES, False), (LINGER_BYTES + 1, True)])
async def test_a_rest_that_is_announced_as_too_long_is_not_waited_for(
    left: int,
    ended: bool,  # noqa: FBT001
) -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(POST % (left + 1) + b"b")
        await (await host.request()).answer()
        assert raw.ended == ended


async def test_a_rest_without_a_length_is_discarded_up_to_a_limit() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(CHUNKED)
        await (await host.request()).answer()
        part = LINGER_BYTES // 4
        for _ in range(4):
            connection.data_received(b"%x\r\n" % part + bytes(part) + b"\r\n")
        assert not raw.closed
        connection.data_received(b"1\r\na\r\n")
        assert raw.closed


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the begin of TLS
        b"GET / HTTP/1.1\r\nhost : h\r\n\r\n",  # a space before the colon: RFC 9112, 5.1
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",  # RFC 9112, 6.3
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_nothing_behind_it_is_read(sent: bytes) -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(sent)
        connection.data_received(GET % 1)
        assert raw.taken() == b"HTTP/1.1 400 Bad Request\r\n" + REFUSED
        assert await host.started() == 0
        assert [error.code for error in host.errors] == ["malformed_http"]
        host.loop.advance(LINGER_SECONDS)
        assert raw.closed


async def test_an_application_sees_that_its_body_is_broken() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(CHUNKED)
        exchange = await host.request()
        connection.data_received(b"no number\r\n")
        assert raw.taken() == b"HTTP/1.1 400 Bad Request\r\n" + REFUSED
        assert await exchange.receive() == {"type": "http.disconnect"}


async def test_an_answer_that_has_begun_is_cut_where_its_body_is_broken() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(CHUNKED)
        await (await host.request()).begin()
        raw.taken()
        connection.data_received(b"no number\r\n")
        assert raw.taken() == b""
        assert raw.ended


UPGRADE = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
"""As Java's HTTP client sends with each request. A server may ignore it: RFC 9110, 7.8."""


async def test_another_protocol_is_not_spoken_and_the_connection_goes_on() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        for number in (1, 2):
            connection.data_received((GET % number)[:-2] + UPGRADE + b"\r\n")
            exchange = await host.request()
            assert exchange.path == f"/{number}"
            assert not (await exchange.receive())["more_body"]
            await exchange.answer()
            assert raw.taken() == OK
        connection.data_received(b"no HTTP\r\n\r\n")
        assert raw.taken() == b"HTTP/1.1 400 Bad Request\r\n" + REFUSED


@pytest.mark.parametrize("size", [1, 9, 1000])
@pytest.mark.parametrize(
    "sent",
    [
        (POST % 9)[:-2] + UPGRADE + b"\r\nthe image",
        CHUNKED[:-2] + UPGRADE + b"\r\n4\r\nthe \r\n5\r\nimage\r\n0\r\nx: trailer\r\n\r\n",
    ],
)
async def test_a_body_comes_behind_a_head_that_asks_for_another_protocol(
    sent: bytes, size: int
) -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        for piece in pieces(sent + sent + GET % 3, size):
            connection.data_received(piece)
        for _ in range(2):
            exchange = await host.request()
            assert (exchange.scope["method"], exchange.path) == ("POST", "/body")
            message = await exchange.receive()
            assert (message["body"], message["more_body"]) == (b"the image", False)
            assert (b"x", b"trailer") not in exchange.scope["headers"]
            await exchange.answer()
        exchange = await host.request()
        assert exchange.path == "/3"
        assert (b"host", b"h") in exchange.scope["headers"]
        await exchange.answer()
        assert raw.taken() == OK * 3


@pytest.mark.parametrize(
    "broken",
    [
        b"transfer-encoding: chunked, a\r\n\r\nabc",
        b"transfer-encoding: chunked\r\n\r\nno number\r\n",
    ],
)
async def test_a_broken_body_behind_such_a_head_is_refused(broken: bytes) -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(b"POST / HTTP/1.1\r\nhost: h\r\n" + UPGRADE + broken)
        assert raw.taken() == b"HTTP/1.1 400 Bad Request\r\n" + REFUSED
        assert raw.ended


async def test_the_bytes_of_a_tunnel_are_no_requests() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(b"CONNECT /x HTTP/1.1\r\nhost: h\r\n\r\n" + GET % 1)
        await (await host.request()).answer()
        assert raw.taken() == LAST_OK
        assert await host.started() == 1


async def test_a_client_of_http_1_0_gets_no_chunks_and_no_interim_answer() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        head = POST.replace(b"1.1", b"1.0")[:-2] + b"expect: 100-continue\r\n\r\n"
        connection.data_received(head % 9)
        connection.data_received(b"the image")
        exchange = await host.request()
        assert (await exchange.receive())["body"] == b"the image"
        await exchange.send({"type": "http.response.start", "status": 200, "headers": []})
        for body, more in ((b"some ", True), (b"text", False)):
            await exchange.send({"type": "http.response.body", "body": body, "more_body": more})
        exchange.over.set()
        assert raw.taken() == (
            b"HTTP/1.1 200 OK\r\ndate: now\r\nconnection: close\r\n\r\nsome text"
        )
        assert raw.closed


async def test_a_head_has_its_time_from_the_first_byte_on() -> None:
    async with hosting(Limits(head_seconds=10, idle_seconds=75)) as host:
        connection, raw = host.connect()
        host.loop.advance(50)
        for byte in pieces(b"GET / HTTP", 1):
            connection.data_received(byte)
            host.loop.advance(0.99)
        assert not raw.written
        host.loop.advance(0.1)
        assert raw.taken() == b"HTTP/1.1 408 Request Timeout\r\n" + REFUSED
        assert "within 10 s" in str(host.errors[0])


async def test_a_head_that_has_ended_has_no_time_limit() -> None:
    async with hosting(Limits(head_seconds=10)) as host:
        connection, raw = host.connect()
        connection.data_received((POST % 9)[:20])
        connection.data_received((POST % 9)[20:])
        host.loop.advance(1000)
        assert raw.reads
        connection.data_received(b"the image")
        exchange = await host.request()
        message = await exchange.receive()
        assert (message["body"], message["more_body"]) == (b"the image", False)
        assert exchange.scope[COMPLETE_KEY]
        await exchange.answer()
        assert raw.taken() == OK


async def test_a_connection_without_a_request_is_closed_after_its_time() -> None:
    async with hosting(Limits(idle_seconds=75)) as host:
        connection, raw = host.connect()
        host.loop.advance(74.9)
        connection.data_received(GET % 0)
        exchange = await host.request()
        host.loop.advance(1000)
        await exchange.answer()
        host.loop.advance(74.9)
        assert not raw.closed
        host.loop.advance(0.1)
        assert raw.closed
        _, silent = host.connect()
        host.loop.advance(75)
        assert silent.closed


@pytest.mark.parametrize(
    ("seconds", "closed"), [(SPARED_SECONDS, False), (SPARED_SECONDS + 0.1, True)]
)
async def test_of_too_many_connections_an_idle_one_is_closed_unless_it_is_new(
    seconds: float,
    closed: bool,  # noqa: FBT001
) -> None:
    async with hosting(Limits(connections=1)) as host:
        _, old = host.connect()
        host.loop.advance(seconds)
        new, raw = host.connect()
        assert old.closed == closed
        if closed:
            new.data_received(GET % 0)
            await (await host.request()).answer()
            assert raw.taken() == OK
        else:
            assert raw.taken() == b"HTTP/1.1 503 Service Unavailable\r\n" + REFUSED


async def test_an_idle_one_is_found_among_many_that_are_new() -> None:
    """Of the connections only some were looked at, and a new one takes the place of one that was closed."""
    async with hosting(Limits(connections=300)) as host:
        for _ in range(300):
            host.connect()
        host.loop.advance(SPARED_SECONDS + 0.1)
        new = [host.connect()[1] for _ in range(300)]
        assert [raw.taken() for raw in new] == [b""] * 300
        _, raw = host.connect()
        assert raw.taken().startswith(b"HTTP/1.1 503 ")


async def test_the_one_that_was_idle_longest_is_closed() -> None:
    async with hosting(Limits(connections=3)) as host:
        raws = []
        for _ in range(3):
            connection, raw = host.connect()
            raws.append((connection, raw))
            host.loop.advance(5)
        raws[0][0].data_received(GET % 0)
        await (await host.request()).answer()
        host.loop.advance(5)
        host.connect()
        assert [raw.closed for _, raw in raws] == [False, True, False]


@pytest.mark.parametrize("sent", [b"G", GET % 0, POST % 10, POST % 10 + b"begi"])
async def test_a_connection_in_use_is_not_closed_for_another(sent: bytes) -> None:
    async with hosting(Limits(connections=1)) as host:
        busy, raw = host.connect()
        busy.data_received(sent)
        host.loop.advance(5)
        _, refused = host.connect()
        assert not raw.closed
        assert refused.taken().startswith(b"HTTP/1.1 503 ")
        assert "1 connections are open" in str(host.errors[0])


async def leave(host: Host) -> Raw:
    """Have a client answered that then only has to close its connection, and does not."""
    connection, raw = host.connect()
    connection.data_received(b"GET /0 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    await (await host.request()).answer()
    await host.started()
    assert (raw.taken(), raw.closed) == (LAST_OK, True)
    return raw


async def test_connections_that_end_take_no_place_and_the_oldest_are_given_up() -> None:
    async with hosting(Limits(connections=1)) as host:
        ending = [await leave(host) for _ in range(5)]
        new, raw = host.connect()
        assert [one.aborted for one in ending] == [True, True, True, False, False]
        new.data_received(GET % 0)
        await (await host.request()).answer()
        assert raw.taken() == OK


async def test_a_client_that_was_refused_takes_no_place_while_it_is_told() -> None:
    async with hosting(Limits(connections=1)) as host:
        busy, _ = host.connect()
        busy.data_received(GET % 0)
        _, refused = host.connect()
        assert refused.taken().startswith(b"HTTP/1.1 503 ")
        busy.connection_lost(None)
        new, raw = host.connect()
        new.data_received(GET % 1)
        await host.request()
        await (await host.request()).answer()
        assert raw.taken() == OK
        assert not refused.aborted


class Full:
    """A queue without room."""

    def room(self) -> int:
        return 0

    def shedding(self) -> Shedding:
        error = OverloadedError("256 images wait. Try again.")
        error.room = WeakMethod(self.room)
        made = Shedding(Metrics())
        made.note(SHED_TARGET, RequestRecord("mine"), error)
        return made


async def test_a_request_to_a_full_queue_is_refused_before_it_is_one() -> None:
    full = Full()
    async with hosting(shedding=full.shedding()) as host:
        connection, raw = host.connect()
        connection.data_received(SHED_POST % b"")
        assert raw.taken().startswith(b"HTTP/1.1 503 Service Unavailable\r\ndate: now\r\n")
        connection.data_received(GET % 1)
        exchange = await host.request()
        assert exchange.path == "/1"
        await exchange.answer()
        assert raw.taken() == OK


async def test_of_a_client_that_is_refused_and_sends_again_at_once_nothing_is_read_for_a_while() -> (
    None
):
    full = Full()
    async with hosting(shedding=full.shedding()) as host:
        connection, raw = host.connect()
        connection.data_received(SHED_POST % b"")
        assert raw.reads
        for _ in range(3):
            connection.data_received(SHED_POST % b"")
            assert not raw.reads
            host.loop.advance(SHED_SECONDS)
            assert raw.reads


async def test_a_client_that_waits_between_refusals_is_always_read() -> None:
    full = Full()
    async with hosting(shedding=full.shedding()) as host:
        connection, raw = host.connect()
        for _ in range(3):
            connection.data_received(SHED_POST % b"")
            assert raw.reads
            host.loop.advance(AT_ONCE_SECONDS)


async def test_a_refused_client_that_closes_is_closed_behind_its_body() -> None:
    full = Full()
    async with hosting(shedding=full.shedding()) as host:
        connection, raw = host.connect()
        sent = SHED_POST % b"connection: close\r\n"
        connection.data_received(sent[:-1])
        assert b"\r\nconnection: close\r\n" in raw.taken()
        assert not raw.closed
        connection.data_received(sent[-1:])
        assert raw.closed


async def test_a_request_behind_another_is_not_refused_ahead_of_it() -> None:
    full = Full()
    async with hosting(shedding=full.shedding()) as host:
        connection, raw = host.connect()
        connection.data_received(GET % 0 + SHED_POST % b"")
        await (await host.request()).answer()
        assert raw.taken() == OK
        assert (await host.request()).path == "/full"


@pytest.mark.skipif(not can_be_known(), reason="this system does not tell the state of TCP")
@pytest.mark.parametrize(("state", "gone"), [(8, False), (7, True)])  # CLOSE_WAIT, CLOSE
async def test_a_client_that_ended_its_side_gets_its_answer_unless_it_is_gone(
    state: int,
    gone: bool,  # noqa: FBT001
) -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(GET % 0)
        exchange = await host.request()
        assert connection.eof_received()
        raw.socket.state = state
        host.loop.advance(FIRST_SECONDS)
        assert raw.aborted == gone
        if not gone:
            assert raw.taken() == INTERIM
            await exchange.answer()
            assert raw.taken() == OK
            assert raw.closed


@pytest.mark.skipif(not can_be_known(), reason="this system does not tell the state of TCP")
async def test_a_client_whose_large_body_has_waited_is_asked_at_once_whether_it_is_gone() -> None:
    """Its end is read when its turn comes, and its image is decoded next."""
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(POST % 4)
        await host.request()
        host.loop.advance(FIRST_SECONDS)
        connection.data_received(b"body")
        assert connection.eof_received()
        host.loop.advance(0)
        assert raw.taken() == INTERIM
        raw.socket.state = 7  # the reset came
        host.loop.advance(CHECK_SECONDS)
        assert raw.aborted


async def test_a_client_that_waits_for_nothing_is_closed_when_it_ends() -> None:
    async with hosting() as host:
        connection, _ = host.connect()
        assert not connection.eof_received()
        connection.data_received(POST % 10 + b"begi")
        assert not connection.eof_received()


async def test_an_application_sees_that_its_client_left() -> None:
    async with hosting() as host:
        connection, _ = host.connect()
        connection.data_received(POST % 10)
        exchange = await host.request()
        connection.connection_lost(ConnectionResetError())
        assert await exchange.receive() == {"type": "http.disconnect"}
        host.loop.advance(1000)  # no timer is left that touches it
        assert not host.state.connections


async def test_it_sees_so_too_where_other_requests_wait_behind_its_own() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(GET % 0 + GET % 1 + GET % 2)
        first = await host.request()
        await first.receive()
        await first.answer()
        second = await host.request()
        await second.receive()
        await second.begin()
        raw.taken()
        connection.connection_lost(ConnectionResetError())
        assert await asyncio.wait_for(second.receive(), 60) == {"type": "http.disconnect"}
        await second.end()
        assert not raw.taken()  # uvloop raises where a closed connection is written to
        assert await host.started() == 2


@pytest.mark.skipif(not can_be_known(), reason="this system does not tell the state of TCP")
async def test_a_client_with_several_requests_is_asked_too_whether_it_is_gone() -> None:
    async with hosting() as host:
        connection, raw = host.connect()
        connection.data_received(GET % 0 + GET % 1 + GET % 2)
        first = await host.request()
        await first.begin()
        raw.taken()
        assert connection.eof_received()
        host.loop.advance(FIRST_SECONDS)
        assert not raw.taken()  # within an answer there is no interim one
        await first.end()
        await host.request()
        raw.taken()
        host.loop.advance(2 * FIRST_SECONDS)
        assert raw.taken() == INTERIM
        raw.socket.state = 7  # the reset came
        host.loop.advance(MOST_CHECK_SECONDS)
        assert raw.aborted


@pytest.mark.skipif(not can_be_known(), reason="this system does not tell the state of TCP")
async def test_a_client_that_is_not_read_is_asked_once_it_has_ended_its_side() -> None:
    async with hosting(Limits(waiting=1)) as host:
        connection, raw = host.connect()
        connection.data_received(GET % 0 + GET % 1 + GET % 2)
        exchange = await host.request()
        assert not raw.reads
        host.loop.advance(FIRST_SECONDS)
        assert not raw.taken()
        raw.socket.state = 8  # CLOSE_WAIT
        host.loop.advance(MOST_CHECK_SECONDS)
        assert raw.taken() == INTERIM
        await exchange.answer()
        await (await host.request()).receive()
        assert raw.reads  # from here on its end is read
        host.loop.advance(10 * MOST_CHECK_SECONDS)
        assert raw.taken() == OK
        assert not raw.closed


@pytest.mark.skipif(not can_be_known(), reason="this system does not tell the state of TCP")
async def test_a_client_that_is_not_read_and_is_gone_is_closed() -> None:
    async with hosting(Limits(waiting=1)) as host:
        connection, raw = host.connect()
        connection.data_received(GET % 0 + GET % 1 + GET % 2)
        await host.request()
        raw.socket.state = 7  # CLOSE
        host.loop.advance(FIRST_SECONDS)
        assert raw.aborted
