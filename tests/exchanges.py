"""Bytes over a connection, and what comes back until the server closes it."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self, status: int, code: str) -> str:
        """Assert that this is the problem, and return its detail."""
        content = json.loads(self.body)
        assert (self.status, content["status"], content["code"]) == (status, status, code), content
        assert self.headers["content-type"] == "application/problem+json"
        assert self.headers["x-request-id"] == content["request_id"]
        assert len(content["request_id"]) == 32
        assert self.headers["connection"] == "close"
        assert content["title"]
        detail: str = content["detail"]
        return detail


def parsed(received: bytes) -> list[Answer]:
    """Return the answers in what a connection received, which must hold nothing else."""
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])
        }
        length = int(headers["content-length"])
        assert len(rest) >= length, received
        answers.append(Answer(int(lines[0].split()[1]), headers, rest[:length]))
        received = rest[length:]
    return answers


def exchange(address: tuple[str, int], sent: Iterable[bytes]) -> list[Answer]:
    """Send everything while receiving, until the server closes."""
    received = bytearray()
    with socket.create_connection(address, timeout=30) as connection:

        def receive() -> None:
            with contextlib.suppress(ConnectionError):
                while data := connection.recv(65536):
                    received.extend(data)

        reader = threading.Thread(target=receive)
        reader.start()
        with contextlib.suppress(ConnectionError):  # the server has closed it
            for part in sent:
                connection.sendall(part)
        reader.join(30)
        assert not reader.is_alive(), "the server did not close the connection"
    return parsed(bytes(received))
