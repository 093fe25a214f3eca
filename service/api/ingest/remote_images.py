"""Images by URL: fetched only from hosts that the operator lists, and from no private network.

A service that fetches what a client names can be made to read what only it can reach. So the host must be listed, every
address of its name must be public, the connection is made to an address that was checked, and a redirect is checked in
the same way.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import h11

from service.api.ingest.joined import JoinedPieces
from service.errors import RemoteImageError
from service.faults import shown
from service.runtime.daemon_call import daemon_call
from service.value import value

MOST_REDIRECTS = 3
MOST_AT_ONCE = 32
LONGEST_SECONDS = 20.0
LONGEST_URL = 4096
HEAD_BYTES = 64 * 1024
_PIECE = 64 * 1024
_FRAMING_BYTES = HEAD_BYTES + 2 * _PIECE
"""What a server may send beside the image is as long as the image and so much more: heads, and sizes of chunks."""
_EVENTS_AT_ONCE = 64
"""After so many parts of an answer, which may have a byte each, others have their turn."""
_PORTS = {"http": 80, "https": 443}
_OK, _REDIRECTS = 200, frozenset({301, 302, 303, 307, 308})
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        ("64:ff9b::/32", "2002::/16", "2001::/32", "fec0::/10", "3fff::/20", "192.0.0.0/24", "192.88.99.0/24"),
    )
)  # fmt: skip
"""Networks that Python takes for the internet: addresses that stand for others, and local ones."""
_HOME_PATHS = ("/data/", "/storage-data/", "/tasks/")
"""Where Label Studio has the files of tasks."""

_Answer = tuple[int, str, bytes] | None
"""The status, the place of a redirect, and the body of a success; None: nothing was read, because that has to wait.

Then the server is asked again after the wait: some have few connections, and each holds bytes that nobody counts."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host."""


class Account(Protocol):
    """Counts an image while it arrives, and has it wait."""

    def announced(self, size: int) -> None:
        """Note the size that is announced, 0 for none."""
        ...

    def came(self, size: int) -> None:
        """Count a piece."""
        ...

    @property
    def must_wait(self) -> bool:
        """Whether to wait before more is read."""
        ...

    async def wait(self) -> None:
        """Wait until more may be read."""
        ...


@value
class Home:
    """The one server that may be in a private network: its origin, and the headers that it wants."""

    scheme: str
    host: str
    port: int
    headers: tuple[tuple[str, str], ...]


@value
class _Target:
    """What is fetched next: a URL that may be fetched."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    at_home: bool


class _Time:
    """The time and the turn of a fetch: both are left to others while it waits for memory.

    Args:
        turns: of all fetches.
        timeout: ends this one.
        latest: the time of the event loop at which its request ends.
    """

    def __init__(self, turns: asyncio.Semaphore, timeout: asyncio.Timeout, latest: float) -> None:
        self._turns = turns
        self._timeout = timeout
        self._latest = latest
        self._has_turn = False

    async def begin(self) -> None:
        """Wait for a turn."""
        await self._turns.acquire()
        self._has_turn = True

    def end(self) -> None:
        """Give the turn to others."""
        if self._has_turn:
            self._has_turn = False
            self._turns.release()

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[None]:
        """Let the block take no time and no turn."""
        loop, due = asyncio.get_running_loop(), self._timeout.when()
        assert due is not None
        left = due - loop.time()
        self._timeout.reschedule(None)
        self.end()
        yield
        self._timeout.reschedule(min(loop.time() + left, self._latest))
        await self.begin()


def is_public(address: str) -> bool:
    """Return whether an address is one of the internet, and of no private, local or special network."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return is_public(str(found.ipv4_mapped))
    if any(found in network for network in _SPECIAL):
        return False
    return found.is_global and not (
        found.is_multicast or found.is_reserved or found.is_unspecified or found.is_loopback
    )


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host by the system's resolver."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await daemon_call(look_up, "foveal-resolve")
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class _Reading:
    """Counts the image that is read."""

    def __init__(self, account: Account | None, time: _Time) -> None:
        self._account = account
        self._time = time

    def announced(self, size: int) -> None:
        if self._account is not None:
            self._account.announced(size)

    def came(self, size: int) -> None:
        if self._account is not None:
            self._account.came(size)

    async def begins(self, *, waits: bool) -> bool:
        """Return whether the image may be read now; where `waits`, wait until it may."""
        if waits:
            await self.go_on()
        return waits or self._account is None or not self._account.must_wait

    async def go_on(self) -> None:
        """Wait before more is read, where the account says so."""
        if self._account is not None and self._account.must_wait:
            async with self._time.apart():
                await self._account.wait()


