"""A response that is sent while it is made."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import Response
from starlette.types import Receive, Scope, Send

from service.api.errors import problem
from service.api.record import RequestRecord
from service.errors import ClientLeftError, FovealError, forget_frames, told_shortages
from service.whole_call import whole_call

SendPiece = Callable[[bytes], Awaitable[None]]
Work = Callable[[SendPiece], Awaitable[bytes]]
"""Sends pieces of the body while it runs, and returns the last one."""


class StreamedResponse(Response):
    """Begins with the first piece of the body.

    An error before that is a problem with its status; after it, `fail` makes the last piece.

    Args:
        work: makes the body.
        record: of the request.
        media_type: of the body.
        fail: makes the last piece of a body that ends with an error; called on a thread.
        patience_seconds: how long the client may take to read a piece.
    """

    def __init__(
        self,
        work: Work,
        record: RequestRecord,
        *,
        media_type: str,
        fail: Callable[[FovealError], bytes],
        patience_seconds: float,
    ) -> None:
        super().__init__(media_type=media_type)
        self._work = work
        self._record = record
        self._fail = fail
        self._patience_seconds = patience_seconds
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_piece(piece: bytes) -> None:
            await self._send(piece, send)

        try:
            with told_shortages():
                last = await self._work(send_piece)
        except FovealError as error:
            self._record.error_code = error.code
            forget_frames(error)
            if not self._begun:
                await self._refuse(error, scope, receive, send)
                return
            last = await whole_call(self._fail, error)
        await self._begin(send)
        await send({"type": "http.response.body", "body": last})

    async def _send(self, piece: bytes, send: Send) -> None:
        if not piece:
            return
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._begin(send)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise ClientLeftError("The client stopped reading the response.") from error

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            headers = [
                (b"content-type", str(self.media_type).encode()),
                (b"vary", b"Accept"),
                (b"cache-control", b"no-store"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _refuse(self, error: FovealError, scope: Scope, receive: Receive, send: Send) -> None:
        response = problem(error, self._record.request_id)
        response.headers["Connection"] = "close"  # the rest of the body is not read
        await response(scope, receive, send)
