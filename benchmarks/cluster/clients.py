"""Clients that send one request after the other, and what they were answered."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

TIMEOUT_SECONDS = 120.0


@dataclass
class Tally:
    """What the clients were answered: by status, and why there was no answer; and the seconds of each answer."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def answers(self) -> int:
        return self.statuses["200"]

    @property
    def failures(self) -> dict[str, int]:
        return {what: count for what, count in self.statuses.items() if what != "200"}

    def quantile_ms(self, share: float) -> float:
        """Return in how many milliseconds this share of the answers came."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@contextmanager
def clients(
    url: str, body: bytes, count: int, headers: Mapping[str, str] | None = None
) -> Iterator[Tally]:
    """Send as many requests at once, without a pause, until the block ends and each was answered."""
    tally, ending = Tally(), threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(
            _send_all(url, body, count, headers=dict(headers or {}), tally=tally, ending=ending)
        )
    )
    thread.start()
    try:
        yield tally
    finally:
        ending.set()
        thread.join()


async def _send_all(
    url: str,
    body: bytes,
    count: int,
    *,
    headers: dict[str, str],
    tally: Tally,
    ending: threading.Event,
) -> None:
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
    async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_SECONDS, headers=headers) as client:
        await asyncio.gather(*(_send(client, url, body, tally, ending) for _ in range(count)))


async def _send(
    client: httpx.AsyncClient, url: str, body: bytes, tally: Tally, ending: threading.Event
) -> None:
    while not ending.is_set():
        began = time.perf_counter()
        try:
            response = await client.post(url, content=body)
        except httpx.HTTPError as error:
            tally.statuses[type(error).__name__] += 1
        else:
            tally.statuses[str(response.status_code)] += 1
            if response.status_code != httpx.codes.OK and sum(tally.failures.values()) < 10:
                print(f"{response.status_code}: {response.text[:300]}")
            tally.seconds.append(time.perf_counter() - began)
