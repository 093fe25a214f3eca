"""Answers that are kept, and answers that several requests wait for."""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from service.errors import (
    BrokenImageError,
    ClientLeftError,
    DeadlineError,
    FovealError,
    OverloadedError,
)
from service.imaging.overlay import RenderedImage
from service.metrics import Metrics
from service.response_cache import (
    MOST_EVICTED,
    CachedResult,
    Outcome,
    ResponseCache,
    bytes_of,
    keep,
)
from service.runtime.job import JobResult, Trace

pytestmark = pytest.mark.anyio

A, B, C = (letter * 32 for letter in (b"a", b"b", b"c"))


class Network:
    """Answers when it may; counts what it ran."""

    def __init__(self, result: Callable[[int], object] = lambda index: {"index": index}) -> None:
        self.result = result
        self.may = asyncio.Event()
        self.begun = asyncio.Event()
        self.ran: list[Sequence[int]] = []
        self.canceled = 0

    async def __call__(self, indices: Sequence[int]) -> list[Outcome]:
        self.ran.append(indices)
        self.begun.set()
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.canceled += 1
            raise
        found = [self.result(index) for index in indices]
        return [one if isinstance(one, FovealError) else JobResult(one, Trace()) for one in found]


def cache_of(capacity: int = 1 << 20, metrics: Metrics | None = None) -> ResponseCache:
    return ResponseCache(capacity, metrics or Metrics(), longest_seconds=60)


async def run(
    cache: ResponseCache, network: Network, *keys: bytes | None, seconds: float = 10, **given: Any
) -> list[Outcome]:
    return await cache.run(keys, network, model="m", timeout_seconds=seconds, **given)


def counted(metrics: Metrics, outcome: str) -> float:
    labels = {"model": "m", "outcome": outcome}
    return metrics.registry.get_sample_value("foveal_cache_images_total", labels) or 0.0


def values(outcomes: Sequence[Outcome]) -> list[Any]:
    assert all(isinstance(one, JobResult) for one in outcomes)
    return [one.value for one in outcomes if isinstance(one, JobResult)]


async def test_an_image_runs_once_and_is_answered_from_then_on() -> None:
    metrics, network = Metrics(), Network()
    network.may.set()
    cache = cache_of(metrics=metrics)
    first = await run(cache, network, A, B)
    second = await run(cache, network, B, A, C)
    assert values(first) == [{"index": 0}, {"index": 1}]
    assert values(second) == [{"index": 1}, {"index": 0}, {"index": 2}]
    assert network.ran == [[0, 1], [2]]
    assert [type(one) for one in second] == [CachedResult, CachedResult, JobResult]
    assert (counted(metrics, "hit"), counted(metrics, "miss")) == (2, 3)
    assert metrics.registry.get_sample_value("foveal_cache_entries") == 3


async def test_results_are_kept_by_the_keys_as_they_are_when_the_images_have_run() -> None:
    network, cache = Network(), cache_of()
    now = [A, None, B]
    first = asyncio.create_task(run(cache, network, A, None, B, keys_now=lambda: now))
    await network.begun.wait()
    joined = asyncio.create_task(run(cache, network, B))
    await asyncio.sleep(0)
    now = [C, None, A]
    network.may.set()
    assert values(await first) == [{"index": 0}, {"index": 1}, {"index": 2}]
    assert values(await joined) == [{"index": 2}], "who asked meanwhile gets what was made"
    assert values(await run(cache, network, C, A)) == [{"index": 0}, {"index": 2}]
    assert network.ran == [[0, 1, 2]]
    await run(cache, network, B)
    assert network.ran == [[0, 1, 2], [0]]


