"""Compressed bodies: what `gzip` and `zlib` wrote comes back, in bounded pieces, and a bomb ends at the limit."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ingest.encoding import MOST_MEMBERS, PIECE_BYTES, Inflater, content_coding
from service.errors import BodyTooLargeError, MalformedEncodingError, UnsupportedEncodingError
from tests.service.api.client import Client

LIMIT = 2**22


def raw(content: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(content) + deflate.flush()


WRITERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw": ("deflate", raw),
}


def inflate(coding: str, body: bytes, limit: int = LIMIT, size: int = 2**30) -> bytes:
    inflater = Inflater(coding, limit)
    pieces: list[bytes] = []
    for start in range(0, len(body), size):
        pieces += inflater.pieces(body[start : start + size])
    inflater.end()
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("how", WRITERS)
@given(content=st.binary(max_size=999), size=st.integers(1, 40))
def test_a_body_comes_back_in_chunks_of_any_size(how: str, content: bytes, size: int) -> None:
    coding, compress = WRITERS[how]
    assert inflate(coding, compress(content), size=size) == content


@pytest.mark.parametrize("how", WRITERS)
def test_the_limit_holds_to_the_byte(how: str) -> None:
    coding, compress = WRITERS[how]
    assert inflate(coding, compress(bytes(LIMIT))) == bytes(LIMIT)
    with pytest.raises(BodyTooLargeError, match="inflates to more than the 4 MiB allowed"):
        inflate(coding, compress(bytes(LIMIT + 1)))


def test_a_bomb_is_inflated_no_further_than_the_limit() -> None:
    inflater, size = Inflater("gzip", LIMIT), 0
    pieces = inflater.pieces(gzip.compress(bytes(64 * LIMIT)))
    while size < LIMIT:
        size += len(next(pieces))
    assert size == LIMIT
    with pytest.raises(BodyTooLargeError):
        next(pieces)


def test_a_gzip_file_may_have_several_members_and_zeros_behind_them() -> None:
    assert inflate("gzip", gzip.compress(b"one ") + gzip.compress(b"two") + b"\0\0\0") == b"one two"


def test_members_without_end_are_refused() -> None:
    assert inflate("gzip", gzip.compress(b"") * MOST_MEMBERS) == b""
    with pytest.raises(MalformedEncodingError, match="members"):
        inflate("gzip", gzip.compress(b"") * (MOST_MEMBERS + 1))


@pytest.mark.parametrize(
    ("coding", "body", "message"),
    [
        ("gzip", b"\xff\xd8\xff\xe0 an image", "incorrect header check"),
        ("gzip", gzip.compress(b"image", mtime=0)[:-1], "cut short"),
        ("gzip", gzip.compress(b"image", mtime=0) + b"more", "incorrect header check"),
        ("gzip", gzip.compress(b"image", mtime=0)[:-8] + bytes(8), "incorrect data check"),
        ("deflate", zlib.compress(b"image")[:-1], "cut short"),
        ("deflate", zlib.compress(b"image") + b"more", "bytes follow its end"),
        ("deflate", zlib.compress(b"image") + b"\0", "bytes follow its end"),
        ("deflate", b"\x78", "cut short"),
        ("deflate", b"\xff\xd8\xff\xe0 an image", "invalid block type"),
    ],
)
def test_a_body_that_is_not_what_the_header_says_is_an_error(
    coding: str, body: bytes, message: str
) -> None:
    with pytest.raises(
        MalformedEncodingError, match=f"Content-Encoding: {coding} says: .*{message}"
    ):
        inflate(coding, body)


def test_a_body_without_a_byte_is_complete() -> None:
    assert inflate("gzip", b"") == b""


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "deflate"),
        ("identity", None),
        ("", None),
        ("gzip, identity", "gzip"),
    ],
)
def test_the_header_names_the_coding(header: str, coding: str | None) -> None:
    assert content_coding(Client({"content-encoding": header}).request) == coding
    assert content_coding(Client().request) is None


@pytest.mark.parametrize("header", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "nonsense"])
def test_other_codings_are_an_error_that_names_what_is_understood(header: str) -> None:
    with pytest.raises(UnsupportedEncodingError, match=f"{header} is not .* gzip or deflate"):
        content_coding(Client({"content-encoding": header}).request)
