"""Whether a client that ended its side is gone: the kernel's own sockets say it, and the test moves the time."""

import asyncio
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from service.processes.half_closed import FIRST_SECONDS, INTERIM, HalfClosed, can_be_known
from tests.service.api.clock import Timer

needs_tcp_info = pytest.mark.skipif(not can_be_known(), reason="this system does not say it")


class Transport:
    """A connection of asyncio, over a real socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.written = b""
        self.aborted = 0
        self.closing = False

    def get_extra_info(self, name: str) -> socket.socket:
        assert name == "socket"
        return self.connection

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.written += data
        self.connection.sendall(data)

    def abort(self) -> None:
        self.aborted += 1
        self.closing = True


class Loop(Timer):
    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        return self(seconds, call)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end and the client's end of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with server, client:
        yield server, client


Pair = tuple[socket.socket, socket.socket]


def watched(
    connection: socket.socket, *, may_probe: Callable[[], bool] = lambda: True
) -> tuple[HalfClosed, Transport, Loop]:
    transport, loop = Transport(connection), Loop()
    made = HalfClosed(
        cast("asyncio.Transport", transport), cast("asyncio.AbstractEventLoop", loop), may_probe
    )
    return made, transport, loop


def reset(client: socket.socket) -> None:
    """Close a client's end with a reset (SO_LINGER of 0 s)."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def wait_for_reset(server: socket.socket) -> None:
    """Wait until the kernel has received the reset."""
    server.settimeout(10)
    with pytest.raises(ConnectionResetError):
        server.recv(1)


@needs_tcp_info
def test_a_client_that_waits_gets_one_interim_answer_and_stays(pair: Pair) -> None:
    server, client = pair
    client.shutdown(socket.SHUT_WR)
    _, transport, loop = watched(server)
    for _ in range(20):
        loop.advance(1)
    assert client.recv(1000) == transport.written == INTERIM
    assert transport.aborted == 0
    assert INTERIM.startswith(b"HTTP/1.1 100 ")
    assert INTERIM.endswith(b"\r\n\r\n")


@needs_tcp_info
def test_nothing_is_sent_before_most_answers_are_ready(pair: Pair) -> None:
    _, transport, loop = watched(pair[0])
    loop.advance(FIRST_SECONDS * 0.99)
    assert transport.written == b""
    loop.advance(FIRST_SECONDS * 0.01)
    assert transport.written == INTERIM


@needs_tcp_info
def test_a_client_that_is_gone_is_cut_off(pair: Pair) -> None:
    server, client = pair
    _, transport, loop = watched(server)
    reset(client)
    wait_for_reset(server)
    loop.advance(FIRST_SECONDS)
    assert (transport.aborted, transport.written, loop.alarms) == (1, b"", [])


@needs_tcp_info
def test_a_client_that_closed_answers_the_interim_answer_with_a_reset(pair: Pair) -> None:
    server, client = pair
    _, transport, loop = watched(server)
    client.close()
    loop.advance(FIRST_SECONDS)
    assert (transport.written, transport.aborted) == (INTERIM, 0)
    poll = select.poll()
    poll.register(
        server, 0
    )  # errors alone: the reset, and not the end of the client's side before it
    assert poll.poll(10_000)
    loop.advance(1)
    assert transport.aborted == 1


@needs_tcp_info
def test_an_interim_answer_waits_until_it_can_be_sent_between_two_answers(pair: Pair) -> None:
    may = False
    _, transport, loop = watched(pair[0], may_probe=lambda: may)
    loop.advance(5)
    assert transport.written == b""
    may = True
    loop.advance(5)
    assert transport.written == INTERIM
    loop.advance(5)
    assert transport.written == INTERIM


@needs_tcp_info
def test_checks_come_at_longer_and_longer_intervals_up_to_two_seconds(pair: Pair) -> None:
    _, _, loop = watched(pair[0])
    intervals = []
    for _ in range(11):
        (alarm,) = loop.alarms
        intervals.append(round(alarm.due - loop.now, 6))
        loop.advance(alarm.due - loop.now)
    assert intervals == [0.25, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.0, 2.0]


@needs_tcp_info
def test_a_connection_that_closes_is_checked_no_more(pair: Pair) -> None:
    _, transport, loop = watched(pair[0])
    transport.closing = True
    loop.advance(1)
    assert (transport.written, transport.aborted, loop.alarms) == (b"", 0, [])


@needs_tcp_info
def test_what_has_ended_checks_no_more(pair: Pair) -> None:
    made, transport, loop = watched(pair[0])
    loop.advance(FIRST_SECONDS)
    made.end()
    assert all(alarm.canceled for alarm in loop.alarms)
    reset(pair[1])
    loop.advance(10)
    assert transport.aborted == 0


@needs_tcp_info
def test_a_socket_of_this_machine_has_no_state_and_counts_as_open() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        _, transport, loop = watched(ours)
        theirs.shutdown(socket.SHUT_WR)
        loop.advance(5)
        assert (transport.written, transport.aborted) == (INTERIM, 0)


def test_linux_says_what_became_of_a_connection() -> None:
    assert can_be_known() is hasattr(socket, "TCP_INFO")