async def test_images_that_run_again_are_kept_by_their_keys_of_then() -> None:
    refused, network, cache = Network(), Network(), cache_of()

    async def refuse(_: Sequence[int]) -> list[Outcome]:
        await refused(())
        raise OverloadedError("full")

    first = asyncio.create_task(cache.run([B], refuse, model="m", timeout_seconds=10))
    await refused.begun.wait()
    second = asyncio.create_task(run(cache, network, A, B, keys_now=lambda: [A, C]))
    await network.begun.wait()
    for one in (refused, network):
        one.may.set()
    with pytest.raises(OverloadedError):
        await first
    assert values(await second) == [{"index": 0}, {"index": 1}]
    assert values(await run(cache, network, C, A)) == [{"index": 1}, {"index": 0}]
    assert network.ran == [[0], [1]]


async def test_a_caller_that_changes_its_answer_changes_nobody_elses() -> None:
    network, cache = Network(lambda _: {"list": [1]}), cache_of()
    network.may.set()
    (first,) = values(await run(cache, network, A))
    first["list"].append(2)
    (second,) = values(await run(cache, network, A))
    second["list"].append(3)
    assert values(await run(cache, network, A)) == [{"list": [1]}]


async def test_the_same_image_in_flight_runs_once_also_within_one_request() -> None:
    metrics, network = Metrics(), Network()
    cache = cache_of(metrics=metrics)
    first = asyncio.create_task(run(cache, network, A, A))
    await network.begun.wait()
    second = asyncio.create_task(run(cache, network, A))
    await asyncio.sleep(0)
    network.may.set()
    assert values(await first) == [{"index": 0}, {"index": 0}]
    (joined,) = await second
    assert isinstance(joined, CachedResult)
    assert (joined.origin, joined.value) == ("joined", {"index": 0})
    assert network.ran == [[0]]
    assert (counted(metrics, "joined"), counted(metrics, "miss")) == (2, 1)


async def test_a_first_requester_that_is_canceled_or_late_or_left_does_not_end_the_run() -> None:
    async def at_once() -> None:
        return

    for given in ({"seconds": 0.0}, {"disconnected": at_once}, {}):
        network, cache = Network(), cache_of()
        first = asyncio.create_task(run(cache, network, A, **given))
        second = asyncio.create_task(run(cache, network, A))
        await network.begun.wait()
        if not given:
            first.cancel()
        await asyncio.wait([first])
        network.may.set()
        assert values(await second) == [{"index": 0}]
        assert (network.ran, network.canceled) == ([[0]], 0)


async def test_each_waiter_has_its_own_deadline_and_its_own_client() -> None:
    async def at_once() -> None:
        return

    network, cache = Network(), cache_of()
    first = asyncio.create_task(run(cache, network, A))
    await network.begun.wait()
    (late,) = await run(cache, network, A, seconds=0)
    (left,) = await run(cache, network, A, disconnected=at_once)
    assert isinstance(late, DeadlineError)
    assert isinstance(left, ClientLeftError)
    network.may.set()
    assert values(await first) == [{"index": 0}]


async def test_a_run_ends_when_nobody_waits_for_it_and_the_next_request_begins_another() -> None:
    network, cache = Network(), cache_of()
    tasks = [asyncio.create_task(run(cache, network, A)) for _ in range(2)]
    await network.begun.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    network.may.set()
    assert values(await run(cache, network, A)) == [{"index": 0}]
    assert (network.canceled, len(network.ran)) == (1, 2)


async def test_an_error_is_shared_by_those_who_wait_and_not_kept() -> None:
    network, cache = Network(lambda _: BrokenImageError("cut short")), cache_of()
    tasks = [asyncio.create_task(run(cache, network, A)) for _ in range(2)]
    await network.begun.wait()
    network.may.set()
    errors = [(await task)[0] for task in tasks]
    assert [type(one) for one in errors] == [BrokenImageError] * 2
    assert errors[0] is not errors[1]
    network.result = lambda _: {"fine": True}
    assert values(await run(cache, network, A)) == [{"fine": True}]


async def test_a_request_that_is_refused_as_a_whole_raises_for_all_who_wait() -> None:
    async def refuse(_: Sequence[int]) -> list[Outcome]:
        await asyncio.sleep(0)
        raise OverloadedError("full")

    cache = cache_of()
    calls = [cache.run([A], refuse, model="m", timeout_seconds=10) for _ in range(2)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in found] == [OverloadedError] * 2


