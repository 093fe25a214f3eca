"""What the processes of one service tell each other, so that whichever is asked answers for all."""

import asyncio
import contextlib
import logging
import mmap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from pydantic_core import from_json, to_json

from service.logs import LOGGER
from service.processes.metrics_merge import Families, lasting, read_families, total, write_families

log = logging.getLogger(LOGGER)

PATIENCE_SECONDS = 1.0
"""How long a sibling may take to answer; a readiness probe that asks us waits longer."""
_READY, _COUNTED = b"ready\n", b"counted\n"


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """One worker's slot among `count`, held by one process after another; `index` counts from 0.

    `folder` is the service's own: each slot has a socket there, and a file of what it last told.
    """

    folder: Path
    index: int
    count: int
    refilled: bool = False

    @property
    def name(self) -> str:
        return f"worker {self.index + 1}"

    @property
    def socket(self) -> Path:
        return self.folder / f"{self.index}.socket"

    @property
    def told(self) -> Path:
        return self.folder / f"{self.index}.json"

    def share(self, whole: int) -> int:
        """Return this slot's part of a number of threads, at least one."""
        return max(1, whole // self.count + (self.index < whole % self.count))

    def others(self) -> "list[WorkerSlot]":
        return [
            WorkerSlot(self.folder, index, self.count)
            for index in range(self.count)
            if index != self.index
        ]


class Tally:
    """How many connections each process has, in memory that all of them map."""

    def __init__(self, slot: WorkerSlot) -> None:
        self._index = slot.index
        with (slot.folder / "connections").open("a+b") as file:
            file.truncate(slot.count * 4)
            self._counts = memoryview(mmap.mmap(file.fileno(), slot.count * 4)).cast("I")
        self._counts[self._index] = 0

    def vacate(self) -> None:
        """Let nobody wait for this process, which has died, to take a connection."""
        self._counts[self._index] = 2**32 - 1

    def has_fewest(self, own: int) -> bool:
        """Tell the others how many this process has; return whether none of them has fewer."""
        self._counts[self._index] = own
        return own <= min(self._counts)


class Peers:
    """Asks the other processes on their sockets, and answers on its own.

    A counter that was told never goes back: each process writes down what it tells before it tells it, the one that
    comes after it counts on from there, and while none answers what was written stands for it.
    """

    def __init__(
        self, slot: WorkerSlot, registry: CollectorRegistry, not_ready: Callable[[], list[str]]
    ) -> None:
        self._slot = slot
        self._registry = registry
        self._not_ready = not_ready
        self._before = lasting(_last_told(slot))
        self._telling = asyncio.Lock()
        self._silent: set[int] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer the others until the block ends."""
        self._slot.socket.unlink(missing_ok=True)  # left by the one before, who was killed
        server = await asyncio.start_unix_server(self._on_question, self._slot.socket)
        try:
            await self._tell()
            yield
        finally:
            server.close()

    async def not_ready(self) -> list[str]:
        """Return why not every process is ready, each reason with whose it is."""
        others = self._slot.others()
        answers = await _ask_all(others, _READY)
        reasons = [f"{self._slot.name}: {reason}" for reason in self._not_ready()]
        for other, answer in zip(others, answers, strict=True):
            if answer is None:
                reasons.append(f"{other.name} does not answer")
            else:
                reasons += [f"{other.name}: {reason}" for reason in from_json(answer)]
        return reasons

    async def exposition(self, encode: Callable[[Families], bytes]) -> bytes:
        """Return what all processes have counted, encoded."""
        others = self._slot.others()
        own, answers = await asyncio.gather(self._tell(), _ask_all(others, _COUNTED))
        for other, answer in zip(others, answers, strict=True):
            self._notice(other, silent=answer is None)
        return await asyncio.to_thread(_encode_total, encode, own, others, answers)

    async def _on_question(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            question = await reader.readline()
            if question == _READY:
                writer.write(to_json(self._not_ready()) + b"\n")
            elif question == _COUNTED:
                writer.write(await self._tell() + b"\n")
            await writer.drain()

    async def _tell(self) -> bytes:
        async with self._telling:
            return await asyncio.to_thread(self._write_down)

    def _write_down(self) -> bytes:
        told = write_families(total([self._registry.collect(), self._before]))
        draft = self._slot.told.with_suffix(".draft")
        with contextlib.suppress(OSError):  # the folder goes with the supervisor
            draft.write_bytes(told)
            draft.replace(self._slot.told)
        return told

    def _notice(self, other: WorkerSlot, *, silent: bool) -> None:
        if silent and other.index not in self._silent:
            log.warning(
                "%s does not answer; its counters stand where they were last told", other.name
            )
        (self._silent.add if silent else self._silent.discard)(other.index)


async def _ask_all(slots: Sequence[WorkerSlot], question: bytes) -> list[bytes | None]:
    return await asyncio.gather(*(_ask(slot, question) for slot in slots))


async def _ask(slot: WorkerSlot, question: bytes) -> bytes | None:
    """Return a process's answer, None where there is none in time or it breaks off."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_unix_connection(slot.socket)
            with contextlib.closing(writer):
                writer.write(question)
                answer = await reader.read()
    except (OSError, TimeoutError):
        return None
    return answer if answer.endswith(b"\n") else None


def _encode_total(
    encode: Callable[[Families], bytes],
    own: bytes,
    others: Sequence[WorkerSlot],
    answers: Sequence[bytes | None],
) -> bytes:
    parts = [read_families(own)]
    for other, answer in zip(others, answers, strict=True):
        parts.append(lasting(_last_told(other)) if answer is None else read_families(answer))
    return encode(Families(total(parts)))


def _last_told(slot: WorkerSlot) -> list[Metric]:
    try:
        return read_families(slot.told.read_bytes())
    except FileNotFoundError:
        return []
