"""What a client may send outside a counted body, and how far ahead: all of it is bounded, and answered in order."""

import contextlib
import json
import re
import select
import socket
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import httpx
import pytest

from service.logs import configure_logs, flush_logs
from service.processes.limits import HEAD_BYTES
from tests.exchanges import exchange, parsed
from tests.images import plain
from tests.live import Live, serve, start
from tests.servables import write_servable

MIB = 2**20
LAST = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def repeated(begin: bytes, part: bytes, total: int) -> Iterator[bytes]:
    """Yield `begin`, then `part` until `total` bytes."""
    yield begin
    block = part * (65536 // len(part) or 1)
    for _ in range(total // len(block)):
        yield block


TRAILED = "3\r\nabc\r\n0\r\nX-Request-ID: trailer\r\n\r\n"
CHUNKED = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a header's value": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"a"),
    "a header's name": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a"),
    "tiny headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a:b\r\n"),
    "the target": (b"GET /", b"a"),
    "empty lines before a request": (b"", b"\r\n"),
    "spaces before a value": (b"GET / HTTP/1.1\r\nHost: x\r\nX:", b" "),
    "the extension of a chunk": (CHUNKED + b"1;x=", b"a"),
    "zeros of a chunk's size": (CHUNKED, b"0"),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"a:b\r\n"),
    "a trailer's value": (CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"a"),
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    models = tmp_path_factory.mktemp("models")
    write_servable(models)
    with serve(models=models) as service:
        yield service


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_is_refused_and_the_connection_closed(live: Live, name: str) -> None:
    begin, part = ENDLESS[name]
    answers = exchange(live.address, repeated(begin, part, 4 * MIB))
    if name == "zeros of a chunk's size":  # the parser may find the number too long first
        assert answers[-1].status in {400, 431}
        return
    detail = answers[-1].problem(431, "head_too_large")
    assert str(HEAD_BYTES) in detail
    assert len(answers) == 1


@pytest.mark.parametrize("piece", [1000, HEAD_BYTES + 10])
def test_a_head_of_the_limit_is_answered_and_one_byte_more_is_not(live: Live, piece: int) -> None:
    frame = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: %s\r\n\r\n"
    for more, status in ((0, 200), (1, 431)):
        head = frame % (b"a" * (HEAD_BYTES - len(frame) + 2 + more))
        assert len(head) == HEAD_BYTES + more
        parts = [head[at : at + piece] for at in range(0, len(head), piece)]
        (answer,) = exchange(live.address, parts)
        assert answer.status == status


def test_the_limit_is_for_each_head_and_not_for_the_connection(live: Live) -> None:
    request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 40_000)
    answers = exchange(live.address, [*[request] * 10, LAST])
    assert [answer.status for answer in answers] == [200] * 11


def test_memory_and_neighbors_stay_as_they_were(tmp_path: Path) -> None:
    with start(models=tmp_path) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with httpx.Client(base_url=service.url, timeout=10) as neighbor:
            assert neighbor.get("/health/live").status_code == 200
            before = peak_bytes(service.process.pid)
            for begin, part in ENDLESS.values():
                exchange((host, int(port)), repeated(begin, part, 8 * MIB))
                assert neighbor.get("/health/live").status_code == 200
            assert peak_bytes(service.process.pid) - before < 30 * MIB


def peak_bytes(pid: int) -> int:
    if sys.platform != "linux":
        pytest.skip("only Linux shows the peak of another process")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_requests_that_nobody_reads_the_answers_of_are_not_read_ahead(tmp_path: Path) -> None:
    with start(models=tmp_path) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with httpx.Client(base_url=service.url, timeout=10) as neighbor:
            assert neighbor.get("/health/live").status_code == 200
            before = peak_bytes(service.process.pid)
            with socket.create_connection((host, int(port))) as connection:
                connection.settimeout(1)
                with pytest.raises(TimeoutError):
                    # 46 MB; the kernel's own buffers hold up to 10 MB on their way
                    connection.sendall(GET * 1_200_000)
                assert neighbor.get("/health/live").status_code == 200
            assert peak_bytes(service.process.pid) - before < 30 * MIB


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_pipelined_requests_are_all_answered_in_their_order(live: Live, piece: int) -> None:
    ids = [f"number-{number}" for number in range(60)]
    form = (
        "POST /v1/classify HTTP/1.1\r\nHost: x\r\nX-Request-ID: {0}\r\nContent-Length: 3\r\n\r\nabc",
        "GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: {0}\r\n\r\n",
        "POST /nothing HTTP/1.1\r\nHost: x\r\nX-Request-ID: {0}\r\nTransfer-Encoding: chunked\r\n\r\n"
        + TRAILED,
    )
    sent = "".join(form[at % 3].format(one) for at, one in enumerate(ids)).encode()
    parts = [sent[at : at + piece] for at in range(0, len(sent), piece)]
    answers = exchange(live.address, [*parts, b"\r\nGET / HTTP/9\r\n\r\n"])
    assert [answer.headers["x-request-id"] for answer in answers[:60]] == ids
    (last,) = answers[60:]
    last.problem(400, "malformed_http")


