"""How a guard refuses: an ASGI response whose body is a problem of RFC 9457."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from service.api.guards.refusal import refuse
from service.api.record import RECORD_KEY, RequestRecord
from service.errors import BodyTooLargeError, FovealError, OverloadedError, UnauthorizedError

pytestmark = pytest.mark.anyio


async def refused(
    error: FovealError, headers: Sequence[tuple[bytes, bytes]] = ()
) -> tuple[list[dict[str, Any]], RequestRecord]:
    record = RequestRecord("an-id")
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> Any:
        raise AssertionError("nothing of the request is read")

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], RECORD_KEY: record}
    await refuse(error, scope, receive, send, headers)
    return sent, record


async def test_the_answer_is_a_whole_problem_with_the_id_of_its_request() -> None:
    (start, body), record = await refused(UnauthorizedError("Send a key."))
    assert (start["type"], start["status"]) == ("http.response.start", 401)
    problem = json.loads(body["body"])
    assert problem["code"] == "unauthorized"
    assert problem["detail"] == "Send a key."
    assert (problem["status"], problem["request_id"]) == (401, "an-id")
    assert dict(start["headers"])[b"content-type"] == b"application/problem+json"
    assert int(dict(start["headers"])[b"content-length"]) == len(body["body"])
    assert not body.get("more_body", False)
    assert record.error_code == "unauthorized", "for the metrics and the log"


async def test_headers_of_the_guard_come_behind_those_of_the_error() -> None:
    added = [(b"www-authenticate", b"Bearer"), (b"www-authenticate", b"Basic")]
    (start, _), _ = await refused(OverloadedError("Full."), added)
    assert start["headers"][-2:] == added
    assert dict(start["headers"])[b"retry-after"].isdigit()
    (start, _), _ = await refused(BodyTooLargeError("Too large."))
    assert dict(start["headers"])[b"connection"] == b"close"
