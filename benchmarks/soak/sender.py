"""Sends requests over raw sockets: in a closed loop to measure the capacity, then at a constant rate."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from benchmarks.server import HOST
from benchmarks.soak.tally import NO_ANSWER, NOT_SENT
from benchmarks.soak.traffic import LEFT, Kind, Mix, Request

LONGEST_SECONDS = 60.0
MOST_OPEN = 400
"""Requests that may be open at once; more are not sent and are counted."""
MOST_IDLE = 16

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Sender:
    """Sends a mix of requests to a port of this machine and hands each result to `record`.

    About half of the requests use a connection that an earlier one left open.
    """

    def __init__(
        self,
        port: int,
        mix: Mix,
        key: Callable[[], str],
        record: Callable[[Kind, int, float], None],
    ) -> None:
        self._port = port
        self._mix = mix
        self._key = key
        self._record = record
        self._idle: list[Stream] = []
        self._count = 0
        self._open = 0

    @property
    def connections(self) -> int:
        """Return how many connections this client holds open."""
        return self._open + len(self._idle)

    async def measure(self, clients: int, seconds: float) -> float:
        """Return the requests per second that this many clients get answered, each waiting for its answer."""
        until = time.perf_counter() + seconds
        before, began = self._count, time.perf_counter()

        async def client() -> None:
            while time.perf_counter() < until:
                await self._one(*self._mix.next())

        await asyncio.gather(*(client() for _ in range(clients)))
        return (self._count - before) / (time.perf_counter() - began)

    async def send(self, per_second: float, seconds: float) -> None:
        """Send at this mean rate with Poisson arrivals, whether or not answers come; then wait for the last ones."""
        began = time.perf_counter()
        due = 0.0
        open_tasks: set[asyncio.Task[None]] = set()
        while (due := due + self._mix.gap_seconds(per_second)) < seconds:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            kind, request = self._mix.next()
            if len(open_tasks) >= MOST_OPEN:
                self._record(kind, NOT_SENT, 0.0)
                continue
            task = asyncio.create_task(self._one(kind, request))
            open_tasks.add(task)
            task.add_done_callback(open_tasks.discard)
        if open_tasks:
            await asyncio.wait(open_tasks, timeout=LONGEST_SECONDS)
        self.close()

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _one(self, kind: Kind, request: Request) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                status = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
            status = 0 if kind.expected == LEFT else NO_ANSWER
        self._count += 1
        self._record(kind, status, time.perf_counter() - began)

    async def _exchange(self, request: Request) -> int:
        keeps = request.whole and self._count % 2 == 0
        streams = self._reused() if keeps else None
        reader, writer = streams or await asyncio.open_connection(HOST, self._port, limit=2**20)
        kept = False
        self._open += 1
        try:
            writer.write(self._encoded(request, keeps=keeps))
            with contextlib.suppress(
                ConnectionError
            ):  # a refusal may come before the end of the body
                await writer.drain()
            if request.ends != "answer":
                return 0
            status, open_still = await _read_answer(reader)
            if keeps and open_still and len(self._idle) < MOST_IDLE:
                self._idle.append((reader, writer))
                kept = True
            return status
        finally:
            self._open -= 1
            if not kept:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def _reused(self) -> Stream | None:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    def _encoded(self, request: Request, *, keeps: bool) -> bytes:
        if request.raw:
            return request.raw
        length = len(request.body) if request.announced is None else request.announced
        headers = {
            "Host": HOST,
            "Connection": "keep-alive" if keeps else "close",
            **({"Authorization": f"Bearer {self._key()}"} if request.keyed else {}),
            **({"Content-Length": str(length)} if length or request.method == "POST" else {}),
            **request.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body = request.body[: length // 2] if request.ends == "in_body" else request.body
        return f"{request.method} {request.path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read an answer to its end; return its status, and whether its connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if "content-length" in fields:
        await reader.readexactly(int(fields["content-length"]))
    elif fields.get("transfer-encoding") == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        while await reader.read(2**16):
            pass
        return status, False
    return status, fields.get("connection") != "close"
