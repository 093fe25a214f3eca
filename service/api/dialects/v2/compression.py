"""The content encoding of an answer: gzip or deflate, where the request's `Accept-Encoding` wants one."""

import zlib
from collections.abc import Callable

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_FASTEST = 1
PIECE_BYTES = 4 * 2**20
"""So much is compressed in one step."""


def wanted_coding(accept: str) -> str | None:
    """Return `gzip` or `deflate`, whichever is preferred; None where neither is wanted."""
    best, most = None, 0.0
    for part in accept.split(","):
        name, _, parameter = part.strip().lower().partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        if name.strip() in _WINDOW and quality > most:
            best, most = name.strip(), quality
    return best


def compress(body: bytes, coding: str, in_time: Callable[[], None] = lambda: None) -> bytes:
    """Return the body compressed; `in_time` is called between two steps, and raises where the answer is too late."""
    stream = zlib.compressobj(_FASTEST, wbits=_WINDOW[coding])
    pieces = []
    for start in range(0, len(body), PIECE_BYTES):
        in_time()
        pieces.append(stream.compress(memoryview(body)[start : start + PIECE_BYTES]))
    return b"".join([*pieces, stream.flush()])
