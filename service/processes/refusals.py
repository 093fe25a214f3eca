"""Why a connection refuses what its client sends, before it is a request."""

import httptools

from service.errors import (
    FovealError,
    HeadTimeoutError,
    HeadTooLargeError,
    MalformedHttpError,
    OverloadedError,
)


def head_too_large(limit_bytes: int) -> HeadTooLargeError:
    """Return the error of a head, or of the frame of a body, that is longer than this."""
    return HeadTooLargeError(
        f"The request line and the headers, or the frame of a chunked body, have more than {limit_bytes} bytes. "
        "Send fewer or shorter headers."
    )


def head_too_late(limit_seconds: float) -> HeadTimeoutError:
    """Return the error of a head that did not end within this time."""
    return HeadTimeoutError(
        f"The head of the request did not end within {limit_seconds:g} s of its first byte. Send it at once."
    )


def too_many_connections(limit: int) -> OverloadedError:
    """Return the error of a connection for which there is no place."""
    return OverloadedError(
        f"{limit} connections are open, all that are allowed. Try again in a moment."
    )


def not_http(error: httptools.HttpParserError) -> MalformedHttpError:
    """Return the error of bytes that the parser does not understand."""
    reason = "" if isinstance(error, httptools.HttpParserCallbackError) else f": {error}"
    return MalformedHttpError(
        f"The bytes are not an HTTP/1.1 request{reason}. Send plain HTTP/1.1 to this port."
    )


def refusal_of(error: httptools.HttpParserError) -> FovealError:
    """Return why a request is refused: as one of the connection's callbacks says, or the parser."""
    ours = error.__context__
    return ours if isinstance(ours, FovealError) else not_http(error)
