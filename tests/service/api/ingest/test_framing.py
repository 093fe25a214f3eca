"""A body at its boundaries: what RFC 2046 allows around them, and what bounds the work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ingest.framing import (
    HEADER_BYTES,
    MOST_LOOKALIKES,
    PADDING_BYTES,
    PREAMBLE_BYTES,
    Headers,
    PartReader,
)
from service.errors import MalformedMultipartError

Part = tuple[Headers, bytes]


class Parts:
    def __init__(self) -> None:
        self.read: list[Part] = []
        self.open = False

    def begin(self, headers: Headers) -> None:
        self.read.append((headers, b""))
        self.open = True

    def content(self, piece: bytes) -> None:
        assert piece
        headers, before = self.read[-1]
        self.read[-1] = (headers, before + piece)

    def end(self) -> None:
        assert self.open
        self.open = False


def parts_of(body: bytes, size: int = 2**30, boundary: bytes = b"b") -> list[Part]:
    parts = Parts()
    reader = PartReader(boundary, parts)
    for start in range(0, len(body), size):
        reader.write(body[start : start + size])
    assert reader.ended
    assert not parts.open
    return parts.read


SIZES = pytest.mark.parametrize("size", [1, 2, 3, 7, 2**30])


@SIZES
@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\nA: x\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
        b"--b\r\nA: x\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--",
        b"\r\n--b\r\nA: x\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
        b"preamble\r\n of --b\r\n--b\r\nA: x\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\nepilogue\r\n--b\r\n\r\n",
        b"--b \t \r\nA: x\r\n\r\none\r\n--b\t\r\n\r\ntwo\r\n--b-- \r\n",
        b"--b\r\nA: \t x \r\n\r\none\r\n--b" + b" " * PADDING_BYTES + b"\r\n\r\ntwo\r\n--b--",
        b"--b\nA: x\n\none\n--b \n\ntwo\n--b--\n",
        b"preamble\n--b\nA: x\n\none\n--b\n\ntwo\n--b--epilogue",
    ],
)
def test_parts_whatever_stands_around_them(body: bytes, size: int) -> None:
    assert parts_of(body, size) == [([(b"a", b"x")], b"one"), ([], b"two")]


@SIZES
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"\r\n--",
        b"\r\n--c",
        b"\r\n--bc\r\n",
        b"\n--b\r\n",
        b"--b\r\n",
        b"\r\n--b-",
        b"\r\n--b \tx",
        b"\r\r\n-",
    ],
)
def test_content_that_resembles_a_boundary_stays_content(content: bytes, size: int) -> None:
    assert parts_of(b"--b\r\n\r\n" + content + b"\r\n--b--", size) == [([], content)]


@given(st.lists(st.binary(max_size=60), max_size=4), st.integers(1, 30))
def test_any_content_comes_back(contents: list[bytes], size: int) -> None:
    body = b"".join(b"--bound\r\n\r\n%s\r\n" % content for content in contents) + b"--bound--\r\n"
    assert parts_of(body, size, b"bound") == [([], content) for content in contents]


@SIZES
def test_a_header_may_go_on_in_lines_that_begin_with_a_blank(size: int) -> None:
    body = b"--b\r\nA: x;\r\n\ty;\r\n  z\r\nB : u\r\n\r\n\r\n--b--"
    assert parts_of(body, size) == [([(b"a", b"x; y; z"), (b"b", b"u")], b"")]


@pytest.mark.parametrize("line", [b"no colon", b": no name", b"a b: c", b"A\0: x"])
def test_a_line_that_is_no_header_is_an_error(line: bytes) -> None:
    with pytest.raises(MalformedMultipartError, match="names no header"):
        parts_of(b"--b\r\n" + line + b"\r\n\r\n\r\n--b--")


@pytest.mark.parametrize("size", [1000, 2**30])
def test_headers_without_end_are_an_error(size: int) -> None:
    fits = b"A: " + b"x" * (HEADER_BYTES - 7)
    assert len(parts_of(b"--b\r\n" + fits + b"\r\n\r\n\r\n--b--", size)) == 1
    with pytest.raises(MalformedMultipartError, match="more than 16384 bytes"):
        parts_of(b"--b\r\n" + fits + b"x\r\n\r\n\r\n--b--", size)


@pytest.mark.parametrize("size", [1000, 2**30])
def test_a_preamble_without_end_is_an_error(size: int) -> None:
    end = b"\r\n--b\r\n\r\n\r\n--b--"
    assert parts_of(b"p" * (PREAMBLE_BYTES - 1) + end, size) == [([], b"")]
    with pytest.raises(MalformedMultipartError, match="no line of the body is the boundary --b "):
        parts_of(b"p" * (PREAMBLE_BYTES + 1) + end, size)


def test_content_full_of_lookalikes_is_an_error() -> None:
    lines = b"\r\n--bx" * MOST_LOOKALIKES
    assert parts_of(b"--b\r\n\r\n" + lines + b"\r\n--b--") == [([], lines)]
    with pytest.raises(MalformedMultipartError, match="choose a longer one"):
        parts_of(b"--b\r\n\r\n" + lines + b"\r\n--bx\r\n--b--")
