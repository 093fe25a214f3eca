import asyncio
import gc
import weakref
from typing import Any

import pytest
from starlette.types import Message

from service.api.record import RequestRecord
from service.api.streaming import SendPiece, StreamedResponse, Work
from service.errors import BrokenVideoError, ClientLeftError, FovealError

pytestmark = pytest.mark.anyio


class Sent:
    """What a server was given to send."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def pieces(self) -> list[bytes]:
        return [one["body"] for one in self.messages[1:]]

    def header(self, name: bytes) -> bytes:
        headers: dict[bytes, bytes] = dict(self.messages[0]["headers"])
        return headers[name]


async def respond(
    work: Work, record: RequestRecord, send: Any, patience_seconds: float = 10
) -> None:
    def fail(error: FovealError) -> bytes:
        return f"failed: {error}".encode()

    response = StreamedResponse(
        work, record, media_type="text/x", fail=fail, patience_seconds=patience_seconds
    )

    async def receive() -> Message:
        raise AssertionError("the response does not read the body")

    await response({"type": "http"}, receive, send)


async def test_pieces_are_sent_as_they_come_and_the_last_one_ends_the_body() -> None:
    async def work(send: SendPiece) -> bytes:
        await send(b"one")
        await send(b"")
        await send(b"two")
        return b"end"

    sent = Sent()
    await respond(work, RequestRecord("id"), sent)
    assert (sent.status, sent.header(b"content-type"), sent.pieces) == (
        200, b"text/x", [b"one", b"two", b"end"],
    )  # fmt: skip
    assert [one.get("more_body", False) for one in sent.messages[1:]] == [True, True, False]


async def test_an_error_before_the_first_piece_is_a_problem_with_its_status() -> None:
    async def work(_: SendPiece) -> bytes:
        raise BrokenVideoError("no frame")

    sent, record = Sent(), RequestRecord("id")
    await respond(work, record, sent)
    assert (sent.status, record.error_code) == (422, "broken_video")
    assert sent.header(b"content-type") == b"application/problem+json"
    assert sent.header(b"connection") == b"close"


async def test_an_error_after_it_is_the_last_piece() -> None:
    async def work(send: SendPiece) -> bytes:
        await send(b"one")
        raise BrokenVideoError("cut")

    sent, record = Sent(), RequestRecord("id")
    await respond(work, record, sent)
    assert (sent.status, sent.pieces, record.error_code) == (
        200, [b"one", b"failed: cut"], "broken_video",
    )  # fmt: skip


@pytest.mark.parametrize("shortage", [MemoryError(), RuntimeError("can't start new thread")])
async def test_a_shortage_passes_and_is_no_fault(shortage: Exception) -> None:
    async def at_once(_: SendPiece) -> bytes:
        raise shortage

    async def later(send: SendPiece) -> bytes:
        await send(b"one")
        raise shortage

    sent, record = Sent(), RequestRecord("id")
    await respond(at_once, record, sent)
    assert (sent.status, record.error_code) == (503, "unavailable")
    assert sent.header(b"retry-after")

    sent, record = Sent(), RequestRecord("id")
    await respond(later, record, sent)
    assert sent.status == 200
    assert sent.pieces[1].startswith(b"failed: There is not enough memory")
    assert record.error_code == "unavailable"


async def test_nothing_is_kept_of_work_that_found_no_memory() -> None:
    held: list[weakref.ref[Sent]] = []

    async def work(_: SendPiece) -> bytes:
        video = Sent()
        held.append(weakref.ref(video))
        raise MemoryError

    gc.disable()
    try:
        await respond(work, RequestRecord("id"), Sent())
        assert held[0]() is None
    finally:
        gc.enable()


async def test_a_fault_is_raised_for_the_log() -> None:
    async def work(_: SendPiece) -> bytes:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        await respond(work, RequestRecord("id"), Sent())


async def test_a_client_that_reads_nothing_for_too_long_has_left() -> None:
    raised: list[BaseException] = []

    async def work(send: SendPiece) -> bytes:
        try:
            await send(b"one")
        except ClientLeftError as error:
            raised.append(error)
            raise
        return b""

    async def stuck(message: Message) -> None:
        if message.get("more_body"):
            await asyncio.Event().wait()

    record = RequestRecord("id")
    await respond(work, record, stuck, patience_seconds=0.01)
    assert len(raised) == 1
    assert record.error_code == "client_left"
