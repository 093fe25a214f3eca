"""Answers that are written to a connection without a request behind them."""

from collections.abc import Iterable
from http import HTTPStatus

Fields = Iterable[tuple[bytes, bytes]]


def closing_answer(status: int, fields: Fields, body: bytes) -> bytes:
    """Return the whole answer to what was no request, or none yet; the connection closes after it."""
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    return line + _lines([*fields, (b"connection", b"close")]) + b"\r\n" + body


def shed_answer(fields: Fields, rest: bytes, *, keeps: bool) -> bytes:
    """Return the whole answer of a full queue.

    Args:
        fields: that the server adds to every answer.
        rest: what `Shedding` made.
        keeps: whether the connection stays open.
    """
    close = b"" if keeps else b"connection: close\r\n"
    return b"HTTP/1.1 503 Service Unavailable\r\n" + _lines(fields) + close + rest


def _lines(fields: Fields) -> bytes:
    return b"".join([b"%s: %s\r\n" % field for field in fields])


class Shed:
    """In the place of a request that was refused before it became one: what uvicorn reads of the last request."""

    response_complete = True
    response_started = True
    disconnected = False
    keep_alive = True
    body = b""

    @property
    def message_event(self) -> "Shed":
        return self

    def set(self) -> None:
        """Wake nobody."""


SHED = Shed()
