"""A request that asks for another protocol, such as HTTP/2 in plain text, is served as HTTP/1.1 (RFC 9110, 7.8).

Its parser stops behind the head and takes what follows for the other protocol. So its body, and the requests after it,
go to a new parser. Java's HTTP client asks for HTTP/2 with each of its requests, with and without a body.
"""

from typing import Protocol

import httptools

_FRAMING = (b"content-length", b"transfer-encoding")


class Callbacks(Protocol):
    """What a parser calls."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


def framing_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the lines of a head that say how long its body is; nothing where there is no body."""
    return b"".join([b"%s: %s\r\n" % one for one in headers if one[0] in _FRAMING])


def parser_behind(framing: bytes, callbacks: Callbacks) -> httptools.HttpRequestParser:
    """Return a parser for what comes behind the head of such a request.

    Args:
        framing: the lines of that head that say how long the body is.
        callbacks: what it calls.

    Raises:
        httptools.HttpParserError: the lines do not say how long the body is.
    """
    parser = httptools.HttpRequestParser(_Rest(callbacks) if framing else callbacks)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
    if framing:
        parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
    return parser


class _Rest:
    """Keeps from a connection the head that only says how long the body is."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._is_behind = False
        self.on_body = callbacks.on_body

    def on_message_begin(self) -> None:
        if self._is_behind:
            self._callbacks.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._is_behind:
            self._callbacks.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_behind:
            self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_behind:
            self._callbacks.on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_behind = True
        self._callbacks.on_message_complete()