class RemoteImages:
    """Fetches images. It keeps no connection and no cookie, and follows few redirects.

    Args:
        hosts: `name`, `name:port` or `*.name`; without a port that of the scheme. None: nothing is fetched.
        home: a server that may be in a private network.
        may_connect: says of an address whether it may be connected to, but for that of `home`.
        addresses_of: returns the addresses of a host.
    """

    def __init__(
        self,
        hosts: Sequence[str] = (),
        home: Home | None = None,
        *,
        may_connect: Callable[[str], bool] = is_public,
        addresses_of: Resolve = resolve,
    ) -> None:
        self._hosts = frozenset(one.lower() for one in hosts if not one.startswith("*."))
        self._endings = tuple(one[1:].lower() for one in hosts if one.startswith("*."))
        self._home = home
        self._may_connect = may_connect
        self._addresses_of = addresses_of
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._tls = ssl.create_default_context() if hosts or home else None

    async def fetch(
        self, url: str, most_bytes: int, seconds: float, account: Account | None = None
    ) -> bytes:
        """Return what is at a URL.

        Args:
            url: absolute, or the path of a file of the home server.
            most_bytes: it may have.
            seconds: that it may take.
            account: counts it; the time that it has it wait for does not count for the `LONGEST_SECONDS` of a fetch.

        Raises:
            RemoteImageError: it may not be fetched, is not there, is larger, or did not come in time.
            FovealError: the account's own.
        """
        allowed = min(seconds, LONGEST_SECONDS)
        try:
            async with asyncio.timeout(allowed) as timeout:
                latest = asyncio.get_running_loop().time() + seconds
                time = _Time(self._turns, timeout, latest)
                try:
                    await time.begin()
                    return await self._fetch(url, most_bytes, _Reading(account, time))
                finally:
                    time.end()
        except TimeoutError:
            raise RemoteImageError(
                f"{_shown(url)} did not arrive within {allowed:.3g} s. Send the image itself as a data: URL."
            ) from None

    async def _fetch(self, url: str, most_bytes: int, reading: _Reading) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            target = self._target(url)
            status, location, body = await self._get(target, most_bytes, reading)
            if status == _OK:
                return body
            if status not in _REDIRECTS or not location:
                raise RemoteImageError(
                    f"{_shown(url)} answered with status {status}, not with an image."
                )
            url = urljoin(target.url, location)
        raise RemoteImageError(f"{_shown(url)} is behind more than {MOST_REDIRECTS} redirects.")

    def _target(self, url: str) -> _Target:
        """Return what a URL stands for, if it may be fetched.

        Raises:
            RemoteImageError: it may not.
        """
        home = self._home
        if home is not None and url.startswith("/") and not url.startswith("//"):
            url = f"{home.scheme}://{_bracketed(home.host)}:{home.port}{url}"
        parts = _split(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS[parts.scheme]
        path = parts.path or "/"
        query = f"?{parts.query}" if parts.query else ""
        at_home = home is not None and (home.scheme, home.host, home.port) == (
            parts.scheme,
            host,
            port,
        )
        if at_home:
            _require_file(path)
        elif not self._lists(parts.scheme, host, port):
            raise RemoteImageError(
                f"Images of {_shown(host)} are not fetched: FOVEAL_FETCH_HOSTS does not list it for port {port}. Send "
                "the image itself as a data: URL, or ask the operator of the service to list the host."
            )
        return _Target(url, parts.scheme, host, port, f"{path}{query}", at_home)

    def _lists(self, scheme: str, host: str, port: int) -> bool:
        if f"{host}:{port}" in self._hosts:
            return True
        ends = bool(self._endings) and host.endswith(self._endings) and not host.startswith(".")
        return port == _PORTS[scheme] and (host in self._hosts or ends)

    async def _get(
        self, target: _Target, most_bytes: int, reading: _Reading
    ) -> tuple[int, str, bytes]:
        """Return the status, the place of a redirect, and the body of a success."""
        try:
            found = await self._ask(target, most_bytes, reading, waits=False)
            if found is None:
                await reading.go_on()
                found = await self._ask(target, most_bytes, reading, waits=True)
                assert found is not None
            return found
        except (OSError, ssl.SSLError, h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            raise RemoteImageError(
                f"{_shown(target.url)} can not be fetched: {_reason(error)}."
            ) from error

    async def _connect(self, target: _Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        addresses = await self._addresses_of(target.host, target.port)
        refused = not target.at_home and not all(map(self._may_connect, addresses))
        if refused or not addresses:
            raise RemoteImageError(
                f"Images of {_shown(target.host)} are not fetched: it has an address in a private network."
            )
        tls = {"ssl": self._tls, "server_hostname": target.host} if target.scheme == "https" else {}
        last: OSError | None = None
        for address in addresses[:3]:
            try:
                return await asyncio.open_connection(address, target.port, limit=_PIECE, **tls)  # type: ignore[arg-type]
            except OSError as error:
                last = error
        assert last is not None
        raise last

    async def _ask(
        self, target: _Target, most_bytes: int, reading: _Reading, *, waits: bool
    ) -> _Answer:
        reader, writer = await self._connect(target)
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        try:
            request = h11.Request(
                method="GET", target=target.path.encode(), headers=self._headers(target)
            )
            sent = connection.send(request) or b""
            writer.write(sent + (connection.send(h11.EndOfMessage()) or b""))
            return await _answer(connection, reader, target, most_bytes, reading, waits=waits)
        finally:
            writer.transport.abort()

    def _headers(self, target: _Target) -> list[tuple[str, str]]:
        usual = target.port == _PORTS[target.scheme]
        host = _bracketed(target.host) + ("" if usual else f":{target.port}")
        headers = [
            ("Host", host),
            ("User-Agent", "foveal"),
            ("Accept", "image/*, */*;q=0.5"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        if target.at_home and self._home is not None:
            headers += self._home.headers
        return headers


async def _answer(
    connection: h11.Connection,
    reader: asyncio.StreamReader,
    target: _Target,
    most_bytes: int,
    reading: _Reading,
    *,
    waits: bool,
) -> _Answer:
    pieces, events, arrived = JoinedPieces(), 0, 0
    while True:
        events += 1
        if events % _EVENTS_AT_ONCE == 0:
            await asyncio.sleep(0)
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_PIECE)
            connection.receive_data(data)
            arrived += len(data)
            _check_framing(arrived, pieces.size)
        elif isinstance(event, h11.Response):
            found = dict(event.headers)
            if event.status_code != _OK:
                return event.status_code, found.get(b"location", b"").decode("latin-1"), b""
            size_known = _length(found.get(b"content-length", b""))
            reading.announced(size_known)
            _check(size_known, most_bytes, target)
            if not await reading.begins(waits=waits):
                return None
            pieces = JoinedPieces(size_known)
        elif isinstance(event, h11.Data):
            reading.came(len(event.data))
            _check(pieces.size + len(event.data), most_bytes, target)
            pieces.add(bytes(event.data))
            await reading.go_on()
        elif isinstance(event, h11.EndOfMessage):
            return _OK, "", pieces.take()
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("the server closed the connection")


def _check_framing(arrived: int, size: int) -> None:
    if arrived > 2 * size + _FRAMING_BYTES:
        raise ConnectionResetError("it sends too much beside the image")


def _length(text: bytes) -> int:
    """Return the size that a head announces, 0 where it announces none."""
    return int(text) if text.isdigit() and len(text) < 20 else 0


def _check(size: int, most_bytes: int, target: _Target) -> None:
    if size > most_bytes:
        raise RemoteImageError(
            f"{_shown(target.url)} is larger than the {most_bytes} bytes that are left for the images of this request."
        )


def _require_file(path: str) -> None:
    """Refuse what is no file of a task: the token of the home server could read more.

    Raises:
        RemoteImageError
    """
    if not path.startswith(_HOME_PATHS) or ".." in unquote(path).split("/"):
        raise RemoteImageError(
            f"{_shown(path)} is not a file of a task of Label Studio. Those are below {', '.join(_HOME_PATHS)}."
        )


def _split(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        RemoteImageError: it is no URL of a host over HTTP.
    """
    plain = len(url) <= LONGEST_URL and url.isascii() and url.isprintable() and " " not in url
    try:
        parts = urlsplit(url if plain else "")
        valid = parts.scheme in _PORTS and parts.hostname and parts.username is None
        _ = parts.port  # raises where it is no number
    except ValueError:
        valid = False
    if not valid:
        raise RemoteImageError(
            f"{_shown(url)} is not the URL of an image: it must begin with data:, http:// or https://, and have no "
            "user name, no space and no character beyond ASCII."
        )
    return parts


def home_of(url: str, headers: tuple[tuple[str, str], ...] = ()) -> Home | None:
    """Return the home server of a URL, None for an empty one.

    Raises:
        ValueError: it is no URL over HTTP.
    """
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{url} is not http:// or https:// with a host and perhaps a port")
    return Home(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], headers)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _shown(url: str) -> str:
    """Return what a message repeats of a URL: no query, which may hold a secret."""
    return shown(url.partition("?")[0])


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its host has no address"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, h11.RemoteProtocolError | h11.LocalProtocolError):
        return "its server does not speak HTTP/1.1"
    return (error.strerror or str(error) or "no connection") if isinstance(error, OSError) else ""
