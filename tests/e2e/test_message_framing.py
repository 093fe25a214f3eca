"""Where a body ends must be the same for every program that reads a request: what is not, is refused.

Each request of the tables carries a second one behind it. A refused one closes the connection, so that nothing of it is
taken for a request; an answered one is followed by exactly the answer of the second (RFC 9110, RFC 9112).
"""

from collections.abc import Iterator

import pytest

from tests.exchanges import exchange
from tests.images import plain
from tests.live import Live, serve
from tests.servables import write_servable

IMAGE = plain("red")
SIZE = len(IMAGE)
LENGTH = b"Content-Length: %d" % SIZE
TE = b"Transfer-Encoding: "
CHUNKED = TE + b"chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (SIZE, IMAGE)
UPGRADE = b"Connection: upgrade\r\nUpgrade: h2c"
LAST = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(*lines: bytes, body: bytes = IMAGE, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((b"POST /v1/classify HTTP/" + version, b"Host: x", *lines, b"", body))


def in_chunks(body: bytes) -> bytes:
    return post(CHUNKED, body=body)


REFUSED = {
    **{
        f"Content-Length: {value.decode('latin1')!r}": post(b"Content-Length: " + value)
        for value in (
            *(b"+%d" % SIZE, b"-%d" % SIZE, b"%d,%d" % (SIZE, SIZE), b"%d, 6" % SIZE),
            *(b"0x%x" % SIZE, b"1_0", b"1 0", b"", b"1e2", b"\x0b%d" % SIZE, b"9" * 30),
            b"\xd9\xa5",  # an Arabic five
        )
    },
    "two lengths that are the same": post(LENGTH, LENGTH),
    "two lengths": post(LENGTH, b"Content-Length: 5"),
    "a length beside chunks": post(LENGTH, CHUNKED, body=CHUNKS),
    "chunks beside a length": post(CHUNKED, LENGTH, body=CHUNKS),
    "chunks in HTTP/1.0": post(CHUNKED, body=CHUNKS, version=b"1.0"),
    "chunks and a length in HTTP/1.0": post(CHUNKED, LENGTH, body=CHUNKS, version=b"1.0"),
    **{
        f"Transfer-Encoding: {value.decode()!r}": post(TE + value, body=CHUNKS)
        for value in (b"chunked, gzip", b"chunked, identity", b"chunked, chunked", b"chunked,", b"")
    },
    "chunks on two lines": post(CHUNKED, CHUNKED, body=CHUNKS),
    "another coding behind chunks": post(CHUNKED, TE + b"gzip", body=CHUNKS),
    "a space before a colon": post(b"Content-Length : %d" % SIZE),
    "a space before the colon of chunks": post(b"Transfer-Encoding : chunked", body=CHUNKS),
    "a tab before a colon": post(b"Content-Length\t: %d" % SIZE),
    "a folded header": post(b"X: a\r\n b", LENGTH),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked", body=CHUNKS),
    "a folded request line": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: x\n\n",
    "one bare line feed": post(b"X: y\nZ: z", LENGTH),
    "a bare line feed at the end": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "a bare carriage return": post(b"X: y\rZ: z", LENGTH),
    "two carriage returns": post(b"X: y\r", LENGTH),
    "a NUL in a value": post(b"X: a\0b", LENGTH),
    "a NUL in a name": post(b"X\0: a", LENGTH),
    "a control character": post(b"X: a\x01b", LENGTH),
    "no name": post(b": a", LENGTH),
    "no colon": post(b"Host", LENGTH),
    "a name that is none": post(b"X(y): a", LENGTH),
    **{
        f"a chunk of size {size.decode('latin1')!r}": in_chunks(
            size + b"\r\n" + IMAGE + b"\r\n0\r\n\r\n"
        )
        for size in (
            *(b"+%x" % SIZE, b"-%x" % SIZE, b"0x%x" % SIZE, b"0_%x" % SIZE, b"%x " % SIZE),
            *(
                b" %x" % SIZE,
                b"",
                b"G",
                b"f" * 17,
                b"%x;a\nb" % SIZE,
                b"%x;a\rb" % SIZE,
                b"%x;\0" % SIZE,
            ),
        )
    },
    "a size that ends with a line feed": in_chunks(b"%x\n%s\r\n0\r\n\r\n" % (SIZE, IMAGE)),
    "a chunk that ends with a line feed": in_chunks(b"%x\r\n%s\n0\r\n\r\n" % (SIZE, IMAGE)),
    "a chunk that is longer than its size": in_chunks(b"%x\r\n%sXX0\r\n\r\n" % (SIZE, IMAGE)),
    "chunks that end with line feeds": in_chunks(b"%x\r\n%s\r\n0\n\n" % (SIZE, IMAGE)),
    **{
        f"a trailer {line.decode('latin1')!r}": in_chunks(CHUNKS[:-2] + line + b"\r\n\r\n")
        for line in (LENGTH, CHUNKED, b"X: y\r\n z", b"X: y\0")
    },
    **{
        f"a request line {line.decode('latin1')!r}": line + b"\r\nHost: x\r\n\r\n"
        for line in (
            *(
                b"hello",
                b"GET / HTTP/9.9",
                b"GET /health/live",
                b"PRI * HTTP/2.0",
                b"GET / HTTP/1.2",
            ),
            *(
                b"GET / HTTP/1.10",
                b"GET / HTTP/01.1",
                b"get / HTTP/1.1",
                b"FOO / HTTP/1.1",
                b"GET\t/ HTTP/1.1",
            ),
            *(
                b"GET /a\x01 HTTP/1.1",
                b"GET /\xff HTTP/1.1",
                b"CONNECT x:80 HTTP/1.1",
                b"GET / HTTP/1.1 x",
            ),
        )
    },
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "a length beside chunks for another protocol": post(UPGRADE, CHUNKED, LENGTH, body=CHUNKS),
    "a length with a sign for another protocol": post(UPGRADE, b"Content-Length: +%d" % SIZE),
    "two lengths for another protocol": post(UPGRADE, LENGTH, b"Content-Length: 5"),
}

OTHER_CODINGS = (
    *(b"gzip, chunked", b"gzip", b"identity", b"identity, chunked"),
    *(b"xchunked", b"chunkedx", b'"chunked"', b"chunked;a=b", b",chunked"),
)

ANSWERED = {
    "a length": post(LENGTH),
    "a length that begins with zeros": post(b"Content-Length: 000%d" % SIZE),
    "chunks": in_chunks(CHUNKS),
    "chunks in capitals": post(TE + b"\tCHUNKED ", body=CHUNKS),
    "a size that begins with zeros": in_chunks(b"0" * 40 + CHUNKS),
    "the extension of a chunk": in_chunks(b'%x;a="b;c"\r\n%s\r\n0;d\r\n\r\n' % (SIZE, IMAGE)),
    "a trailer": in_chunks(CHUNKS[:-2] + b"X: y\r\n\r\n"),
    "a header that only looks like a length": post(b"Content_Length: 3", LENGTH),
    "bytes above ASCII in a value": post(b"X: \xff\xfe", LENGTH),
    "empty lines before the request": b"\r\n\r\n" + post(LENGTH),
    "chunks for another protocol": post(UPGRADE, CHUNKED, body=CHUNKS),
    "an expectation that nobody knows": post(b"Expect: 200-ok", LENGTH),
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    models = tmp_path_factory.mktemp("models")
    write_servable(models)
    with serve(models=models) as service:
        yield service


@pytest.mark.parametrize("what", REFUSED)
def test_what_two_programs_may_read_differently_is_refused_and_nothing_behind_it_is_read(
    live: Live, what: str
) -> None:
    before = live.sample("foveal_errors_total", code="malformed_http")
    (answer,) = exchange(live.address, [REFUSED[what] + LAST])
    assert "HTTP/1" in answer.problem(400, "malformed_http")
    assert live.sample("foveal_errors_total", code="malformed_http") == before + 1


@pytest.mark.parametrize("extra", [b"", UPGRADE], ids=["plain", "upgrade"])
@pytest.mark.parametrize("coding", OTHER_CODINGS, ids=repr)
def test_a_coding_that_is_not_understood_is_refused(
    live: Live, coding: bytes, extra: bytes
) -> None:
    lines = [extra] if extra else []
    (answer,) = exchange(live.address, [post(*lines, TE + coding, body=CHUNKS) + LAST])
    assert "Content-Encoding" in answer.problem(501, "unsupported_transfer_coding")


def test_a_coding_on_a_line_before_the_chunks_is_refused(live: Live) -> None:
    (answer,) = exchange(live.address, [post(TE + b"gzip", CHUNKED, body=CHUNKS) + LAST])
    answer.problem(501, "unsupported_transfer_coding")


@pytest.mark.parametrize("what", ANSWERED)
def test_what_is_clear_is_answered_and_so_is_the_request_behind_it(live: Live, what: str) -> None:
    image, after = exchange(live.address, [ANSWERED[what] + LAST])
    assert (image.status, after.status) == (200, 200)
    assert b'"label":"red"' in image.body
    assert after.body == b'{"status":"alive"}'
