"""What stands around Ray Serve's proxy, before proxies that lose requests."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.cluster import resending
from service.cluster.resending import Resending

pytestmark = pytest.mark.anyio

PARTS = (
    {"type": "http.request", "body": b"ab", "more_body": True},
    {"type": "http.request", "body": b"cd", "more_body": False},
)
OK = {"type": "http.response.start", "status": 200, "headers": []}
OURS = {"type": "http.response.start", "status": 500, "headers": [(b"Server-Timing", b"total")]}
NOT_OURS = {
    "type": "http.response.start",
    "status": 500,
    "headers": [(b"x-request-id", b"theirs")],
}
END = {"type": "http.response.body", "body": b"end"}


class Proxy:
    """Answers each attempt as given, after it has read the body; nothing: the replica died."""

    def __init__(self, *attempts: Sequence[Message]) -> None:
        self._attempts = list(attempts)
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"]
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        for message in self._attempts.pop(0):
            await send(message)


async def ask(
    proxy: Proxy,
    *,
    method: str = "POST",
    path: str = "/v1/classify",
    parts: Sequence[Message] = PARTS,
) -> list[Message]:
    around = Resending(proxy, pauses_seconds=(0, 0, 0))
    return await ask_through(around, parts, method=method, path=path)


async def ask_through(
    around: Resending,
    parts: Sequence[Message],
    *,
    method: str = "POST",
    path: str = "/v1/classify",
) -> list[Message]:
    sent: list[Message] = []
    left = list(parts)

    async def receive() -> Message:
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path}
    await around(scope, receive, send)
    return sent


def given_up(sent: Sequence[Message]) -> dict[str, Any]:
    """Return the problem that was sent where a request was given up."""
    begin, body = sent
    headers = dict(begin["headers"])
    assert (begin["status"], headers[b"content-type"]) == (500, b"application/problem+json")
    assert b"retry-after" not in headers
    found: dict[str, Any] = json.loads(body["body"])
    assert found["code"] == "replica_died"
    return found


@pytest.mark.parametrize("lost", [(), (NOT_OURS, END)])
async def test_a_request_that_was_lost_is_sent_again_with_its_whole_body(
    lost: Sequence[Message],
) -> None:
    proxy = Proxy(lost, lost, (OK, END))
    assert await ask(proxy) == [OK, END]
    assert proxy.bodies == [b"abcd"] * 3


async def test_what_the_service_itself_answers_is_passed_on() -> None:
    proxy = Proxy((OURS, END))
    assert await ask(proxy) == [OURS, END]


async def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    proxy = Proxy((OK,))
    assert await ask(proxy) == [OK]
    assert len(proxy.bodies) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/models/a/versions/2"),
        ("DELETE", "/v1/models/a/versions/2"),
        ("POST", "/v1/admin/reload"),
    ],
)
async def test_what_changes_the_models_is_sent_once(method: str, path: str) -> None:
    proxy = Proxy((NOT_OURS, END))
    assert "sent once" in given_up(await ask(proxy, method=method, path=path))["detail"]
    assert proxy.bodies == [b"abcd"]


async def test_a_load_of_v2_is_sent_once_and_its_index_again() -> None:
    proxy = Proxy((NOT_OURS, END))
    _, body = await ask(proxy, path="/v2/repository/models/a/load")
    assert "sent once" in json.loads(body["body"])["error"]
    assert proxy.bodies == [b"abcd"]
    asked_again = Proxy((NOT_OURS, END), (OK, END))
    assert await ask(asked_again, path="/v2/repository/index") == [OK, END]


@pytest.mark.parametrize("lost", [(), (NOT_OURS, END)])
async def test_a_request_that_ends_each_replica_is_given_up_after_three(
    lost: Sequence[Message],
) -> None:
    proxy = Proxy(lost, lost, lost, (OK, END))
    around = Resending(proxy, pauses_seconds=(0,) * len(resending.PAUSES_SECONDS))
    found = given_up(await ask_through(around, PARTS))
    assert "So did 3 in a row" in found["detail"]
    assert (found["request_id"] == "theirs") == bool(lost)
    assert proxy.bodies == [b"abcd"] * 3
    assert around.kept_bytes == 0


async def test_it_is_given_up_in_the_form_of_errors_of_its_path() -> None:
    lost = (NOT_OURS, END)
    sent = await ask(Proxy(lost, lost, lost, lost), path="/v2/models/colors/infer")
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"]).keys() == {"error"}


async def test_a_client_that_left_is_not_asked_again() -> None:
    proxy = Proxy((NOT_OURS, END))
    given_up(await ask(proxy, parts=PARTS[:1]))
    assert proxy.bodies == [b"ab"]


async def test_a_body_that_is_too_large_to_keep_is_sent_once() -> None:
    large = {
        "type": "http.request",
        "body": bytes(resending.MOST_BYTES + 1),
        "more_body": False,
    }
    proxy = Proxy((NOT_OURS, END))
    assert "too large" in given_up(await ask(proxy, parts=[large]))["detail"]
    assert [len(one) for one in proxy.bodies] == [resending.MOST_BYTES + 1]


class Holding:
    """A proxy that answers each request when the test lets it, after it has read the body, or before."""

    def __init__(self, *, answers_first: bool = False) -> None:
        self.read = 0
        self.bodies: list[bytes] = []
        self.let_answer = asyncio.Event()
        self.attempts = 0
        self._answers_first = answers_first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"]
        self.attempts += 1
        if self._answers_first and self.attempts > 1:
            await send(OK)
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        self.read += 1
        if self._answers_first and self.attempts == 1:
            return  # it is lost
        await self.let_answer.wait()
        if not self._answers_first:
            await send(OK)
        await send(END)


async def test_all_bodies_that_are_kept_have_a_bound_together_and_the_rest_is_sent_once() -> None:
    proxy = Holding()
    around = Resending(proxy, (0,), most_kept_bytes=10)
    asking = [
        asyncio.create_task(ask_through(around, [PARTS[0], {**PARTS[1], "body": b"c" * size}]))
        for size in (2, 2, 2, 2)
    ]
    while proxy.read < len(asking):
        await asyncio.sleep(0)
    assert around.kept_bytes == 8, "of the last two nothing is kept but what fits"
    proxy.let_answer.set()
    assert await asyncio.gather(*asking) == [[OK, END]] * 4
    assert around.kept_bytes == 0


async def test_a_body_that_did_not_fit_is_not_sent_again() -> None:
    proxy = Proxy((NOT_OURS, END))
    around = Resending(proxy, (0,), most_kept_bytes=3)
    assert "too large" in given_up(await ask_through(around, PARTS))["detail"]
    assert proxy.bodies == [b"abcd"]
    assert around.kept_bytes == 0


async def test_an_attempt_that_answers_before_it_has_read_still_gets_the_whole_body() -> None:
    proxy = Holding(answers_first=True)
    around = Resending(proxy, (0,), most_kept_bytes=10)
    asking = asyncio.create_task(ask_through(around, PARTS))
    while proxy.read < 2:
        await asyncio.sleep(0)
    assert proxy.bodies == [b"abcd"] * 2
    assert around.kept_bytes == 0, "once it has answered, nothing is kept"
    proxy.let_answer.set()
    assert await asking == [OK, END]


async def test_nothing_is_kept_of_a_request_that_fails() -> None:
    async def failing(_: Scope, receive: Receive, __: Send) -> None:
        await receive()
        raise ConnectionError

    around = Resending(failing, (0,), most_kept_bytes=10)
    with pytest.raises(ConnectionError):
        await ask_through(around, PARTS)
    assert around.kept_bytes == 0


def test_ray_serve_finds_it_by_the_name_in_its_environment() -> None:
    assert [str(one) for one in resending.middlewares()] == ["Middleware(Resending)"]
