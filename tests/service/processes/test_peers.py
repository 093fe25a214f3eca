"""Two processes of one service, on real sockets of one test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics
from service.processes.peers import Peers
from service.processes.slot import WorkerSlot

pytestmark = pytest.mark.anyio


class Process:
    """What a process counts, and why it is not ready."""

    def __init__(self, slot: WorkerSlot) -> None:
        self.metrics = Metrics()
        self.metrics.workers.set(1)
        self.reasons: list[str] = []
        self.peers = Peers(slot, self.metrics.registry, lambda: self.reasons)

    def count(self, requests: int) -> None:
        self.metrics.requests.labels("/v1/classify", "lenet5", "1", "200").inc(requests)


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[Process, Process, AsyncExitStack]]:
    """Start two; the second one ends with its stack, or with the block."""
    first, second = Process(WorkerSlot(folder, 0, 2)), Process(WorkerSlot(folder, 1, 2))
    async with first.peers.listening(), AsyncExitStack() as life:
        await life.enter_async_context(second.peers.listening())
        yield first, second, life


async def requests_reported(process: Process) -> tuple[float, float]:
    """Return the requests that a scrape of this process reports, and how many processes answered it."""
    text = (await process.peers.exposition(generate_latest)).decode()
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return values["foveal_requests_total"], values["foveal_workers"]


async def test_a_scrape_of_any_process_reports_the_counts_of_all(tmp_path: Path) -> None:
    async with pair(tmp_path) as (first, second, _):
        first.count(2)
        second.count(3)
        assert await requests_reported(first) == (5, 2)
        assert await requests_reported(second) == (5, 2)


async def test_a_counter_never_decreases_when_a_process_dies_and_another_takes_its_slot(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (first, second, life):
        first.count(2)
        second.count(3)
        assert await requests_reported(first) == (5, 2)
        await life.aclose()
        assert await requests_reported(first) == (5, 1)
        successor = Process(WorkerSlot(tmp_path, 1, 2, refilled=True))
        async with successor.peers.listening():
            assert await requests_reported(first) == (5, 2)
            successor.count(1)
            assert await requests_reported(first) == (6, 2)
            assert await requests_reported(successor) == (6, 2)


async def test_a_process_is_ready_when_all_are_and_else_names_the_process_of_each_reason(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (first, second, life):
        assert await first.peers.not_ready() == []
        second.reasons = ["lenet5 version 1 is still loading"]
        assert await first.peers.not_ready() == ["worker 2: lenet5 version 1 is still loading"]
        assert await second.peers.not_ready() == ["worker 2: lenet5 version 1 is still loading"]
        await life.aclose()
        assert await first.peers.not_ready() == ["worker 2 does not answer"]


async def test_a_peer_whose_answer_is_incomplete_counts_as_silent(tmp_path: Path) -> None:
    async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'["half a rea')
        writer.close()

    first = Process(WorkerSlot(tmp_path, 0, 2))
    server = await asyncio.start_unix_server(break_off, WorkerSlot(tmp_path, 1, 2).socket)
    async with first.peers.listening(), server:
        assert await first.peers.not_ready() == ["worker 2 does not answer"]
        assert await own_requests(first) == 1


async def own_requests(process: Process) -> float:
    process.count(1)
    requests, _ = await requests_reported(process)
    return requests


def is_answer(task: "asyncio.Task[object]") -> bool:
    return "Peers._answer" in repr(task)


async def test_an_answer_that_the_end_of_the_process_cancels_is_no_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slot = WorkerSlot(tmp_path, 0, 2)
    async with Process(slot).peers.listening():
        before = asyncio.all_tasks()
        reader, writer = await asyncio.open_unix_connection(slot.socket)
        writer.write(b"half a que")
        while not any(map(is_answer, answering := asyncio.all_tasks() - before)):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # it has begun
        for task in answering:
            task.cancel()
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert not caplog.records
