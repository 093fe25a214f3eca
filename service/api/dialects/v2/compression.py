"""The content encoding of an answer: gzip or deflate, where the request's `Accept-Encoding` wants one."""

import zlib

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_FASTEST = 1


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


def compress(body: bytes, coding: str) -> bytes:
    """Return the body compressed."""
    stream = zlib.compressobj(_FASTEST, wbits=_WINDOW[coding])
    return stream.compress(body) + stream.flush()
