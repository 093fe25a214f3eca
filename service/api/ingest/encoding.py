"""The content encoding of a body: compressed bodies are inflated piece by piece, up to a limit, on a thread."""

import asyncio
import zlib
from collections.abc import Iterator

from fastapi import Request

from service.errors import BodyTooLargeError, MalformedEncodingError, UnsupportedEncodingError

CODINGS = ("gzip", "deflate")
"""What is understood, as `Accept-Encoding` lists it."""

PIECE_BYTES = 256 * 1024
"""So much is inflated in one step."""
SLICE_BYTES = 64 * 1024
"""So much is given to zlib at once, because it copies what a step leaves over."""
MOST_MEMBERS = 10_000
"""A gzip file may consist of several; files made for random access have one for each 64 KiB."""

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def content_coding(request: Request) -> str | None:
    """Return how the request's body is compressed, `gzip` or `deflate`; None where it is not.

    Raises:
        UnsupportedEncodingError: in another way, or twice.
    """
    given = [value for name, value in request.scope["headers"] if name == b"content-encoding"]
    if not given:
        return None
    listed = b",".join(given).decode("latin-1").lower().split(",")
    codings = [name for one in listed if (name := one.strip()) not in {"", "identity"}]
    if not codings:
        return None
    coding = codings[0].removeprefix("x-")
    if len(codings) > 1 or coding not in CODINGS:
        raise UnsupportedEncodingError(
            f"Content-Encoding: {', '.join(codings)[:80]} is not understood. Send the body as it is, or compressed "
            "once with gzip or deflate."
        )
    return coding


class Inflater:
    """Inflates one body. Memory never holds more of it than the limit and one piece.

    Args:
        coding: `gzip`; or `deflate`, which is zlib by the standard (RFC 9110, 8.4.1.2) and raw from some clients.
        limit: the largest inflated size in bytes.
    """

    def __init__(self, coding: str, limit: int) -> None:
        self._coding = coding
        self._limit = limit
        self._size = 0
        self._members = 0
        self._began = b""
        self._stream = zlib.decompressobj(_GZIP) if coding == "gzip" else None
        self._empty = True

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what the next chunk of the body holds, in pieces of at most `PIECE_BYTES`.

        Raises:
            BodyTooLargeError: the inflated body is larger than the limit.
            MalformedEncodingError: the body is not compressed as its header says.
        """
        for start in range(0, len(chunk), SLICE_BYTES):
            yield from self._inflate(self._begin(chunk[start : start + SLICE_BYTES]))

    def end(self) -> None:
        """Check that the body is complete; one without a byte is.

        Raises:
            MalformedEncodingError: it is cut short.
        """
        if self._began or not (self._empty or (self._stream and self._stream.eof)):
            raise self._malformed("it is cut short")

    def _begin(self, data: bytes) -> bytes:
        """Choose between zlib and raw deflate by the first two bytes; return what can be inflated."""
        self._empty = False
        if self._stream is None:
            data, self._began = self._began + data, b""
            if len(data) == 1:
                data, self._began = b"", data
            else:
                self._stream = zlib.decompressobj(_ZLIB if _has_zlib_head(data) else _RAW)
        return data

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        full = False
        while data or full:
            piece, data, full = self._step(data)
            self._size += len(piece)
            if self._size > self._limit:
                raise BodyTooLargeError(
                    f"The body inflates to more than the {self._limit / 2**20:g} MiB allowed. Send a smaller one."
                )
            if piece:
                yield piece

    def _step(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Return a piece, the data that is left for the next step, and whether a step without data gives more."""
        stream = self._stream
        assert stream is not None
        if stream.eof:
            if self._coding == "gzip":
                data = data.lstrip(b"\0")  # what gzip itself allows after a member
            if not data:
                return b"", b"", False
            stream = self._stream = self._next_member()
        room = min(PIECE_BYTES, self._limit - self._size + 1)
        try:
            piece = stream.decompress(data, room)
        except zlib.error as error:
            raise self._malformed(str(error).rpartition(": ")[2]) from error
        if stream.eof:
            return piece, stream.unused_data, False
        return piece, stream.unconsumed_tail, len(piece) == room

    def _next_member(self) -> "zlib._Decompress":
        self._members += 1
        if self._coding != "gzip":
            raise self._malformed("bytes follow its end")
        if self._members >= MOST_MEMBERS:
            raise self._malformed(f"it has more than {MOST_MEMBERS} members")
        return zlib.decompressobj(_GZIP)

    def _malformed(self, why: str) -> MalformedEncodingError:
        return MalformedEncodingError(
            f"The body is not what Content-Encoding: {self._coding} says: {why}. Compress the body, or leave out the "
            "header."
        )


async def next_piece(pieces: Iterator[bytes]) -> bytes | None:
    """Return the next piece, inflated on a thread; None where there are no more."""
    return await asyncio.to_thread(next, pieces, None)


def _has_zlib_head(data: bytes) -> bool:
    """Return whether the first two bytes are those of zlib (RFC 1950): method 8, and a multiple of 31."""
    return data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
