"""One version of one model, in whatever state it is: what the registry holds and the routes find."""

import asyncio
import contextlib
import time
import weakref
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from service.card import Card
from service.errors import DeadlineError, NotReadyError, OverloadedError
from service.runtime.batcher import Batcher
from service.runtime.choice import Choice
from service.runtime.job import Tensor
from service.runtime.repository import Servable
from service.runtime.signature import Signature
from service.runtime.stuck_runs import StuckRuns
from service.spans import span

STILL_LOADING = "is still loading"
ASLEEP = "is not in memory, because no request came for it; the next one loads it"
REMOVED = "was removed"
MOST_WAITING = 256
"""Requests that may wait for one model to be loaded on demand."""
State = Literal["loading", "ready", "asleep", "failed"]
Wake = Callable[[float], Coroutine[Any, Any, None]]
"""Loads a model again, for a request that can wait for so many seconds."""


class Lease:
    """Whoever may still send requests to a model holds its lease; the model drains until nobody does.

    It is nothing but a reference: requests hold it for as long as they live, at no cost.
    """

    __slots__ = ("__weakref__",)


@dataclass(slots=True, weakref_slot=True, eq=False)
class Model:
    """One version of one model.

    Attributes:
        servable: the file that it was or will be loaded from.
        state: `ready` while its last health check succeeded; `asleep` while it is out of memory and comes back with
            the next request.
        reason: why it is not ready, to be read after its name and version; empty when it is.
        queue: None until it is loaded, while it is asleep, and after it was removed; `batcher` is for callers that
            need it.
        blank: one input of zeros without the batch axis, for health checks.
        signature: what the network takes and gives; empty until it is loaded.
        choice: how its precision and provider were chosen; None where they were not.
        identity: which graph runs, or ran last: a variant of the servable, in which precision and on which device.
        stuck_runs: its runs that did not end, of answers and of explanations.
        lease: what requests that have found it hold; None after it was removed.
        removed: whether it is out of the service for good.
        wake: loads it again, for a request that can wait for so many seconds; set while it is asleep.
        waiting: requests that wait for it to be loaded again.
        memory_bytes: how much it holds, measured when it was loaded last; 0 while it is not in memory.
        measured_bytes: the same, also while it is not in memory; 0 until it was loaded.
        ttl_seconds: it falls asleep when no request came for so long; None: never.
    """

    servable: Servable
    state: State = "loading"
    reason: str = STILL_LOADING
    queue: Batcher | None = field(default=None, repr=False)
    blank: Tensor = field(default_factory=lambda: np.zeros(0, np.uint8), repr=False)
    signature: Signature = field(default_factory=Signature, repr=False)
    choice: Choice | None = field(default=None, repr=False)
    identity: str = field(default="", repr=False)
    stuck_runs: StuckRuns = field(default_factory=StuckRuns, repr=False)
    lease: Lease | None = field(default_factory=Lease, repr=False)
    removed: bool = field(default=False, repr=False)
    wake: Wake | None = field(default=None, repr=False)
    waiting: int = field(default=0, repr=False)
    memory_bytes: int = 0
    measured_bytes: int = 0
    ttl_seconds: float | None = None

    @property
    def name(self) -> str:
        return self.servable.name

    @property
    def version(self) -> int:
        return self.servable.version

    @property
    def card(self) -> Card:
        return self.servable.card

    @property
    def can_answer(self) -> bool:
        """Whether it answers a request, at once or once it is loaded again."""
        return self.state in {"ready", "asleep"}

    @property
    def batcher(self) -> Batcher:
        """The model's queue.

        Raises:
            NotReadyError: the model is loading, asleep, could not be loaded, or was removed.
        """
        if self.queue is None:
            raise NotReadyError(f"{self} {self.reason}.")
        return self.queue

    @property
    def precision(self) -> str:
        """Return in what it computes."""
        return self.card.precision if self.choice is None else self.choice.served.precision

    @property
    def device(self) -> str | None:
        """Return the name of the device that was chosen for it; None: that of all models."""
        return None if self.choice is None else self.choice.served.device

    def require_served(self) -> None:
        """Refuse a model that can not answer, before a request's body is read.

        Raises:
            NotReadyError: the model is loading, could not be loaded, or was removed.
        """
        if self.queue is None and self.wake is None:
            raise NotReadyError(f"{self} {self.reason}.")

    async def awake(self, timeout_seconds: float) -> tuple[Batcher, float]:
        """Return the model's queue, after loading it where it is asleep, and the seconds that are left then.

        For callers that have found no queue.

        Raises:
            NotReadyError: the model is loading, could not be loaded, or was removed.
            DeadlineError: it was not loaded in time; the loading goes on for those that come later.
            OverloadedError: too many requests wait for it already.
            ModelsMemoryError: other models leave no room for it in time.
        """
        began = time.perf_counter()
        if self.queue is None and self.wake is not None:
            if self.waiting >= MOST_WAITING:
                raise OverloadedError(
                    f"{self} is being loaded, and {self.waiting} requests wait for it already. Try again in a moment."
                )
            self.waiting += 1
            try:
                with span("load", {"foveal.model.name": self.name}):
                    async with asyncio.timeout(timeout_seconds):
                        await self.wake(timeout_seconds)
            except TimeoutError:
                raise DeadlineError(
                    f"{self} was not in memory, and was not loaded within {timeout_seconds * 1e3:.0f} ms."
                ) from None
            finally:
                self.waiting -= 1
        return self.batcher, max(0.0, timeout_seconds - (time.perf_counter() - began))

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    def mark_ready(self) -> None:
        self.state, self.reason = "ready", ""

    def mark_failed(self, reason: str) -> None:
        self.state, self.reason = "failed", reason

    async def sleep(self, wake: Wake) -> None:
        """Let go of the network until `wake` loads it again; return when everything accepted has been answered."""
        self.state, self.reason = "asleep", ASLEEP
        self.wake, self.memory_bytes = wake, 0
        await self._close_queue()

    async def retire(self, drain_seconds: float = 0.0) -> None:
        """Accept nothing more, return when everything accepted has been answered, and let go of the network.

        Requests that have found the model and have not sent their images yet are waited for.

        Args:
            drain_seconds: how long.
        """
        released = asyncio.Event()
        lease, self.lease = self.lease, None
        if lease is not None:
            loop = asyncio.get_running_loop()
            weakref.finalize(lease, _set_on, loop, released).atexit = False
            del lease
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_seconds):
                    await released.wait()
        self.mark_failed(REMOVED)
        self.removed, self.wake, self.memory_bytes = True, None, 0
        await self._close_queue()

    async def _close_queue(self) -> None:
        queue, self.queue = self.queue, None
        if queue is not None:
            await queue.close()


def _set_on(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """The last reference may go on any thread."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(event.set)
