"""Answers of identical images: kept for a while, and shared while they are made. Everything runs on the event loop."""

import asyncio
import copy
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic_core import from_json, to_json

from service.errors import (
    ClientLeftError,
    DeadlineError,
    FovealError,
    StuckError,
    UnavailableError,
)
from service.imaging.overlay import RenderedImage
from service.metrics import Metrics
from service.runtime.job import JobResult, Trace
from service.value import value

Disconnected = Callable[[], Coroutine[Any, Any, None]]
Outcome = JobResult[Any] | FovealError
Compute = Callable[[Sequence[int]], Coroutine[Any, Any, list[Outcome]]]
"""Answers the images with these indices, in order; raises where the request as a whole is refused."""
Keys = Callable[[], Sequence[bytes | None]]
"""Returns the keys of the images of a request as they are now."""
Origin = Literal["hit", "joined"]

ENTRY_BYTES = 256
"""What an entry takes beside its content: its key, and its place in the order of use. A test measures it."""


@value
class CachedResult(JobResult[Any]):
    """A result that was not made for this request: it was kept, or made for another one at the same time."""

    origin: Origin = "hit"


MOST_EVICTED = 256
"""Entries that go at once for one that comes: to free a hundred thousand small ones would hold up the event loop."""

MOST_JOINS = 2
"""Runs of other requests that a request waits for, one after the other, where they are refused; then it runs its image
itself. A full queue refuses a crowd of equal images: one by one they would take as many rounds as there are."""

Kept = bytes | RenderedImage | Mapping[str, Any]
"""A result as it is kept: JSON, or encoded already, or the outputs of a network."""


def keep(result: object) -> Kept | None:
    """Return a result so that nothing outside can change it; None for one that is no JSON."""
    if isinstance(result, RenderedImage):
        return result
    if isinstance(result, Mapping) and any(isinstance(one, np.ndarray) for one in result.values()):
        return {name: _frozen(array) for name, array in result.items()}
    try:
        return to_json(result, inf_nan_mode="constants")
    except ValueError:
        return None


