"""A socket that closes: what clients have opened is answered, and what comes later is refused and not reset."""

import asyncio
import socket
import threading
from collections import Counter

import pytest

from service.processes.last_connections import accept_all, begin_no_more, no_more_to_come
from service.processes.server import listen
from tests.full_table import no_free_descriptor

pytestmark = pytest.mark.anyio


def test_a_client_that_begins_too_late_is_refused_and_not_reset() -> None:
    listener = listen("127.0.0.1", 0)
    with socket.create_connection(listener.getsockname()) as early, socket.socket() as late:
        assert begin_no_more(listener)
        late.settimeout(0.2)  # a fixed wait, for what does not happen
        with pytest.raises(TimeoutError):
            late.connect(listener.getsockname())
        (accepted,) = accept_all(listener)
        address = listener.getsockname()
        listener.close()
        with accepted:
            accepted.sendall(b"answer")
        assert early.recv(16) == b"answer"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass


def test_a_socket_without_packets_is_left_as_it_is() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not begin_no_more(ours)


def test_clients_for_which_no_file_is_left_do_not_stop_the_end() -> None:
    """It raised, and the requests of the others were not waited for."""
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        with no_free_descriptor():
            assert list(accept_all(listener)) == []
        (accepted,) = accept_all(listener)
        accepted.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_no_client_of_a_crowd_is_reset_when_the_socket_closes(host: str) -> None:
    outcomes: Counter[str] = Counter()
    listener = listen(host, 0)
    address = listener.getsockname()[:2]
    clients = [threading.Thread(target=ask_on, args=(address, outcomes)) for _ in range(8)]
    for thread in clients:
        thread.start()
    while outcomes["answer"] < 200:
        answer_all(listener)
        await asyncio.sleep(0)
    await no_more_to_come([listener])
    pending = list(accept_all(listener))
    listener.close()
    for connection in pending:
        answer(connection)
    for thread in clients:
        await asyncio.to_thread(thread.join)
    assert set(outcomes) == {"answer"}


def ask_on(address: tuple[str, int], outcomes: Counter[str]) -> None:
    """Open one connection after the other, until one is refused; count what comes of each."""
    while True:
        try:
            connection = socket.create_connection(address, timeout=60)
        except ConnectionRefusedError:
            return
        with connection:
            try:
                connection.sendall(b"question")
                outcomes[connection.recv(16).decode() or "closed"] += 1
            except OSError as error:
                outcomes[repr(error)] += 1


def answer_all(listener: socket.socket) -> None:
    for connection in accept_all(listener):
        answer(connection)


def answer(connection: socket.socket) -> None:
    with connection:
        connection.settimeout(60)
        if connection.recv(16):
            connection.sendall(b"answer")
