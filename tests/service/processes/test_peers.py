"""Two processes' worth of siblings, on real sockets of one test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics
from service.processes.peers import Peers, Tally, WorkerSlot

pytestmark = pytest.mark.anyio


class Process:
    """What a process counts, and why it is not ready."""

    def __init__(self, slot: WorkerSlot) -> None:
        self.metrics = Metrics()
        self.metrics.workers.set(1)
        self.reasons: list[str] = []
        self.peers = Peers(slot, self.metrics.registry, lambda: self.reasons)

    def count(self, requests: int) -> None:
        self.metrics.requests.labels("/v1/classify", "lenet5", "200").inc(requests)


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[Process, Process, AsyncExitStack]]:
    """Start two; the second one ends with its stack, or with the block."""
    first, second = Process(WorkerSlot(folder, 0, 2)), Process(WorkerSlot(folder, 1, 2))
    async with first.peers.listening(), AsyncExitStack() as life:
        await life.enter_async_context(second.peers.listening())
        yield first, second, life


async def requests_told(process: Process) -> tuple[float, float]:
    """Return the requests that a scrape of this process tells, and how many processes answered it."""
    text = (await process.peers.exposition(generate_latest)).decode()
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return values["foveal_requests_total"], values["foveal_workers"]


async def test_whichever_is_scraped_tells_what_all_have_counted(tmp_path: Path) -> None:
    async with pair(tmp_path) as (first, second, _):
        first.count(2)
        second.count(3)
        assert await requests_told(first) == (5, 2)
        assert await requests_told(second) == (5, 2)


async def test_a_counter_never_goes_back_when_a_process_dies_and_another_takes_its_place(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (first, second, life):
        first.count(2)
        second.count(3)
        assert await requests_told(first) == (5, 2)
        await life.aclose()
        assert await requests_told(first) == (5, 1)
        heir = Process(WorkerSlot(tmp_path, 1, 2, refilled=True))
        async with heir.peers.listening():
            assert await requests_told(first) == (5, 2)
            heir.count(1)
            assert await requests_told(first) == (6, 2)
            assert await requests_told(heir) == (6, 2)


async def test_a_process_is_ready_when_all_are_and_else_names_whose_reason_it_is(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (first, second, life):
        assert await first.peers.not_ready() == []
        second.reasons = ["lenet5 version 1 is still loading"]
        assert await first.peers.not_ready() == ["worker 2: lenet5 version 1 is still loading"]
        assert await second.peers.not_ready() == ["worker 2: lenet5 version 1 is still loading"]
        await life.aclose()
        assert await first.peers.not_ready() == ["worker 2 does not answer"]


async def test_a_sibling_that_breaks_off_does_not_answer(tmp_path: Path) -> None:
    async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'["half a rea')
        writer.close()

    first = Process(WorkerSlot(tmp_path, 0, 2))
    server = await asyncio.start_unix_server(break_off, WorkerSlot(tmp_path, 1, 2).socket)
    async with first.peers.listening(), server:
        assert await first.peers.not_ready() == ["worker 2 does not answer"]
        assert await requests_told_alone(first) == 1


async def requests_told_alone(process: Process) -> float:
    process.count(1)
    told, _ = await requests_told(process)
    return told


def test_a_connection_is_left_to_whoever_has_fewest_and_not_to_the_dead(tmp_path: Path) -> None:
    first, second = Tally(WorkerSlot(tmp_path, 0, 2)), Tally(WorkerSlot(tmp_path, 1, 2))
    assert first.has_fewest(0)
    assert not first.has_fewest(1)
    assert second.has_fewest(1)
    second.vacate()
    assert first.has_fewest(100)
    Tally(WorkerSlot(tmp_path, 1, 2, refilled=True))
    assert not first.has_fewest(100)


@pytest.mark.parametrize(
    ("threads", "count", "shares"),
    [(8, 2, [4, 4]), (3, 2, [2, 1]), (2, 3, [1, 1, 1]), (1, 1, [1])],
)
def test_threads_are_shared_out_and_each_has_one(
    threads: int, count: int, shares: list[int], tmp_path: Path
) -> None:
    slot = WorkerSlot(tmp_path, 0, count)
    assert [replace(slot, index=index).share(threads) for index in range(count)] == shares