def _frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a copy, because a row of a batch keeps the whole batch."""
    own = array.copy()
    own.setflags(write=False)
    return own


def give(kept: Kept) -> Any:  # noqa: ANN401  # the result of any task
    """Return what `keep` took."""
    return from_json(kept) if isinstance(kept, bytes) else kept


def bytes_of(kept: Kept) -> int:
    """Return how many bytes an entry with this content takes."""
    if isinstance(kept, bytes):
        return ENTRY_BYTES + sys.getsizeof(kept)
    if isinstance(kept, RenderedImage):
        return ENTRY_BYTES + sys.getsizeof(kept) + sys.getsizeof(kept.content)
    arrays = sum(sys.getsizeof(one) for one in kept.values())
    return ENTRY_BYTES + sys.getsizeof(kept) + arrays


@dataclass(slots=True, eq=False)
class _Run:
    """The images of one request that are run for it and for all that wait for the same ones."""

    waiting: int = 0
    refused: bool = False
    task: "asyncio.Task[None] | None" = None


@dataclass(slots=True, eq=False)
class _Flight:
    """One image in flight; `kept` is its result as it is kept, for all that have joined."""

    key: "tuple[bytes, bool] | None"
    run: _Run
    kept: Kept | None = None
    landed: "asyncio.Future[Outcome]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class ResponseCache:
    """Results by a digest of everything that they depend on.

    Promises: an image that is asked for twice at one time runs once. That run goes on while anyone waits for it, and no
    longer. Each request keeps its own deadline. No error is kept. A run that was refused, or was late, for the request
    that began it (its images were more than a queue takes) fails no other: those that wait run the image themselves,
    again together at first, and then each alone.
    `capacity` bounds what the entries hold; the least recently used go first, at most `MOST_EVICTED` at once: a result
    that still has no room is not kept.

    Args:
        capacity: in bytes, as `bytes_of` counts them.
        metrics: where hits are counted.
        longest_seconds: how long a run may take that several requests wait for.
    """

    def __init__(self, capacity: int, metrics: Metrics, *, longest_seconds: float) -> None:
        self.bytes = 0
        self._capacity = capacity
        self._longest_seconds = longest_seconds
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._flights: dict[tuple[bytes, bool], _Flight] = {}
        self._images = metrics.cache_images
        self._evictions = metrics.cache_evictions
        metrics.cache_bytes.set_function(lambda: self.bytes)
        metrics.cache_entries.set_function(lambda: len(self._kept))

    @property
    def longest_seconds(self) -> float:
        """How long a run may take that several requests wait for."""
        return self._longest_seconds

    async def run(
        self,
        keys: Sequence[bytes | None],
        compute: Compute,
        *,
        keys_now: Keys | None = None,
        model: str,
        timeout_seconds: float,
        disconnected: Disconnected | None = None,
        low_priority: bool = False,
        joins: int = MOST_JOINS,
    ) -> list[Outcome]:
        """Return the outcome of each image, in order: kept, in flight already, or computed now.

        Args:
            keys: the digest of each image and what its result depends on; None for one that is not kept.
            compute: answers images; called with those that nobody else runs, and again where that run was refused.
            keys_now: called when the images have run, for the keys that their results are kept by: the model may have
                been loaded in another precision meanwhile. None: `keys`.
            model: its name, for the metric.
            timeout_seconds: how long until this request ends.
            disconnected: returns when the caller has left.
            low_priority: jobs of low priority are shared among such only.
            joins: how often it may still wait for what another request has begun.

        Raises:
            FovealError: what `compute` raised.
        """
        began = asyncio.get_running_loop().time()
        outcomes: dict[int, Outcome] = {}
        flights: dict[int, _Flight] = {}
        new: list[tuple[int, _Flight]] = []
        run = _Run()
        for index, key in enumerate(keys):
            if key is not None and (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                outcomes[index] = CachedResult(give(kept), Trace(), "hit")
                continue
            known = self._flights.get((key, low_priority)) if key is not None and joins else None
            flights[index] = known or self._begin(key, run, low_priority=low_priority)
            if known is None:
                new.append((index, flights[index]))
        self._count(model, "hit", len(outcomes))
        self._count(model, "miss", len(new))
        if new:
            run.task = asyncio.create_task(self._fly(run, new, compute, keys_now))
        own = frozenset(index for index, _ in new)
        joined = [index for index in flights if index not in own]
        again: list[int] = []
        try:
            if flights:
                outcomes |= await self._landed(flights, own, timeout_seconds, disconnected)
            again = [index for index in joined if _was_refused(flights[index])]
        finally:  # an image that runs again is counted there
            self._count(model, "joined", len(joined) - len(again))
        if again:
            found = await self.run(
                [keys[index] for index in again],
                lambda places: compute([again[place] for place in places]),
                keys_now=None if keys_now is None else partial(_of, keys_now, again),
                model=model,
                timeout_seconds=max(
                    0.0, timeout_seconds + began - asyncio.get_running_loop().time()
                ),
                disconnected=disconnected,
                low_priority=low_priority,
                joins=joins - 1,
            )
            outcomes |= zip(again, found, strict=True)
        return [outcomes[index] for index in range(len(keys))]

    def _begin(self, key: bytes | None, run: _Run, *, low_priority: bool) -> _Flight:
        flight = _Flight(None if key is None else (key, low_priority), run)
        if flight.key is not None:
            self._flights.setdefault(flight.key, flight)
        return flight

    def _count(self, model: str, outcome: str, images: int) -> None:
        if images:
            self._images.labels(model, outcome).inc(images)

    async def _fly(
        self,
        run: _Run,
        flights: Sequence[tuple[int, _Flight]],
        compute: Compute,
        keys_now: Keys | None,
    ) -> None:
        """Run the images of one request, keep their results, and settle all that wait for them."""
        found: Sequence[Outcome]
        keys: Sequence[bytes | None] | None = None
        try:
            found = await compute([index for index, _ in flights])
            if keys_now is not None:
                keys = keys_now()
        except FovealError as error:
            run.refused = True
            found = [copy.copy(error)] * len(flights)  # without its frames, which hold the images
        except Exception as error:  # noqa: BLE001  # the requests that wait for the images get it
            self._fail_all(flights, error)
            flights = ()
            return
        except BaseException as error:
            self._fail_all(flights, error)
            raise
        finally:
            run.task = (
                None  # a canceled task has its error: with this frame they would keep the images
            )
        for (index, flight), outcome in zip(flights, found, strict=True):
            self._forget(flight)
            if flight.key is not None and isinstance(outcome, JobResult):
                flight.kept = keep(outcome.value)
                self._keep((keys and keys[index]) or flight.key[0], flight.kept)
            flight.landed.set_result(outcome)

    def _fail_all(self, flights: Sequence[tuple[int, _Flight]], error: BaseException) -> None:
        for _, flight in flights:
            self._forget(flight)
            if not flight.landed.done():
                _fail(flight.landed, error)

    def _forget(self, flight: _Flight) -> None:
        if flight.key is not None and self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    async def _landed(
        self,
        flights: Mapping[int, _Flight],
        own: frozenset[int],
        timeout_seconds: float,
        disconnected: Disconnected | None,
    ) -> dict[int, Outcome]:
        """Wait for flights; what has not landed in time is this request's own error, and nobody else's."""
        runs = Counter(flight.run for flight in flights.values())
        for run, count in runs.items():
            run.waiting += count
        try:
            futures = [flight.landed for flight in flights.values()]
            late = await _first(futures, timeout_seconds, disconnected)
            return {
                index: self._outcome(flight, late, own=index in own)
                for index, flight in flights.items()
            }
        finally:
            for run, count in runs.items():
                self._leave(run, count)

    def _leave(self, run: _Run, count: int) -> None:
        run.waiting -= count
        if run.waiting or run.task is None or run.task.done():
            return
        for flight in [one for one in self._flights.values() if one.run is run]:
            self._forget(flight)  # nobody may join what is about to end
        run.task.cancel()

    def _outcome(self, flight: _Flight, late: FovealError | None, *, own: bool) -> Outcome:
        if not flight.landed.done():
            assert late is not None  # the waiting ended for a reason
            return late
        outcome = flight.landed.result()
        if isinstance(outcome, FovealError):
            # The frames and causes of an error belong to one request.
            if not own:
                return copy.copy(outcome)
            if flight.run.refused:
                raise copy.copy(outcome)
            return outcome
        if own:
            return outcome
        shared = outcome.value if flight.kept is None else give(flight.kept)
        return CachedResult(shared, outcome.trace, "joined")

    def _keep(self, key: bytes, kept: Kept | None) -> None:
        size = 0 if kept is None else bytes_of(kept)
        if kept is None or size > self._capacity or key in self._kept:
            return
        evicted = 0
        while self.bytes + size > self._capacity and evicted < MOST_EVICTED:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= bytes_of(oldest)
            evicted += 1
        if evicted:
            self._evictions.inc(evicted)
        if self.bytes + size <= self._capacity:
            self._kept[key] = kept
            self.bytes += size


def _of(keys: Keys, places: Sequence[int]) -> list[bytes | None]:
    """Return the keys at some places."""
    found = keys()
    return [found[place] for place in places]


def _was_refused(flight: _Flight) -> bool:
    """Return whether a run says nothing of its image: it was refused, or late, for the request that began it."""
    if not flight.landed.done():
        return False
    outcome = flight.landed.result()
    late = isinstance(outcome, UnavailableError) and not isinstance(outcome, StuckError)
    return flight.run.refused or late


def _fail(landed: "asyncio.Future[Outcome]", error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        landed.cancel()
        return
    landed.set_exception(error)
    landed.exception()  # or it is logged where nobody waits any more


async def _first(
    futures: Sequence["asyncio.Future[Outcome]"],
    timeout_seconds: float,
    disconnected: Disconnected | None,
) -> FovealError | None:
    """Wait until all have landed; return the error of those that have not when time is up or the caller leaves."""
    landing = asyncio.ensure_future(asyncio.wait(futures))
    leaving = None if disconnected is None else asyncio.ensure_future(disconnected())
    awaited: list[asyncio.Future[Any]] = [landing, *([leaving] if leaving else [])]
    try:
        await asyncio.wait(awaited, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        if landing.done():
            return None
        if leaving is not None and leaving.done():
            return ClientLeftError("The client closed its connection.")
        return DeadlineError(f"The answer was not ready within {timeout_seconds * 1e3:.0f} ms.")
    finally:
        for one in awaited:
            one.cancel()
        await asyncio.wait(awaited)
