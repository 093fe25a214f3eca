"""A version of a model, into memory and out of it: loaded, measured, given a queue, checked; drained and let go."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from service.errors import NotReadyError, ShuttingDownError
from service.logs import LOGGER
from service.metrics import Metrics
from service.runtime.batcher import Batcher
from service.runtime.daemon_call import daemon_call
from service.runtime.device import Device
from service.runtime.faults import IsLost, never_lost
from service.runtime.health import HealthWatcher
from service.runtime.host import resident_bytes, trim_heap
from service.runtime.instances import STUCK_SECONDS
from service.runtime.loaded import Loaded
from service.runtime.model import REMOVED, Model, Wake
from service.runtime.model_series import ModelSeries
from service.runtime.repository import Servable
from service.runtime.session import shrink_arena
from service.runtime.workers import Workers

log = logging.getLogger(LOGGER)

ADD_SECONDS = 600.0
"""How long the loading of a model beside those that are served may take."""
DRAIN_SECONDS = 300.0
"""How long a removed version waits for the requests that have found it and have not sent their images."""

USUAL_SECONDS = 0.005
QUICK_SECONDS = 0.0005
"""How long a thread keeps the interpreter's lock when others want it: usually, and while a model is loaded."""

RequireRoom = Callable[[Path], None]
"""Raises `ServableError` where the memory has no room for a network's file; blocking."""
OpenModel = Callable[[Servable], Loaded]
"""Loads a servable onto the device; blocking, called on a thread."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Networks that run in other processes; this one prepares images, forms batches and reads their outputs.

    Attributes:
        device: what they run on, for what is said of it.
        open_model: returns a network whose runs wait for another process.
        batches: how many may run at once; a thread waits for each.
        imaging_threads: how many threads prepare images here.
    """

    device: Device
    open_model: OpenModel
    batches: int
    imaging_threads: int


@dataclass(frozen=True, slots=True)
class Batching:
    """How the batches of each model are made; see `Batcher`."""

    capacity: int
    max_delay_seconds: float = 0.0
    stuck_seconds: float = STUCK_SECONDS
    rests: bool = True


def return_memory() -> None:
    """Return to the system what the allocators only keep for later: ONNX Runtime's, then the C library's; blocking."""
    shrink_arena()
    trim_heap()


def settled_bytes() -> int:
    """Return how many bytes this process holds, without what the allocators only keep for later; blocking."""
    return_memory()
    return resident_bytes()


