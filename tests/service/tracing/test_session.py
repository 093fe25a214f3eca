"""Answers of collectors that are none, on a real socket."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

requests = pytest.importorskip("requests", reason="needs pip install -e '.[otel]'")

from service.tracing.session import open_session  # noqa: E402  # it needs the package above

Answer = Callable[[socket.socket], None]


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[bytes], list[socket.socket]]]:
    """Answer each request until the block ends; give the URL, the heads of the requests, and the connections."""
    heads: list[bytes] = []
    connections: list[socket.socket] = []

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            whole = b""
            while part := client.recv(1 << 16):
                whole += part
                if whole.endswith(b"spans"):
                    heads.append(whole.partition(b"\r\n")[0])
                    whole = b""
                    answer(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                connections.append(client)
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces", heads, connections
        listener.shutdown(socket.SHUT_RDWR)


def test_an_answer_is_read_and_its_connection_stays() -> None:
    with (
        answering(
            lambda client: client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        ) as (url, heads, connections),
        open_session() as session,
    ):
        for _ in range(2):
            assert session.post(url, data=b"spans", timeout=30).content == b"hi"
        assert len(heads) == 2
        assert len(connections) == 1


def test_an_answer_without_an_end_is_cut() -> None:
    ended = threading.Event()

    def endless(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                client.sendall(bytes(1 << 16))
        except OSError:
            ended.set()
            raise

    with answering(endless) as (url, _, _), open_session() as session:
        answer = session.post(url, data=b"spans", timeout=30)
        assert (answer.status_code, len(answer.content)) == (200, 1 << 16)
        assert ended.wait(30), "the connection is not closed"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(status: int) -> None:
    head = f"HTTP/1.1 {status} Moved\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n".encode()
    with (
        answering(lambda client: client.sendall(head)) as (url, heads, _),
        open_session() as session,
    ):
        with pytest.raises(requests.exceptions.TooManyRedirects):
            session.post(url, data=b"spans", timeout=30)
        assert heads == [b"POST /v1/traces HTTP/1.1"]


def test_an_answer_that_breaks_off_is_a_broken_connection() -> None:
    def cut(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        client.close()

    with (
        answering(cut) as (url, _, _),
        open_session() as session,
        pytest.raises(requests.exceptions.ConnectionError),
    ):
        session.post(url, data=b"spans", timeout=30)
