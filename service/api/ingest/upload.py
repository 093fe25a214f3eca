"""A clip's body, received beside the work on it, and the work ended when its client leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from service.api.deps import RequestRecord, announced_bytes
from service.api.ingest.growing_file import GrowingFile
from service.api.ingest.images import FormFiles
from service.errors import (
    BodyTooLargeError,
    ClientLeftError,
    EmptyBodyError,
    FovealError,
    MalformedMultipartError,
)


@asynccontextmanager
async def receiving(
    request: Request, record: RequestRecord, *, limit: int, patience_seconds: float
) -> AsyncIterator[GrowingFile]:
    """Give the clip in a request's body as a file that grows; a raw body, or the one file of a form.

    The block is cancelled, and the reason raised in its stead, when the client leaves or the body can not be had. The
    last message of an answer is sent behind the block: a server calls a client gone that has got all of it.

    Raises:
        BodyTooLargeError: announced or streamed, it has more than `limit` bytes.
        EmptyBodyError, MalformedMultipartError
        ClientLeftError: nobody waits for the answer any more.
    """
    upload = _Upload(request, record, limit, patience_seconds)
    worker = asyncio.current_task()
    assert worker is not None
    receiver = asyncio.create_task(upload.receive(worker.cancel))
    try:
        yield upload.file
    except BaseException as error:
        if upload.reason is None:
            raise
        if isinstance(error, asyncio.CancelledError):
            worker.uncancel()
        raise upload.reason from error
    finally:
        upload.over = True
        upload.file.finish()
        receiver.cancel()
        try:
            await asyncio.wait([receiver])
        except asyncio.CancelledError:
            if upload.reason is None:
                raise
            worker.uncancel()  # the client left as the work was done


class _Upload:
    """Receives one body, then waits for its client to leave; `reason` says why the work has to end."""

    def __init__(
        self, request: Request, record: RequestRecord, limit: int, patience_seconds: float
    ) -> None:
        length = announced_bytes(request)
        content_type = request.headers.get("content-type", "")
        is_form = content_type.startswith("multipart/")
        self.file = GrowingFile(None if is_form else length, patience_seconds)
        self.reason: FovealError | None = None
        self.over = False
        self._request = request
        self._record = record
        self._limit = limit
        self._form = _FormReader(content_type, self.file) if is_form else None
        self._check(length or 0)
        if length == 0:
            raise _empty()

    async def receive(self, end_work: Callable[[], object]) -> None:
        try:
            await self._fill()
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
            self.reason = ClientLeftError("The client closed its connection.")
        except ClientDisconnect:
            self.reason = ClientLeftError("The client closed its connection.")
        except FovealError as error:
            self.reason = error
        self.file.finish()
        if not self.over:
            end_work()

    async def _fill(self) -> None:
        feed = self.file.feed if self._form is None else self._form.write
        async for chunk in self._request.stream():
            self._record.body_bytes += len(chunk)
            self._check(self._record.body_bytes)
            feed(chunk)
        if self._form is not None:
            self._form.end()
        if not self._record.body_bytes:
            raise _empty()
        self.file.finish()

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BodyTooLargeError(
                f"The clip is larger than the {self._limit / 2**20:g} MiB allowed. Send it in parts."
            )


class _FormReader:
    """Passes the one file of a form on while the form is still arriving."""

    def __init__(self, content_type: str, file: GrowingFile) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise MalformedMultipartError(
                "The content type names no boundary. Let your HTTP client build the form."
            )
        self._files = FormFiles(on_data=file.feed)
        self._parser = MultipartParser(boundary, self._files.callbacks())

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedMultipartError(f"The form can not be parsed: {error}") from error
        if self._files.count > 1:
            raise MalformedMultipartError("The form holds several files. Send one clip a request.")

    def end(self) -> None:
        if not self._files.ended:
            raise MalformedMultipartError("The form is cut short: its closing boundary is missing.")
        if not self._files.count:
            raise MalformedMultipartError(
                "The form holds no file. Send one: curl -F file=@clip.mp4 …"
            )


def _empty() -> EmptyBodyError:
    return EmptyBodyError("The request has no body. Send a clip: curl --data-binary @clip.mp4 …")
