"""Which models are in memory: idle ones leave it, the least recently used make room, and a request brings one back."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from service.errors import FovealError, NotReadyError, for_clients
from service.logs import LOGGER
from service.runtime.faults import reason_of
from service.runtime.model import ASLEEP, Model
from service.runtime.opening import Opener

log = logging.getLogger(LOGGER)

RETRY_SECONDS = 10.0
"""How long a model that could not be loaded again refuses its requests before one of them may try again."""


class Residence:
    """Puts models to sleep and wakes them. All methods are called on the event loop.

    Args:
        opener: brings models into memory and out of it.
        models: returns all that are served.
        budget_bytes: how much memory the models may hold together; 0: any.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        models: Callable[[], tuple[Model, ...]],
        budget_bytes: int = 0,
    ) -> None:
        self._opener = opener
        self._clock = opener.workers.clock
        self._models = models
        self._budget_bytes = budget_bytes
        self._waking: dict[Model, asyncio.Task[None]] = {}
        self._retry_at: dict[Model, float] = {}
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """How much memory all models hold."""
        return sum(model.memory_bytes for model in self._models())

    def look(self) -> None:
        """Look again when the next model is due: the models or their times have changed."""
        self._changed.set()

    def close(self) -> None:
        """Wake no model any more."""
        self._closed = True
        for task in tuple(self._waking.values()):
            task.cancel()

    async def watch(self) -> None:
        """Put each model to sleep when no request came for its `ttl_seconds`, without end."""
        while True:
            self._changed.clear()
            seconds = await self.make_round()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def make_round(self) -> float | None:
        """Put to sleep what is due; return in how many seconds the next is, None where none will be."""
        due = []
        for model in self._models():
            if model.ttl_seconds is None or model.queue is None or model.state != "ready":
                continue
            left = model.queue.used_at + model.ttl_seconds - self._clock()
            if left <= 0 and not model.queue.busy:
                log.info("%s is unloaded: no request came for %g s", model, model.ttl_seconds)
                await self._put_to_sleep(model)
            else:
                due.append(max(left, model.ttl_seconds / 10))
        return min(due, default=None)

    def has_room(self, model: Model) -> bool:
        """Return whether a model is in memory, or fits into the budget beside those that are."""
        if model.queue is not None or not self._budget_bytes:
            return True
        return self.held_bytes + _needed(model) <= self._budget_bytes

    async def make_room(self, model: Model) -> None:
        """Put to sleep the least recently used models until a model fits into the budget."""
        if not self._budget_bytes:
            return
        needed = _needed(model)
        while self.held_bytes + needed > self._budget_bytes:
            others = [
                one
                for one in self._models()
                if one is not model and one.queue is not None and one.state == "ready"
            ]
            if not others:
                log.warning(
                    "%s needs %d bytes and is loaded although FOVEAL_MODELS_MEMORY_BYTES is %d: no other model is left "
                    "to unload",
                    model,
                    needed,
                    self._budget_bytes,
                )
                return
            victim = min(others, key=_recency)
            log.info("%s is unloaded to make room for %s", victim, model)
            await self._put_to_sleep(victim)

    async def _put_to_sleep(self, model: Model) -> None:
        self._opener.series.changed(model.name, "asleep")
        await self._opener.put_to_sleep(model, partial(self.wake, model))

    async def wake(self, model: Model) -> None:
        """Load a model that is asleep; calls at the same time share one loading, which goes on when they are canceled.

        The model's state and reason say afterwards whether it is served.

        Raises:
            NotReadyError: it could not be loaded shortly before.
        """
        if self._closed or self._clock() < self._retry_at.get(model, 0.0):
            raise NotReadyError(f"{model} {model.reason}.")
        task = self._waking.get(model)
        if task is None:
            task = self._waking[model] = asyncio.create_task(self._wake(model))
            task.add_done_callback(lambda _: self._waking.pop(model, None))
        await asyncio.wait([asyncio.shield(task)])

    async def _wake(self, model: Model) -> None:
        async with self._opener.turn:
            if model.queue is not None or model.wake is None:
                return
            model.reason = "is being loaded for a request"
            try:
                await self.make_room(model)
                loaded = await self._opener.open_in_time(model)
                if model.wake is None:  # it was removed meanwhile
                    return
                await self._opener.start(model, loaded)
            except asyncio.CancelledError:
                model.reason = ASLEEP
                raise
            except FovealError as error:
                self._refuse(model, str(error))
            except Exception as error:  # noqa: BLE001  # its requests are answered with the reason
                self._refuse(model, reason_of(error))
            else:
                self._woken(model)
                await self.shrink(model)

    async def shrink(self, model: Model) -> None:
        """Put others to sleep where a model that was loaded holds more than was expected; called while it loads."""
        while self._budget_bytes and self.held_bytes > self._budget_bytes:
            others = [one for one in self._models() if one is not model and one.queue is not None]
            if not others:
                return
            await self._put_to_sleep(min(others, key=_recency))

    def _woken(self, model: Model) -> None:
        self._retry_at.pop(model, None)
        if model.queue is not None and model.state == "ready":
            model.wake = None
            self._opener.series.changed(model.name, "woken")
            self.look()

    def _refuse(self, model: Model, reason: str) -> None:
        model.mark_failed(for_clients(f"failed to load: {reason}", model.servable.path))
        self._retry_at[model] = self._clock() + RETRY_SECONDS
        self._opener.series.changed(model.name, "refused")
        log.error("%s could not be loaded for a request: %s", model, reason)


def _needed(model: Model) -> int:
    return model.measured_bytes or model.servable.size_bytes


def _recency(model: Model) -> float:
    return model.queue.used_at if model.queue is not None else 0.0