def test_a_trailer_is_a_header_of_no_request(live: Live) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers = exchange(live.address, [head + TRAILED.encode() + GET + LAST])
    assert [answer.status for answer in answers] == [404, 200, 200]
    assert "trailer" not in [answer.headers["x-request-id"] for answer in answers]


@pytest.mark.parametrize(
    "trailer",
    [
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"a b",
    ],
)
def test_nothing_is_read_behind_a_trailer_that_frames_messages(live: Live, trailer: bytes) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers = exchange(live.address, [head + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n" + GET])
    assert answers[-1].problem(400, "malformed_http")
    assert 200 not in [answer.status for answer in answers], "what is behind it was read"


@pytest.mark.parametrize("trailer", [b"Host: evil.example", b"X-API-Key: a", b"Expect: b"])
def test_any_other_trailer_means_nothing(live: Live, trailer: bytes) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = head + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n" + LAST
    assert [answer.status for answer in exchange(live.address, [sent])] == [404, 200]


def test_a_url_without_a_path_is_that_of_the_first_page(live: Live) -> None:
    heads = [
        b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target
        for target in (b"/", b"http://x", b"http://x?a=1", b"HTTP://X:80/", b"http://x:80")
    ]
    answers = exchange(live.address, [b"".join(heads) + LAST])
    assert [answer.status for answer in answers] == [200] * 6
    assert len({answer.body for answer in answers[:5]}) == 1


def test_blanks_around_the_value_of_a_header_are_none_of_it(live: Live) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: \t mine \t \r\n"
    (answer,) = exchange(live.address, [head + b"Connection: close \r\n\r\n"])
    assert (answer.status, answer.headers["x-request-id"]) == (200, "mine")


def test_large_bodies_arrive_whole_however_they_are_cut(live: Live) -> None:
    image = plain("red")
    padded = image + b"\0" * 300_000
    announced = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(padded)
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part)
        for part in (padded[at : at + 50] for at in range(0, len(padded), 50))
    )
    before = live.sample("foveal_request_bytes_total", route="/v1/classify")
    answers = exchange(live.address, [announced + padded + CHUNKED + chunks + b"0\r\n\r\n" + LAST])
    assert [answer.status for answer in answers] == [200, 200, 200]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if live.sample("foveal_request_bytes_total", route="/v1/classify") - before == 2 * len(
            padded
        ):
            return
        time.sleep(0.01)
    raise AssertionError("bytes of the bodies were lost")


@pytest.mark.parametrize("size", ["10000000000000000", "-1", "0x10", "5 ", "", "G"])
def test_a_chunk_whose_size_is_no_number_of_64_bits_is_refused(live: Live, size: str) -> None:
    (answer,) = exchange(live.address, [CHUNKED + size.encode() + b"\r\n" + b"x" * 100])
    answer.problem(400, "malformed_http")


def test_a_chunk_may_announce_more_than_a_body_may_have_and_what_comes_is_counted(
    tmp_path: Path,
) -> None:
    write_servable(tmp_path)
    begun = CHUNKED + b"FFFFFFFFFFFFFFFF\r\n"
    with serve(models=tmp_path, max_body_bytes=MIB, timeout_ms=500, idle_timeout_ms=1000) as live:
        (late,) = exchange(live.address, [begun, b"x" * 100])
        assert (late.status, json.loads(late.body)["code"]) == (504, "deadline_exceeded")
        (large,) = exchange(live.address, [begun, b"x" * (MIB + 1)])
        assert (large.status, json.loads(large.body)["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        (b"/health/live", [b"x", b"x"]),
        (b"/health/live", [b"x", b"evil.example"]),
        (b"/health/live", []),
        (b"/health/live", [b"user@x"]),
        (b"/health/live", [b"x y"]),
        (b"/health/live", [b"x/path"]),
        (b"/health/live", [b"x:80:80"]),
        (b"/health/live", [b"x:http"]),
        (b"/health/live", [b"[::1"]),
        (b"/health/live", [b"x, y"]),
        (b"/health/live", [b"\xc3\xa4.example"]),
        (b"http://evil.example/health/live", [b"x"]),
        (b"http://user@x/health/live", [b"x"]),
        (b"http://x:81/health/live", [b"x"]),
        (b"http:///health/live", [b"x"]),
        (b"http://[", [b"x"]),
    ],
)
def test_a_request_for_more_than_one_host_or_none_is_refused(
    live: Live, target: bytes, hosts: list[bytes]
) -> None:
    before = live.sample("foveal_errors_total", code="malformed_http")
    head = b"".join([b"GET %s HTTP/1.1\r\n" % target, *[b"Host: %s\r\n" % one for one in hosts]])
    for ending in (b"\r\n", b"Content-Length: 3\r\n\r\nabc"):
        (answer,) = exchange(live.address, [head + ending])
        assert "host" in answer.problem(400, "malformed_http").lower()
    assert live.sample("foveal_errors_total", code="malformed_http") == before + 2


