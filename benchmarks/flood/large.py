"""Clients of large bodies, as a process of its own: an answer that comes before the body is sent ends the connection.

    python -m benchmarks.flood.large URL BODY CONTENT_TYPE CLIENTS WAIT_SECONDS SECONDS

So HTTP clients do it. wrk would wait for ever on such a connection.
"""

import asyncio
import contextlib
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.flood.crowd import ANSWER_SECONDS, Tally, bin_of, counted_line

RETRY_SECONDS = 0.1
"""After a connection that could not be opened, so that a dead server does not take a core."""


@dataclass(frozen=True, slots=True)
class Sender:
    """One request, as bytes, sent to one address by each client."""

    host: str
    port: int
    request: bytes
    wait_seconds: float
    tally: Tally

    async def send(self) -> None:
        """Send without end, over one connection as long as it lives."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                self.tally.unanswered += 1
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                while await self._ask(reader, writer):
                    pass
            except (OSError, EOFError, TimeoutError, ValueError):
                self.tally.unanswered += 1
            finally:
                writer.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send the request once, count its answer, and return whether the connection can be used again."""
        await asyncio.sleep(self.wait_seconds * (0.5 + random.random()))  # no secret
        began = time.perf_counter()
        writer.write(self.request)
        async with asyncio.timeout(ANSWER_SECONDS):
            status, closes = await _read_answer(reader)
        self.tally.bins[status, bin_of(time.perf_counter() - began)] += 1
        return not (closes or writer.transport.get_write_buffer_size())


def request_of(host: str, path: str, content_type: str, body: bytes) -> bytes:
    """Return a whole POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Return the status, and whether the server closes the connection.

    Raises:
        EOFError: the connection ended before the answer did.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    lines = head.split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    await reader.readexactly(int(fields.get("content-length", "0")))
    return int(lines[0].split(" ")[1]), fields.get("connection") == "close"


async def flood(sender: Sender, clients: int, seconds: float) -> None:
    """Let so many clients send for so long."""
    began = time.perf_counter()
    tasks = [asyncio.create_task(sender.send()) for _ in range(clients)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    sender.tally.seconds = time.perf_counter() - began
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


def main() -> None:
    """Send as the arguments say, and print the counts."""
    url, body, content_type, clients, wait_seconds, seconds = sys.argv[1:]
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    request = request_of(parts.netloc, path, content_type, Path(body).read_bytes())
    host, port = parts.hostname or "", parts.port or 80
    sender = Sender(host, port, request, float(wait_seconds), Tally(float(seconds)))
    asyncio.run(flood(sender, int(clients), float(seconds)))
    print(counted_line(sender.tally))


if __name__ == "__main__":
    main()