@pytest.mark.parametrize("raised", [True, False])
async def test_a_run_that_is_refused_or_late_for_the_first_request_fails_no_other(
    *, raised: bool
) -> None:
    may, begun = asyncio.Event(), asyncio.Event()

    async def refuse(indices: Sequence[int]) -> list[Outcome]:
        begun.set()
        await may.wait()
        if raised:
            raise OverloadedError("300 more do not fit")
        return [DeadlineError("late") for _ in indices]

    metrics, network = Metrics(), Network()
    cache = cache_of(metrics=metrics)
    network.may.set()
    first = asyncio.create_task(cache.run([A, B], refuse, model="m", timeout_seconds=10))
    await begun.wait()
    second = asyncio.create_task(run(cache, network, C, B))
    third = asyncio.create_task(run(cache, network, B))
    await asyncio.sleep(0)
    may.set()
    (failed,) = await asyncio.gather(first, return_exceptions=True)
    (error,) = {type(one) for one in (failed if isinstance(failed, list) else [failed])}
    assert error is (OverloadedError if raised else DeadlineError)
    assert values(await second) == [{"index": 0}, {"index": 1}]
    assert len(values(await third)) == 1
    assert len(network.ran) == 2, "C, and B once for both that had waited"
    counts = {one: counted(metrics, one) for one in ("miss", "joined", "hit")}
    assert counts == {"miss": 4, "joined": 1, "hit": 0}, "each of five images once"


async def test_a_crowd_that_a_full_queue_refuses_is_answered_in_few_rounds() -> None:
    """In one round for each request, 200 of them held the event loop for 1.6 s, and 1,000 were too deep a recursion."""
    asked = 0

    async def refuse(_: Sequence[int]) -> list[Outcome]:
        nonlocal asked
        asked += 1
        raise OverloadedError("full")

    cache = cache_of()
    crowd = asyncio.gather(
        *(cache.run([A], refuse, model="m", timeout_seconds=10) for _ in range(100)),
        return_exceptions=True,
    )
    steps = 0
    while not crowd.done():
        await asyncio.sleep(0)
        steps += 1
    assert {type(one) for one in await crowd} == {OverloadedError}
    assert len({id(one) for one in await crowd}) == 100, "an error belongs to one request"
    assert asked <= 100
    assert steps < 100


async def test_an_image_that_two_others_were_refused_with_runs_alone_and_is_kept() -> None:
    async def refuse(_: Sequence[int]) -> list[Outcome]:
        await asyncio.sleep(0)
        raise OverloadedError("300 more do not fit")

    network, cache = Network(), cache_of()
    network.may.set()
    large = [
        asyncio.create_task(cache.run([A, key], refuse, model="m", timeout_seconds=10))
        for key in (B, C)
    ]
    await asyncio.sleep(0)
    assert values(await run(cache, network, A)) == [{"index": 0}]
    assert {type(one) for one in await asyncio.gather(*large, return_exceptions=True)} == {
        OverloadedError
    }
    assert values(await run(cache, network, A)) == [{"index": 0}]
    assert network.ran == [[0]]


async def test_a_request_whose_time_is_up_does_not_run_again_what_was_refused() -> None:
    may, begun = asyncio.Event(), asyncio.Event()

    async def refuse(_: Sequence[int]) -> list[Outcome]:
        begun.set()
        await may.wait()
        raise OverloadedError("300 more do not fit")

    cache, network = cache_of(), Network()
    first = asyncio.create_task(cache.run([A], refuse, model="m", timeout_seconds=10))
    await begun.wait()
    (late,) = await run(cache, network, A, seconds=0)
    assert isinstance(late, DeadlineError)
    may.set()
    with pytest.raises(OverloadedError):
        await first
    assert network.ran == []