@pytest.mark.parametrize("scheme", [b"ftp", b"ws", b"file"])
def test_a_target_of_another_protocol_is_refused(live: Live, scheme: bytes) -> None:
    sent = b"GET %s://x/health/live HTTP/1.1\r\nHost: x\r\n\r\n" % scheme
    (answer,) = exchange(live.address, [sent])
    assert "no URL of http" in answer.problem(400, "malformed_http")


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://x/health/live HTTP/1.1\r\nHost: x\r\n",
        b"GET http://X:80/health/live HTTP/1.1\r\nHost: x\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: [2001:db8::1]:8000\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: my_service.lan:8000\r\n",
        b"GET /health/live HTTP/1.1\r\nHost:\r\n",
        b"GET /health/live HTTP/1.0\r\n",
    ],
)
def test_a_request_for_one_host_is_answered_however_it_is_written(live: Live, head: bytes) -> None:
    (answer,) = exchange(live.address, [head + b"Connection: close\r\n\r\n"])
    assert answer.status == 200


def test_a_broken_request_behind_others_does_not_cut_into_their_answers(live: Live) -> None:
    answers = exchange(live.address, [GET * 3 + b"hello\r\n\r\n" + GET])
    assert [answer.status for answer in answers] == [200] * 3 + [400]


def test_an_upgrade_is_not_offered_and_the_request_is_answered(live: Live) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n"
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    for protocol in (b"websocket", b"h2c"):
        answers = exchange(live.address, [head % protocol + key + LAST])
        assert [answer.status for answer in answers] == [200, 200]


def test_the_image_behind_a_request_for_another_protocol_is_answered(live: Live) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    image = plain("red")
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(image)
    answers = exchange(live.address, [head + upgrade + b"\r\n" + image] * 2 + [LAST])
    assert [answer.status for answer in answers] == [200, 200, 200]


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Live]:
    """A service that waits a fifth of a second for a head, and half a second for a request."""
    with serve(models=tmp_path, head_timeout_ms=200, idle_timeout_ms=500) as service:
        yield service


@pytest.mark.parametrize("sent", [b"G", b"\r\n", GET[:-2], GET + b"GET /he"])
def test_a_head_that_does_not_end_is_answered_and_closed(impatient: Live, sent: bytes) -> None:
    answers = exchange(impatient.address, [sent])
    assert "0.2 s" in answers[-1].problem(408, "head_timeout")


def test_a_head_that_comes_byte_by_byte_has_no_more_time(impatient: Live) -> None:
    """The answer comes while the client still sends: a server that counted from each byte would never give one."""
    with socket.create_connection(impatient.address, timeout=30) as connection:
        connection.sendall(GET[:-4])
        for _ in range(200):
            answered, _, _ = select.select([connection], [], [], 0.05)
            if answered:
                break
            connection.sendall(b"\r\na:")
        assert answered, "no answer before the last byte"
        received = b""
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                received += data
    (answer,) = parsed(received)
    assert "0.2 s" in answer.problem(408, "head_timeout")


def test_a_connection_that_sends_nothing_is_closed(impatient: Live) -> None:
    assert exchange(impatient.address, []) == []
    assert [answer.status for answer in exchange(impatient.address, [GET])] == [200]


def test_a_path_makes_no_line_of_the_log_of_its_own(live: Live) -> None:
    stream = StringIO()
    configure_logs("info", "text", stream)
    paths = (
        "%0a12:00:00%20%20forged",
        "%0d%0aforged",
        "%1b%5b2Jforged",
        "%c2%85forged",
        "%e2%80%a8forged",
    )
    with httpx.Client(base_url=live.url) as http:
        for path in paths:
            assert http.get(f"/{path}").status_code == 404
    flush_logs()
    (first, *_) = lines = stream.getvalue().split("\n")[:-1]
    assert len(lines) == len(paths)
    assert all(line.isprintable() and "  GET /" in line for line in lines)
    assert r"  GET /\n12:00:00  forged 404  ms=" in first
