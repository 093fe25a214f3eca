"""A video's body, received and inflated while the work on it already runs; the work ends when the client leaves."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, closing

from fastapi import Request

from service.api.ingest.arriving import ArrivingBodies, ArrivingBody
from service.api.ingest.body import next_chunk
from service.api.ingest.encoding import Inflater, content_coding, next_piece
from service.api.ingest.file_memory import FileMemory
from service.api.ingest.growing_file import GrowingFile
from service.api.ingest.kind import HEAD_BYTES, URLENCODED, not_a_video, stripped_by_curl
from service.api.ingest.multipart import FormReader, is_form
from service.api.ingest.pace import Pace
from service.api.record import RequestRecord, announced_bytes, single_header_of
from service.body_memory import BodyPlace
from service.errors import (
    BodyTooLargeError,
    ClientLeftError,
    DeadlineError,
    EmptyBodyError,
    FovealError,
    MalformedMultipartError,
    TooManyPixelsError,
    UnsupportedVideoError,
    VideoError,
)
from service.video_memory import VideoMemory

_STRIPPED_BYTES = 1 << 16
"""No video has so many first bytes without a zero."""


@asynccontextmanager
async def receiving(
    request: Request,
    record: RequestRecord,
    *,
    limit: int,
    patience_seconds: float,
    arriving: ArrivingBodies,
    memory: VideoMemory,
    least_rate: int = 0,
) -> AsyncIterator[GrowingFile]:
    """Yield the video in a request's body as a file that grows; the body is the video or a form with one file.

    The block is canceled when the client leaves or the body turns out to be wrong, and the error is raised in its
    place; an error that the block raised itself is its cause. A block that ends without an error stays without one. A
    cancellation from outside is passed on.

    Send the last message of the response after the block. Once a response is complete, the server reports a disconnect
    even while the client keeps its connection open.

    Args:
        request: its body must not have been read.
        record: gets the body's size while it grows.
        limit: the largest size in bytes, before and after it is inflated.
        patience_seconds: how long a reader of the file waits for the next byte.
        arriving: what all videos that arrive hold together.
        memory: what all videos may hold; this one waits for `patience_seconds` for its part.
        least_rate: bytes per second that must arrive over each time of `patience_seconds`.

    Raises:
        BodyTooLargeError: it is larger than `limit`, or than the memory has room for, by its announced size or as soon
            as so much has arrived.
        EmptyBodyError: it has no bytes.
        MalformedMultipartError: the form can not be parsed, is cut short, or does not hold exactly one file.
        ClientLeftError: the client closed its connection.
        DeadlineError: it arrived at less than `least_rate`, and what arrived is no video. Else the file ends there.
        OverloadedError: the videos that arrive hold too much together, and this one has cost most; or no memory for it
            was free in time.
        UnsupportedEncodingError, MalformedEncodingError: as `read_body` says.
        UnsupportedVideoError: the block's own, which says more where the first bytes are those of another kind of file.
    """
    place = memory.files.place()
    upload = _Upload(request, record, limit, patience_seconds, memory=memory, place=place)
    pace = Pace(least_rate, patience_seconds)
    # A scope without a time limit, which the receiver ends. A TaskGroup would wrap the block's errors in groups.
    work = asyncio.timeout(None)
    try:
        with closing(place), arriving.counted(place) as body:
            async with _beside(upload.receive(work, body, pace)), work:
                body.on_give_way = lambda: upload.end(body.error(), work)
                yield upload.file
    except (VideoError, TooManyPixelsError) as error:
        reason = upload.take_reason(error)
        if reason is None:
            raise
        raise reason from error
    except Exception as error:
        if upload.failure is None:
            raise
        raise upload.take_failure() from error
    finally:
        upload.file.finish()
        upload.forget()


@asynccontextmanager
async def _beside(coroutine: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine as long as the block."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


class _Upload:
    """Receives one body, then waits for its client to leave; `failure` is why the work on it has to end."""

    def __init__(
        self,
        request: Request,
        record: RequestRecord,
        limit: int,
        patience_seconds: float,
        *,
        memory: VideoMemory,
        place: BodyPlace,
    ) -> None:
        announced = announced_bytes(request)
        content_type = single_header_of(request, b"content-type") or ""
        form = is_form(content_type)
        coding = content_coding(request)
        self.file = GrowingFile(None if form or coding else announced, patience_seconds)
        self.failure: FovealError | None = None
        self.stalled: DeadlineError | None = None
        self._request = request
        self._record = record
        self._limit = limit
        self._content_type = content_type
        self._inflater = Inflater(coding, limit) if coding else None
        self._form = (
            FormReader(content_type, on_data=self.file.feed, example="video.mp4") if form else None
        )
        self._memory = FileMemory(
            memory,
            place,
            size=None if coding else announced,
            most_bytes=limit,
            patience_seconds=patience_seconds,
        )
        self._check(announced or 0)
        memory.require(announced or 0)
        if announced == 0:
            raise _empty()

    def forget(self) -> None:
        """Forget why the work had to end.

        An error refers to the frames that it passes, of which one holds this upload: they would stay, with all images
        in them, until the garbage collector runs.
        """
        self.failure = self.stalled = None

    def take_failure(self) -> FovealError:
        """Return the failure, which there is, and forget it as `forget` does."""
        failure, self.failure = self.failure, None
        assert failure is not None
        return failure

    def take_reason(self, error: VideoError | TooManyPixelsError) -> FovealError | None:
        """Return what explains an error of the reader, and forget it as `forget` does; None: only the error."""
        stalled, self.stalled = self.stalled, None
        if stalled is not None:
            return stalled
        if self.failure is not None:
            return self.take_failure()
        described = self.described(error)
        return None if described is error else described

    def end(self, error: FovealError, work: asyncio.Timeout) -> None:
        """End the file where it is, and the work on it with an error."""
        self.failure = error
        self.file.finish()
        work.reschedule(asyncio.get_running_loop().time())

    async def receive(self, work: asyncio.Timeout, body: ArrivingBody, pace: Pace) -> None:
        """Fill the file; end the work where that fails, or else when the client leaves."""
        try:
            try:
                await self._fill(body, pace)
            except DeadlineError as error:
                self.stalled = error
                self.file.finish()
            finally:
                self._memory.close()
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
            self.end(ClientLeftError("The client closed its connection."), work)
        except FovealError as error:  # in no variable of this frame: the cycle would keep the video
            self.end(error, work)

    async def _fill(self, body: ArrivingBody, pace: Pace) -> None:
        more = True
        while more:
            async with pace.limit():
                chunk, more = await next_chunk(self._request)
            pace.count(len(chunk))
            self._record.body_bytes += len(chunk)
            self._check(self._record.body_bytes)
            before = self.file.size
            await self._inflate(chunk, pace)
            body.add(self.file.size - before)
            self._memory.came(self.file.size)
        if not self._record.body_bytes:
            raise _empty()
        if self._inflater is not None:
            self._inflater.end()
        if self._form is not None:
            self._form.end()
        self._record.received()
        self._memory.complete()
        self.file.finish()

    async def _inflate(self, chunk: bytes, pace: Pace) -> None:
        if self._inflater is None:
            await self._feed(chunk, pace)
            return
        pieces = self._inflater.pieces(chunk)
        while (piece := await next_piece(pieces)) is not None:
            await self._feed(piece, pace)

    async def _feed(self, chunk: bytes, pace: Pace) -> None:
        with pace.apart():
            await self._memory.before(self.file.size + len(chunk))
        if self._form is None:
            self.file.feed(chunk)
            return
        self._form.write(chunk)
        if self._form.files > 1:
            raise MalformedMultipartError("The form holds several files. Send one video a request.")

    def described(self, error: VideoError | TooManyPixelsError) -> FovealError:
        """Return the error, or one that says which other kind of file the body is, or what removed its zeros."""
        reason = None
        if self._content_type.lower().startswith(URLENCODED):
            reason = stripped_by_curl(self.file.head(_STRIPPED_BYTES), self._content_type)
        if reason is None and isinstance(error, UnsupportedVideoError):
            reason = not_a_video(self.file.head(HEAD_BYTES))
        return error if reason is None else UnsupportedVideoError(reason)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BodyTooLargeError(
                f"The video is larger than the {self._limit / 2**20:g} MiB allowed. Send it in parts."
            )


def _empty() -> EmptyBodyError:
    return EmptyBodyError("The request has no body. Send a video: curl --data-binary @video.mp4 …")
