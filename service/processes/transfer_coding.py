"""How a body is wrapped on its way: in chunks, or not at all (RFC 9112, 6.1).

The parser takes any coding before `chunked` for one that it need not know, and the coded bytes for the body.
"""

from collections.abc import Sequence

from service.errors import MalformedHttpError, UnsupportedTransferCodingError


def require_chunked(headers: Sequence[tuple[bytes, bytes]], version: str) -> None:
    """Refuse a body whose bytes are wrapped in anything but chunks, or in chunks where its protocol has none.

    Args:
        headers: with their names in lower case.
        version: of HTTP, such as `1.1`.

    Raises:
        MalformedHttpError
        UnsupportedTransferCodingError
    """
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if not codings:
        return
    if version == "1.0":
        raise MalformedHttpError(
            "HTTP/1.0 has no Transfer-Encoding. Send a Content-Length, or HTTP/1.1 (RFC 9112, 6.1)."
        )
    if len(codings) > 1 or codings[0].strip(b" \t").lower() != b"chunked":
        raise UnsupportedTransferCodingError(
            "The only Transfer-Encoding that is understood is one that says chunked. Send that, or a Content-Length; "
            "for a compressed body say so in Content-Encoding."
        )
