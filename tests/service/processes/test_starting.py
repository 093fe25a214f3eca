"""The answers before there is a service, on a real socket."""

import socket
import threading
from contextlib import ExitStack

import httpx
import pytest

from service.processes.server import listen
from service.processes.starting import (
    MOST_CONNECTIONS,
    PATIENCE_SECONDS,
    answers_while_starting,
)

pytestmark = pytest.mark.timeout(120)

CLIENT_SECONDS = 60.0


def test_the_process_is_alive_and_says_why_it_is_not_ready() -> None:
    with listen("127.0.0.1", 0) as listener:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with answers_while_starting(listener, "the models are fetched"):
            live = httpx.get(f"{base}/health/live", timeout=CLIENT_SECONDS)
            ready = httpx.get(f"{base}/health/ready", timeout=CLIENT_SECONDS)
            head = httpx.head(f"{base}/health/ready", timeout=CLIENT_SECONDS)
            other = httpx.post(
                f"{base}/v1/classify?model=a", content=b"x" * 100_000, timeout=CLIENT_SECONDS
            )

    assert (live.status_code, live.json()) == (200, {"status": "alive"})
    assert ready.status_code == head.status_code == 503
    assert ready.json() == {"status": "not ready", "reasons": ["the models are fetched"]}
    assert (other.status_code, other.json()["code"]) == (503, "not_ready")
    assert other.headers["Retry-After"] == "5"


def test_a_length_of_thousands_of_digits_is_answered_too() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        answers_while_starting(listener, "the models are fetched"),
        socket.create_connection(listener.getsockname()) as client,
    ):
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n" % (b"9" * 5000))
        client.shutdown(socket.SHUT_WR)
        assert b" 503 " in client.recv(1024).partition(b"\r\n")[0]


def test_connections_that_say_nothing_are_bounded_and_a_probe_is_answered_beside_them() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        answers_while_starting(listener, "the models are fetched"),
        ExitStack() as stack,
    ):
        address = listener.getsockname()
        before = threading.active_count()
        silent = [
            stack.enter_context(socket.create_connection(address))
            for _ in range(2 * MOST_CONNECTIONS)
        ]
        for one in silent:
            one.sendall(b"GET /health/live")  # and never the rest
        live = httpx.get(f"http://{address[0]}:{address[1]}/health/live", timeout=CLIENT_SECONDS)
        assert live.status_code == 200
        for one in silent[:MOST_CONNECTIONS]:
            one.settimeout(PATIENCE_SECONDS / 2)  # by then they would not end by themselves
            assert ends(one)
        assert threading.active_count() <= before + MOST_CONNECTIONS + 1


def ends(client: socket.socket) -> bool:
    try:
        return not client.recv(1)
    except ConnectionResetError:
        return True


def test_what_connects_afterwards_waits_for_the_service() -> None:
    with listen("127.0.0.1", 0) as listener:
        with answers_while_starting(listener, "the models are fetched"):
            silent = socket.create_connection(listener.getsockname())
        with silent, socket.create_connection(listener.getsockname()) as later:
            listener.settimeout(CLIENT_SECONDS)
            accepted, address = listener.accept()
            if address == silent.getsockname():  # it came when nobody accepted any more
                accepted.close()
                accepted, address = listener.accept()
            with accepted:
                later.sendall(b"for the service")
                assert accepted.recv(15) == b"for the service"