class Opener:
    """Brings versions of models into memory and out of it.

    Args:
        device: where they run.
        open_model: loads one of them.
        open_beside: the same so that the requests for others go first; None: `open_model`.
        require_room: refuses a file before it is put into the repository; None: any may be put there.
        workers: the threads that run batches.
        metrics: where the models are counted.
        batching: how batches are made.
        pool: where images are prepared and results finished; None: on the workers.
        add_seconds: how long the loading of a model may take, but at the start.
        drain_seconds: how long a removed version waits for the requests that have found it.
        release_memory: returns memory that no model uses to the system; blocking, called on a thread.
        measure: returns how many bytes the process holds; blocking, called on a thread.
        on_device_lost: called with the reason when the process can not use its GPU any more.
        is_lost: returns whether it can not, after a run that failed; blocking.

    Attributes:
        health: checks the models; its `watch` must run beside the service.
        series: their metrics.
        turn: held by whoever loads a model: one at a time.
    """

    def __init__(
        self,
        *,
        device: Device,
        open_model: OpenModel,
        workers: Workers,
        metrics: Metrics,
        batching: Batching,
        pool: Executor | None = None,
        open_beside: OpenModel | None = None,
        require_room: RequireRoom | None = None,
        add_seconds: float = ADD_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
        release_memory: Callable[[], None] = return_memory,
        measure: Callable[[], int] = settled_bytes,
        on_device_lost: Callable[[str], None] | None = None,
        is_lost: IsLost = never_lost,
    ) -> None:
        self.device = device
        self.workers = workers
        self.metrics = metrics
        self.batching = batching
        self.health = HealthWatcher(workers.clock)
        self.series = ModelSeries(metrics, batching.capacity, device.name)
        self.turn = asyncio.Lock()
        self._open_model = open_model
        self._open_beside = open_beside or open_model
        self._require_room = require_room
        self._pool = pool
        self._add_seconds = add_seconds
        self._drain_seconds = drain_seconds
        self._release_memory = release_memory
        self._measure = measure
        self._on_device_lost = on_device_lost
        self._is_lost = is_lost
        self._on_gone: Callable[[Model], Awaitable[None]] | None = None
        self._closed = False

    def when_gone(self, call: Callable[[Model], Awaitable[None]]) -> None:
        """Await a function for each model whose memory is to go, for what others keep of it."""
        self._on_gone = call

    def close(self) -> None:
        """Start no further model."""
        self._closed = True

    def require_open(self) -> None:
        """Raise where no model can be started any more.

        Raises:
            ShuttingDownError: `close` was called.
        """
        if self._closed:
            raise ShuttingDownError("The service is shutting down. No model can be added.")

    def require_room(self, path: Path) -> None:
        """Refuse a file that the memory has no room for; blocking.

        Raises:
            ServableError: it does not fit, or is no ONNX file.
        """
        if self._require_room is not None:
            self._require_room(path)

    async def open(self, model: Model, *, beside: bool = False) -> Loaded:
        """Load a model, and note how many bytes the process grew by and when this began.

        Args:
            model: it.
            beside: whether no request waits for it, so that the requests for others go first.

        Raises:
            FovealError: it can not be loaded, see `ModelLoader.load`.
        """
        open_model = self._open_beside if beside else self._open_model
        began = self.workers.clock()
        loaded, grown = await daemon_call(
            partial(_measured, open_model, model.servable, self._measure), "foveal-load"
        )
        model.measured_bytes = grown
        return replace(loaded, began=began)

    async def open_in_time(self, model: Model, *, beside: bool = False) -> Loaded:
        """Load a model like `open`, within a time.

        Raises:
            NotReadyError: it does not load in time.
        """
        try:
            async with asyncio.timeout(self._add_seconds):
                return await self.open(model, beside=beside)
        except TimeoutError:
            raise NotReadyError(f"{model} did not load within {self._add_seconds:g} s.") from None

    async def start(self, model: Model, loaded: Loaded) -> None:
        """Check a loaded model for the first time, and give it its queue then: no request comes before.

        One that has failed the check gets its queue too, so that a later check can find it well. One that was removed
        meanwhile gets none.

        Raises:
            ShuttingDownError: the service ends.
        """
        self.require_open()
        model.blank, model.signature = loaded.blank, loaded.signature
        model.choice, model.identity = loaded.choice, loaded.identity
        model.stuck_runs.begin_anew()
        # On a GPU, or in another process, its runs say nothing about those of explanations, which are here on the CPU.
        is_here = self.batching.rests and not self.device.is_gpu
        queue = Batcher(
            loaded.runs,
            self.workers,
            self.series.begin(model),
            statistics=self.metrics.statistics.of_version(model.name, model.version),
            largest=loaded.largest,
            wide=loaded.wide,
            capacity=self.batching.capacity,
            max_delay_seconds=self.batching.max_delay_seconds,
            macs=model.card.cost.macs,
            pool=self._pool,
            cores=loaded.cores,
            stuck_seconds=self.batching.stuck_seconds,
            rests=self.batching.rests,
            stuck=model.stuck_runs if is_here else None,
            on_broken=partial(_mark_broken, model),
            on_mended=partial(_mark_mended, model),
            device=model.device or self.device.name,
            on_device_lost=self._on_device_lost,
            is_lost=self._is_lost,
        )
        queue.open()
        # On all cores a check would take them from the requests for others.
        checked = loaded.checked and loaded.cores > 1
        try:
            await self.health.admit(model, queue, checked=checked)
        except BaseException:  # canceled
            await queue.close()
            raise
        if model.removed:
            self.health.forget(model)
            model.mark_failed(REMOVED)
            await queue.close()
            return
        model.queue, model.memory_bytes = queue, model.measured_bytes
        if model.state == "ready":
            log.info(
                "%s is ready after %.2f s: %s in %s on %s, at most %s in a batch",
                model,
                self.workers.clock() - loaded.began,
                model.card.task,
                model.precision,
                model.device or self.device.name,
                "1 image" if loaded.largest == 1 else f"{loaded.largest} images",
            )

    async def discard(self, model: Model, *, at_once: bool = False) -> None:
        """Drain a version that no request finds, and let go of all that was made for it.

        Args:
            model: the version.
            at_once: whether nobody can have found it, so that there is nothing to wait for.
        """
        self.health.forget(model)
        await model.retire(0.0 if at_once else self._drain_seconds)
        if self._on_gone is not None:
            await self._on_gone(model)
        await asyncio.to_thread(self._release_memory)

    async def put_to_sleep(self, model: Model, wake: Wake) -> None:
        """Let a model's memory go until it is woken."""
        self.health.forget(model)
        await model.sleep(wake)
        if self._on_gone is not None:
            await self._on_gone(model)
        await asyncio.to_thread(self._release_memory)


def _mark_broken(model: Model, reason: str) -> None:
    if model.queue is None or model.queue.broken != reason:
        return  # that queue is in its first check, which fails for it, or was let go: another one will answer
    model.mark_failed(reason)
    log.error("%s is not served any more: it %s", model, reason)


def _mark_mended(model: Model, reason: str) -> None:
    """Mark a model as ready that has failed for this reason, which is gone; the next health check looks again."""
    if (
        model.queue is None
        or model.queue.broken
        or (model.state, model.reason) != ("failed", reason)
    ):
        return
    model.mark_ready()
    log.warning("%s is served again. Before, it %s", model, reason)


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Let the threads of requests wait less for the interpreter's lock while a model is loaded beside them.

    A thread that runs Python keeps the lock for 5 ms by default, which a request would wait for at each of its steps.
    """
    sys.setswitchinterval(QUICK_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(USUAL_SECONDS)


def _measured(
    open_model: OpenModel, servable: Servable, measure: Callable[[], int]
) -> tuple[Loaded, int]:
    """Load a servable, and return how many bytes the process grew by: no less than its files have.

    What others allocate meanwhile counts too, so that under load the figure is an upper bound.
    """
    before = measure()
    with _quick_turns():
        loaded = open_model(servable)
    return loaded, max(measure() - before, servable.size_bytes)
