"""What the processes of one service report to each other, so that each of them can answer for all."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from pydantic_core import from_json, to_json

from service.logs import LOGGER
from service.processes.fleet_changes import FORWARD, MOST_BYTES, PREPARE, FleetChanges
from service.processes.metrics_merge import Families, lasting, merge, read_families, write_families
from service.processes.slot import WorkerSlot
from service.runtime.change import Change, ChangeReport
from service.runtime.changes import Changes
from service.whole_write import write_whole

log = logging.getLogger(LOGGER)

ANSWER_TIMEOUT_SECONDS = 1.0
"""How long a peer may take to answer; shorter than the timeout of a readiness probe that waits for it."""
_READINESS, _METRICS = b"readiness\n", b"metrics\n"


class Peers:
    """The service's other processes: queried on their sockets, and answered on this process's own.

    A counter in a reported exposition never decreases, although processes die. Each process saves its metrics to a file
    before it reports them. While it does not answer, its saved counters are used. The next process of its slot adds
    them to its own.

    Args:
        slot: this process's.
        registry: this process's metrics.
        not_ready: returns why this process is not ready, one reason each.
        changes: changes the models of this process.
    """

    def __init__(
        self,
        slot: WorkerSlot,
        registry: Collector,
        not_ready: Callable[[], list[str]],
        changes: Changes | None = None,
    ) -> None:
        self._slot = slot
        self._registry = registry
        self._own_reasons = not_ready
        self._changes = None if changes is None else FleetChanges(slot, changes)
        self._inherited = lasting(_saved_metrics(slot))
        self._saving = asyncio.Lock()
        self._silent: set[int] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer the other processes until the block ends."""
        self._slot.socket.unlink(
            missing_ok=True
        )  # from an earlier process of this slot that was killed
        server = await asyncio.start_unix_server(self._answer, self._slot.socket, limit=MOST_BYTES)
        try:
            await self._own_metrics()
            yield
        finally:
            server.close()

    async def not_ready(self) -> list[str]:
        """Return why not every process is ready, each reason with the process's name; empty where all are."""
        others = self._slot.others()
        answers = await _query_all(others, _READINESS)
        reasons = [f"{self._slot.name}: {reason}" for reason in self._own_reasons()]
        for other, answer in zip(others, answers, strict=True):
            if answer is None:
                reasons.append(f"{other.name} does not answer")
            else:
                reasons += [f"{other.name}: {reason}" for reason in from_json(answer)]
        return reasons

    async def exposition(self, encode: Callable[[Collector], bytes]) -> bytes:
        """Return the metrics of all processes together, encoded."""
        others = self._slot.others()
        own, answers = await asyncio.gather(self._own_metrics(), _query_all(others, _METRICS))
        for other, answer in zip(others, answers, strict=True):
            self._log_silence(other, silent=answer is None)
        return await asyncio.to_thread(_encode_merged, encode, own, others, answers)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio of Python 3.11 logs the cancellation at the end of the process as an error.
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            query = await reader.readline()
            if query == _READINESS:
                writer.write(to_json(self._own_reasons()) + b"\n")
            elif query == _METRICS:
                writer.write(await self._own_metrics() + b"\n")
            elif self._changes is not None and query.startswith((FORWARD, PREPARE)):
                await self._changes.serve(query.rstrip(b"\n"), reader, writer)
            await writer.drain()

    async def change(self, change: Change) -> ChangeReport:
        """Change the models of all processes, or of none.

        Raises:
            RequestError: it can not be done.
            UnavailableError: a process does not answer.
        """
        assert self._changes is not None
        return await self._changes.change(change)

    async def _own_metrics(self) -> bytes:
        async with self._saving:
            return await asyncio.to_thread(self._save_metrics)

    def _save_metrics(self) -> bytes:
        metrics = write_families(merge([self._registry.collect(), self._inherited]))
        with contextlib.suppress(OSError):  # the supervisor removes the folder when it ends
            write_whole(self._slot.saved_metrics, metrics)
        return metrics

    def _log_silence(self, other: WorkerSlot, *, silent: bool) -> None:
        if silent and other.index not in self._silent:
            log.warning("%s does not answer; its saved counters are used", other.name)
        (self._silent.add if silent else self._silent.discard)(other.index)


async def _query_all(slots: Sequence[WorkerSlot], query: bytes) -> list[bytes | None]:
    return await asyncio.gather(*(_query(slot, query) for slot in slots))


async def _query(slot: WorkerSlot, query: bytes) -> bytes | None:
    """Return a process's answer, None where it comes too late or is incomplete."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(slot.socket)
            with contextlib.closing(writer):
                writer.write(query)
                answer = await reader.read()
    except (OSError, TimeoutError):
        return None
    return answer if answer.endswith(b"\n") else None


def _encode_merged(
    encode: Callable[[Collector], bytes],
    own: bytes,
    others: Sequence[WorkerSlot],
    answers: Sequence[bytes | None],
) -> bytes:
    parts = [read_families(own)]
    for other, answer in zip(others, answers, strict=True):
        parts.append(lasting(_saved_metrics(other)) if answer is None else read_families(answer))
    return encode(Families(merge(parts)))


def _saved_metrics(slot: WorkerSlot) -> list[Metric]:
    try:
        return read_families(slot.saved_metrics.read_bytes())
    except FileNotFoundError:
        return []
