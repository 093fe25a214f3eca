"""Answers without a request: bytes that Python's own HTTP client reads as RFC 9112 says."""

import http.client
import socket

import pytest

from service.processes.answers import SHED, closing_answer, shed_answer

FIELDS = [(b"server", b"foveal"), (b"content-length", b"5")]


def read(sent: bytes) -> http.client.HTTPResponse:
    """Return what a client reads of a connection that sends these bytes and closes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(ours)
        answer.begin()
        return answer


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "Bad Request"), (408, "Request Timeout"), (431, "Request Header Fields Too Large")],
)
def test_a_closing_answer_is_whole_and_says_that_it_closes(status: int, reason: str) -> None:
    sent = closing_answer(status, iter(FIELDS), b"hello")
    answer = read(sent)
    assert (answer.version, answer.status, answer.reason) == (11, status, reason)
    assert answer.getheaders() == [
        ("server", "foveal"),
        ("content-length", "5"),
        ("connection", "close"),
    ]
    assert sent.endswith(b"\r\n\r\nhello")


def test_an_answer_without_fields_is_one_too() -> None:
    sent = closing_answer(400, [], b"")
    assert sent == b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("keeps", [True, False])
def test_a_full_queue_answers_with_503_and_says_whether_the_connection_stays(
    *, keeps: bool
) -> None:
    sent = shed_answer([(b"date", b"now")], b"content-length: 2\r\n\r\nno", keeps=keeps)
    answer = read(sent)
    assert (answer.status, answer.reason) == (503, "Service Unavailable")
    close = [] if keeps else [("connection", "close")]
    assert answer.getheaders() == [("date", "now"), *close, ("content-length", "2")]
    assert answer.will_close is not keeps
    assert sent.endswith(b"\r\n\r\nno")


def test_what_was_shed_is_a_request_that_is_answered_and_keeps_its_connection() -> None:
    assert SHED.response_started
    assert SHED.response_complete
    assert not SHED.disconnected
    assert SHED.keep_alive
    assert SHED.body == b""
    assert SHED.message_event is SHED
    SHED.message_event.set()