async def test_a_bug_reaches_its_callers_and_leaves_nothing_in_flight() -> None:
    async def fail(_: Sequence[int]) -> list[Outcome]:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    cache, network = cache_of(), Network()
    with pytest.raises(ZeroDivisionError):
        await cache.run([A], fail, model="m", timeout_seconds=10)
    network.may.set()
    assert values(await run(cache, network, A)) == [{"index": 0}]


async def test_the_least_recently_used_goes_first_and_what_is_too_large_is_not_kept() -> None:
    metrics, network = Metrics(), Network(lambda _: {"text": "x" * 1000})
    network.may.set()
    one = bytes_of(keep({"text": "x" * 1000}) or b"")
    cache = cache_of(2 * one, metrics)
    for key in (A, B, A, C, A, B):
        await run(cache, network, key)
    assert len(network.ran) == 4  # A, B, C in the place of B, B again
    assert cache.bytes == 2 * one
    assert metrics.registry.get_sample_value("foveal_cache_evictions_total") == 2
    network.result = lambda _: {"text": "x" * 10_000}
    for _ in range(2):
        await run(cache, network, b"d" * 32)
    assert (len(network.ran), cache.bytes) == (6, 2 * one)


async def test_a_flood_of_distinct_images_holds_what_it_may_and_few_go_at_once_for_a_large_one() -> (
    None
):
    metrics, network = Metrics(), Network(lambda _: {})
    network.may.set()
    one, many = bytes_of(keep({}) or b""), 3 * MOST_EVICTED
    cache = cache_of(many * one, metrics)

    def evictions() -> float | None:
        return metrics.registry.get_sample_value("foveal_cache_evictions_total")

    for number in range(many + MOST_EVICTED):
        await run(cache, network, number.to_bytes(32, "big"))
        assert cache.bytes <= many * one
    assert (cache.bytes, evictions()) == (many * one, MOST_EVICTED)
    network.result = lambda _: {"text": "x" * (2 * MOST_EVICTED * one)}
    for times in (1, 2):
        assert values(await run(cache, network, A))
        assert evictions() == MOST_EVICTED * (1 + times)
        assert cache.bytes == (many - times * MOST_EVICTED) * one, "it had no room"
    await run(cache, network, A)
    before = len(network.ran)
    assert isinstance((await run(cache, network, A))[0], CachedResult)
    assert len(network.ran) == before


async def test_what_has_no_key_or_is_no_json_is_answered_and_not_kept() -> None:
    network, cache = Network(lambda _: {"set": {1}, "object": object()}), cache_of()
    network.may.set()
    await run(cache, network, None, A)
    await run(cache, network, None, A)
    assert (network.ran, cache.bytes) == ([[0, 1], [0, 1]], 0)


async def test_outputs_are_kept_apart_from_their_batch() -> None:
    batch = np.zeros((64, 1000), np.float32)
    network, cache = Network(lambda index: {"logits": batch[index]}), cache_of()
    network.may.set()
    await run(cache, network, A)
    batch[:] = 1
    ((kept),) = values(await run(cache, network, A))
    assert kept["logits"].tolist() == [0] * 1000
    assert kept["logits"].base is None
    with pytest.raises(ValueError, match="read-only"):
        kept["logits"][0] = 1


@pytest.mark.parametrize(
    "result",
    [
        lambda index: {"predictions": [{"label": f"l{index}", "probability": index / 7}] * 5},
        lambda index: RenderedImage(bytes(500 + index), "image/png"),
        lambda index: {"features": np.full(200, index, np.float32)},
    ],
    ids=["json", "image", "outputs"],
)
async def test_the_entries_hold_what_the_cache_says(result: Callable[[int], object]) -> None:
    network, cache, count = Network(result), cache_of(1 << 30), 500
    network.may.set()
    gc.collect()  # what earlier tests left is not freed meanwhile
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for index in range(count):
            key = index.to_bytes(32, "big")
            network.ran.clear()
            await cache.run([key], network, model="m", timeout_seconds=10)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / cache.bytes == pytest.approx(1, abs=0.15)
