"""Fetching by URL: which hosts, addresses and redirects are followed, and what an answer may be."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from service.api.ingest.remote_images import MOST_AT_ONCE, RemoteImages, home_of, is_public
from service.errors import OverloadedError, RemoteImageError

pytestmark = pytest.mark.anyio

LOCAL = "127.0.0.1"


@dataclass
class Site:
    """A server that sends one raw answer to every request, and keeps the heads of these."""

    answers: list[bytes]
    port: int = 0
    heads: list[str] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self.answers[min(len(self.heads), len(self.answers)) - 1])
        await writer.drain()
        if self.answers[-1]:
            writer.close()


@asynccontextmanager
async def site(*answers: bytes) -> AsyncIterator[Site]:
    made = Site(list(answers))
    server = await asyncio.start_server(made.answer, LOCAL, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in made.writers:
            writer.transport.abort()


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def moved(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def remote(*hosts: str, addresses: Sequence[str] = (LOCAL,), anywhere: bool = True) -> RemoteImages:
    """Return a fetcher for which every name has these addresses; `anywhere`: they count as public."""

    async def addresses_of(host: str, _: int) -> Sequence[str]:
        asked.append(host)
        return addresses

    asked: list[str] = []
    if anywhere:
        return RemoteImages(hosts, may_connect=lambda _: True, addresses_of=addresses_of)
    return RemoteImages(hosts, addresses_of=addresses_of)


async def fetched(images: RemoteImages, url: str, most: int = 1000, seconds: float = 5) -> bytes:
    return await images.fetch(url, most, seconds)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"],
)
async def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.1", "255.255.255.255",
        "224.0.0.1", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2001:0:7f00:1::", "2001:db8::1", "fec0::1", "3fff::1", "64:ff9b:1::7f00:1", "192.0.0.8", "192.88.99.1",
        "", "localhost",
    ],
)  # fmt: skip
async def test_special_addresses_are_not(address: str) -> None:
    assert not is_public(address)


async def test_a_listed_host_is_asked_politely_for_its_path() -> None:
    async with site(ok(b"pixels")) as there:
        images = remote(f"images.test:{there.port}")
        url = f"http://IMAGES.test:{there.port}/a/b.jpg?x=1#part"
        assert await fetched(images, url) == b"pixels"
        [head] = there.heads
    assert head.startswith("GET /a/b.jpg?x=1 HTTP/1.1\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
    assert headers["host"] == f"images.test:{there.port}"
    assert "authorization" not in headers
    assert "cookie" not in headers


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npix\r\n3\r\nels\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\npixels",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(b"pixels"),
    ],
    ids=["in chunks", "until the end", "after hints"],
)
async def test_a_body_in_every_form(answer: bytes) -> None:
    async with site(answer) as there:
        assert (
            await fetched(remote(f"a.test:{there.port}"), f"http://a.test:{there.port}")
            == b"pixels"
        )


@pytest.mark.parametrize(
    "url",
    [
        "http://b.test/", "http://a.test:81/", "https://a.test:80/", "http://xa.test/", "http://a.test.b.test/",
        "http://sub.a.test/", "http://.c.test/", "http://c.test/",
    ],
)  # fmt: skip
async def test_hosts_and_ports_that_are_not_listed_are_refused(url: str) -> None:
    with pytest.raises(RemoteImageError, match="FOVEAL_FETCH_HOSTS does not list it"):
        await fetched(remote("a.test", "*.c.test"), url)


@pytest.mark.parametrize("url", ["http://x.c.test/", "https://y.x.c.test/", "http://a.test./"])
async def test_names_under_a_listed_one_pass_the_list(url: str) -> None:
    with pytest.raises(RemoteImageError, match="private network"):
        await fetched(remote("a.test", "*.c.test", anywhere=False), url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.test/", "file:///etc/passwd", "a.test/x.jpg", "", "http://", "http://user:pass@a.test/",
        "http://a.test:port/", "http://a.test:99999/", "http://a test/", "http://a.test/\r\nHost: b", "http://ä.test/",
        "gopher://a.test/", "/data/upload/1.jpg", "http://a.test/" + "x" * 5000, "http://[::1/",
    ],
)  # fmt: skip
async def test_what_is_no_url_of_an_image_is_refused(url: str) -> None:
    with pytest.raises(RemoteImageError, match="not the URL of an image"):
        await fetched(remote("a.test"), url)


@pytest.mark.parametrize("addresses", [(LOCAL,), ("10.1.2.3",), ("8.8.8.8", LOCAL), ("::1",), ()])
async def test_a_listed_name_with_a_private_address_is_refused(addresses: Sequence[str]) -> None:
    async with site(ok(b"secret")) as there:
        images = remote(f"a.test:{there.port}", addresses=addresses, anywhere=False)
        with pytest.raises(RemoteImageError, match="private network"):
            await fetched(images, f"http://a.test:{there.port}/")
        assert there.heads == []


async def test_the_system_resolves_names_of_this_machine_and_they_are_refused() -> None:
    with pytest.raises(RemoteImageError, match="private network"):
        await fetched(RemoteImages(["localhost"]), "http://localhost/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_listed_host_is_followed(status: int) -> None:
    async with (
        site(ok(b"pixels")) as second,
        site(moved(f"http://b.test:{second.port}/x", status)) as first,
    ):
        images = remote(f"a.test:{first.port}", f"b.test:{second.port}")
        assert await fetched(images, f"http://a.test:{first.port}/") == b"pixels"
    assert second.heads[0].startswith("GET /x ")


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1/", "http://c.test/", "file:///etc/passwd", "//c.test/", "https://a.test:1/"],
)
async def test_a_redirect_is_checked_like_a_url(location: str) -> None:
    async with site(moved(location)) as there:
        with pytest.raises(RemoteImageError, match=r"not fetched|not the URL"):
            await fetched(remote(f"a.test:{there.port}"), f"http://a.test:{there.port}/")


async def test_redirects_have_an_end() -> None:
    async with site(moved("/again")) as there:
        with pytest.raises(RemoteImageError, match="more than 3 redirects"):
            await fetched(remote(f"a.test:{there.port}"), f"http://a.test:{there.port}/")
    assert len(there.heads) == 4


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (ok(b"x" * 1001), "larger than the 1000 bytes"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1001, "larger than the 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999999\r\n\r\nx", "can not be fetched"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "can not be fetched"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "does not speak HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "does not speak HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "does not speak HTTP/1.1"),
    ],
)  # fmt: skip
async def test_what_can_not_be_an_image_is_said(answer: bytes, text: str) -> None:
    async with site(answer) as there:
        with pytest.raises(RemoteImageError, match=text):
            await fetched(remote(f"a.test:{there.port}"), f"http://a.test:{there.port}/x?secret=1")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;x=yz\r\na\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 200_000,
    ],
    ids=["hints", "extensions of chunks", "sizes of chunks"],
)
async def test_what_comes_beside_the_image_is_bounded(answer: bytes) -> None:
    async with site(answer) as there:
        images = remote(f"a.test:{there.port}")
        with pytest.raises(RemoteImageError, match="too much beside the image"):
            await fetched(images, f"http://a.test:{there.port}", most=10_000_000, seconds=30)


async def test_a_server_that_says_nothing_has_a_deadline() -> None:
    async with site(b"") as there:
        with pytest.raises(RemoteImageError, match=r"did not arrive within 0\.05 s"):
            await fetched(
                remote(f"a.test:{there.port}"), f"http://a.test:{there.port}/", seconds=0.05
            )


async def test_messages_show_no_query_and_a_host_that_refuses() -> None:
    async with site(b"") as there:
        port = there.port
    with pytest.raises(RemoteImageError) as failed:
        await fetched(remote(f"a.test:{port}"), f"http://a.test:{port}/x?token=secret")
    assert "secret" not in str(failed.value)
    assert "can not be fetched" in str(failed.value)


async def test_home_may_be_private_and_its_headers_stay_there() -> None:
    async def addresses_of(_: str, __: int) -> Sequence[str]:
        return [LOCAL]

    async with site(ok(b"pixels")) as other, site(moved(f"http://a.test:{other.port}/x")) as there:
        home = home_of(f"http://{LOCAL}:{there.port}", (("Authorization", "Token t"),))
        hosts = [f"a.test:{other.port}"]
        public = RemoteImages(hosts, home, may_connect=lambda _: True, addresses_of=addresses_of)
        assert await fetched(public, "/data/upload/1.jpg") == b"pixels"
        assert "authorization: token t" in there.heads[0].lower()
        assert "authorization" not in other.heads[0].lower()
        private = RemoteImages(hosts, home, addresses_of=addresses_of)
        with pytest.raises(RemoteImageError, match="private network"):
            await fetched(private, "/data/upload/1.jpg")
        assert (len(there.heads), len(other.heads)) == (2, 1)


async def test_an_error_repeats_the_beginning_of_a_url() -> None:
    with pytest.raises(RemoteImageError) as found:
        await fetched(RemoteImages([], None), "http://" + 100 * "a" + ".test/x.jpg")
    assert f"'{59 * 'a'}…" in str(found.value)


@pytest.mark.parametrize("url", ["labels.lan", "ftp://labels.lan", "http://labels.lan/path"])
async def test_home_is_an_origin(url: str) -> None:
    with pytest.raises(ValueError, match="is not http"):
        home_of(url)


@dataclass
class Ledger:
    """An account that has an image wait as soon as its size is known, or so many bytes have come."""

    waits_at: int
    heard: list[int] = field(default_factory=list)
    bytes: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    waited: bool = False

    def announced(self, size: int) -> None:
        self.heard.append(size)

    def came(self, size: int) -> None:
        self.bytes += size

    @property
    def must_wait(self) -> bool:
        return not self.waited and max(self.bytes, *self.heard) >= self.waits_at

    async def wait(self) -> None:
        await self.go_on.wait()
        self.waited = True


CLOSED = b"HTTP/1.0 200 OK\r\n\r\npixels"


@pytest.mark.parametrize(
    ("answer", "heard", "before"),
    [(ok(b"pixels"), [6, 6], 0), (CLOSED, [0], 6)],
    ids=["known", "not"],
)
async def test_an_image_is_counted_and_waits_with_neither_time_nor_turn_used_up(
    answer: bytes, heard: list[int], before: int
) -> None:
    async with site(answer) as there, site(ok(b"other")) as beside:
        images = remote(f"a.test:{there.port}", f"b.test:{beside.port}")
        url, ledgers = f"http://a.test:{there.port}/", [Ledger(6) for _ in range(MOST_AT_ONCE)]
        async with asyncio.timeout(30):
            waiting = [
                asyncio.create_task(images.fetch(url, 1000, 20, ledger)) for ledger in ledgers
            ]
            while not all(one.heard for one in ledgers):
                await asyncio.sleep(0)
            assert await fetched(images, f"http://b.test:{beside.port}/") == b"other"
            assert {one.bytes for one in ledgers} == {before}
            for ledger in ledgers:
                ledger.go_on.set()
            assert await asyncio.gather(*waiting) == [b"pixels"] * MOST_AT_ONCE
        assert all((one.heard, one.bytes) == (heard, 6) for one in ledgers)
        assert await fetched(images, url) == b"pixels"  # every turn was given back


async def test_no_connection_is_kept_for_an_image_that_waits_and_its_server_is_asked_again() -> (
    None
):
    async with site(ok(b"pixels"), ok(b"more pixels")) as there:
        ledger, images = Ledger(6), remote(f"a.test:{there.port}")
        url = f"http://a.test:{there.port}/"
        fetch = asyncio.create_task(images.fetch(url, 1000, 20, ledger))
        async with asyncio.timeout(10):
            while not ledger.heard:
                await asyncio.sleep(0)
            await there.writers[0].wait_closed()
        assert not fetch.done()
        ledger.go_on.set()
        assert await fetch == b"more pixels"
    assert ledger.heard == [6, 11]


async def test_the_time_of_a_fetch_goes_on_after_its_wait() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"
    async with site(cut, cut, b"") as there:  # the connections stay open
        ledger = Ledger(5)
        ledger.go_on.set()
        images = remote(f"a.test:{there.port}")
        with pytest.raises(RemoteImageError, match=r"did not arrive within 0\.1 s"):
            await images.fetch(f"http://a.test:{there.port}/", 1000, 0.1, ledger)
    assert (ledger.waited, ledger.bytes) == (True, 5)


async def test_a_wait_that_fails_fails_the_fetch_and_gives_its_turn_back() -> None:
    class Full(Ledger):
        async def wait(self) -> None:
            raise OverloadedError("No memory is free.")

    async with site(ok(b"pixels")) as there:
        images = remote(f"a.test:{there.port}")
        url = f"http://a.test:{there.port}/"
        for _ in range(MOST_AT_ONCE + 1):
            with pytest.raises(OverloadedError, match="No memory"):
                await images.fetch(url, 1000, 5, Full(6))
