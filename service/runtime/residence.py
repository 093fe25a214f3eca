"""Which models are in memory: idle ones leave it, the least recently used make room, and a request brings one back."""

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial

from service.errors import FovealError, ModelsMemoryError, NotReadyError, for_clients
from service.logs import LOGGER
from service.runtime.faults import reason_of
from service.runtime.health import Sleep
from service.runtime.load_turn import in_turn
from service.runtime.model import ASLEEP, Model
from service.runtime.opening import Opener
from service.runtime.retries import RETRY_SECONDS, Retries
from service.runtime.stays import Stays

log = logging.getLogger(LOGGER)

LOAD_SECONDS = 30.0
"""How long the loading of a model may keep the others waiting."""
STAY_SECONDS = 5.0
"""How long a model that was loaded for a request stays, although another one needs its room."""
LOADING_AGAIN = "is being loaded again"
WAITING_FOR_ROOM = "is not in memory, and waits until another model has had its stay there"

Alternate = Callable[[str, str], bool]
"""Whether two models, by name, run one after the other for the same requests."""


class Residence:
    """Puts models to sleep and wakes them. All methods are called on the event loop.

    Args:
        opener: brings models into memory and out of it.
        models: returns all that may be in memory: those that are served, and those that will be.
        budget_bytes: how much memory the models may hold together; 0: any.
        stay_seconds: how long a model that was loaded for a request stays before another one may take its room.
        load_seconds: how long the loading of a model may keep the others waiting; it goes on beside them.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        models: Callable[[], tuple[Model, ...]],
        budget_bytes: int = 0,
        stay_seconds: float = STAY_SECONDS,
        load_seconds: float = LOAD_SECONDS,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._opener = opener
        self._clock = opener.workers.clock
        self._models = models
        self._budget_bytes = budget_bytes
        self._stays = Stays(stay_seconds, self._clock)
        self._load_seconds = load_seconds
        self._sleep = sleep
        self._line = asyncio.Lock()
        """Held by the model that is the next to get room."""
        self._waking: dict[Model, asyncio.Event] = {}
        """What those who wait for a model wait for."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._retries = Retries(self._clock)
        self._alternate: Alternate = lambda *_: False
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """How much memory all models hold."""
        return sum(model.memory_bytes for model in self._models())

    def let_alternate(self, alternate: Alternate) -> None:
        """Let models that run one after the other for the same requests make room for each other sooner."""
        self._alternate = alternate

    def look(self) -> None:
        """Look again when the next model is due: the models or their times have changed."""
        self._changed.set()

    async def close(self) -> None:
        """Wake no model any more, and return when none is being woken."""
        self._closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def watch(self) -> None:
        """Put models to sleep when no request came for their `ttl_seconds`, load again what failed, without end."""
        while True:
            self._changed.clear()
            seconds = await self.make_round()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def make_round(self) -> float | None:
        """Put to sleep or load again what is due; return in how many seconds the next is, None where none will be."""
        due = []
        for model in self._models():
            if model.state == "failed" and model.queue is None and model.wake is not None:
                due.append(self._try_again(model))
                continue
            if model.ttl_seconds is None or model.queue is None or model.state != "ready":
                continue
            left = model.queue.used_at + model.ttl_seconds - self._clock()
            if left <= 0 and not model.queue.busy and not model.waiting:
                log.info("%s is unloaded: no request came for %g s", model, model.ttl_seconds)
                await self._put_to_sleep(model)
            else:
                due.append(max(left, model.ttl_seconds / 10))
        return min(due, default=None)

    def _try_again(self, model: Model) -> float:
        """Load a model that could not be loaded, if it is due and fits; return in how many seconds to look again.

        While it is failed the service may be not ready, so that no request would come to ask for it. Room is made for
        requests only: where it does not fit it is asleep again, and the next request finds out what has become of it.
        """
        left = self._retries.left(model)
        if left > 0 or self._closed or model in self._waking:
            return left or RETRY_SECONDS
        if self.has_room(model):
            self._begin_waking(model)
        else:
            model.state, model.reason = "asleep", ASLEEP
        return RETRY_SECONDS

    def has_room(self, model: Model) -> bool:
        """Return whether a model is in memory, or fits into the budget beside those that are."""
        if model.queue is not None or not self._budget_bytes:
            return True
        return self.held_bytes + _needed(model) <= self._budget_bytes

    async def make_room(self, model: Model) -> None:
        """Put to sleep the least recently used models until a model fits into the budget; those that stay go last."""
        if not self._budget_bytes:
            return
        needed = _needed(model)
        while self.held_bytes + needed > self._budget_bytes:
            others = self._others(model)
            if not others:
                log.warning(
                    "%s needs %d bytes and is loaded although FOVEAL_MODELS_MEMORY_BYTES is %d: no other model is left "
                    "to unload",
                    model,
                    needed,
                    self._budget_bytes,
                )
                return
            victim = min(others, key=partial(self._order, model))
            log.info("%s is unloaded to make room for %s", victim, model)
            await self._put_to_sleep(victim)

    async def shrink(self, model: Model) -> None:
        """Put others to sleep where a model that was loaded holds more than was expected; called while it loads."""
        while self._budget_bytes and self.held_bytes > self._budget_bytes:
            others = self._others(model)
            if not others:
                return
            await self._put_to_sleep(min(others, key=partial(self._order, model)))

    def _others(self, model: Model) -> list[Model]:
        """Return those in memory that may make room: not one to which the requests that woke it are on their way."""
        return [
            one
            for one in self._models()
            if one is not model and one.queue is not None and not one.waiting
        ]

    def _order(self, model: Model, other: Model) -> tuple[bool, float]:
        """Return the place of another model among those that make room for a model; the least goes first."""
        used_at = other.queue.used_at if other.queue is not None else 0.0
        return self._left(model, other) > 0, used_at

    def _left(self, model: Model, other: Model) -> float:
        """Return how many seconds another model still stays, although a model needs its room."""
        return self._stays.left(other, alternates=self._alternate(model.name, other.name))

    def _seconds_to_room(self, model: Model) -> float:
        """Return in how many seconds those that stay have left enough room for a model; 0 where there is room now."""
        if self.has_room(model):
            return 0.0
        missing = self.held_bytes + _needed(model) - self._budget_bytes
        seconds = 0.0
        for other in sorted(self._others(model), key=partial(self._left, model)):
            if missing <= 0:
                break
            missing -= other.memory_bytes
            seconds = self._left(model, other)
        return seconds

    async def _put_to_sleep(self, model: Model) -> None:
        self._opener.series.changed(model.name, "asleep")
        await self._opener.put_to_sleep(model, partial(self.wake, model))

    async def wake(self, model: Model, timeout_seconds: float) -> None:
        """Load a model that is asleep; calls at the same time share one loading, which goes on when they are canceled.

        Where others have been loaded shortly before and leave no room, it waits until they have had their stay. The
        model's state and reason say afterwards whether it is served.

        Args:
            model: it.
            timeout_seconds: how long the caller can wait.

        Raises:
            NotReadyError: it could not be loaded shortly before.
            ModelsMemoryError: there is no room for so long.
        """
        if self._closed or self._retries.refuses(model):
            raise NotReadyError(f"{model} {model.reason}.")
        seconds = self._seconds_to_room(model)
        if seconds > timeout_seconds:
            self._opener.metrics.no_room.labels(model.name, "refused").inc()
            raise ModelsMemoryError(
                f"{model} is not in memory, and the models that were loaded shortly before leave no room for it in "
                f"{self._budget_bytes} bytes. Send the request again after {math.ceil(seconds)} s.",
                math.ceil(seconds),
            )
        awake = self._waking.get(model)
        if awake is None:
            awake = self._begin_waking(model)
        await awake.wait()

    def _begin_waking(self, model: Model) -> asyncio.Event:
        """Begin to load a model; return what is set when it is loaded or has failed."""
        awake = self._waking[model] = asyncio.Event()
        task = asyncio.create_task(self._wake(model))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._let_go_on(model, awake))
        return awake

    def _let_go_on(self, model: Model, awake: asyncio.Event) -> None:
        """Let those who wait for a model look what has become of it."""
        awake.set()
        if self._waking.get(model) is awake:
            del self._waking[model]

    async def _wake(self, model: Model) -> None:
        """Load a model, at once where there is room, else when its turn has come: first come, first served."""
        try:
            if self.has_room(model) or not self._line.locked():
                model.reason = LOADING_AGAIN
                if await self._load_if_room(model):
                    return
            async with self._line:
                waited = False
                while model.waiting and not await self._load_if_room(model):
                    seconds = self._seconds_to_room(model)
                    if not waited:
                        self._note_waiting(model, seconds)
                    waited = True
                    await self._sleep(seconds)
        finally:
            if model.reason in {LOADING_AGAIN, WAITING_FOR_ROOM}:  # it ended before that
                model.state, model.reason = "asleep", ASLEEP

    def _note_waiting(self, model: Model, seconds: float) -> None:
        model.reason = WAITING_FOR_ROOM
        self._opener.metrics.no_room.labels(model.name, "waited").inc()
        log.warning(
            "%s waits %.1f s for room, because other models were loaded shortly before. Together they need %d bytes, "
            "and FOVEAL_MODELS_MEMORY_BYTES is %d",
            model,
            seconds,
            self.held_bytes + _needed(model),
            self._budget_bytes,
        )

    async def _load_if_room(self, model: Model) -> bool:
        """Load a model where those that stay leave room for it; return whether there is nothing more to do."""

        async def load() -> bool:
            if model.queue is not None or model.wake is None:
                return True
            if self._seconds_to_room(model):
                return False
            model.reason = LOADING_AGAIN
            await self._load(model)
            return True

        return await in_turn(self._opener.turn, load, seconds=self._load_seconds, name=model)

    async def _load(self, model: Model) -> None:
        """Load a model and check it; one that fails is let go, and its requests are answered with the reason."""
        began = self._clock()
        try:
            await self.make_room(model)
            loaded = await self._opener.open_in_time(model)
            if model.wake is None:  # it was removed meanwhile
                return
            await self._opener.start(model, loaded)
            del loaded  # it would keep the network in memory
        except FovealError as error:
            self._refuse(model, str(error))
        except Exception as error:  # noqa: BLE001  # its requests are answered with the reason
            self._refuse(model, reason_of(error))
        else:
            if model.queue is None:  # it was removed while it was checked
                return
            if model.state == "ready":
                self._woken(model, self._clock() - began)
                await self._let_in(model)
                await self.shrink(model)
                return
            reason = model.reason if model.state == "failed" else "did not answer its health check"
            await self._opener.put_to_sleep(model, partial(self.wake, model))
            self._refuse(model, f"it {reason}")

    def _woken(self, model: Model, seconds: float) -> None:
        self._retries.succeeded(model)
        model.wake = None
        self._stays.begin(model, seconds)
        self._opener.series.changed(model.name, "woken")
        self.look()

    async def _let_in(self, model: Model) -> None:
        """Let those who wait for a model come to its queue, before it may have to make room for another one."""
        self._let_go_on(model, self._waking[model])
        while model.waiting:  # noqa: ASYNC110  # they come within a few steps of the event loop
            await asyncio.sleep(0)

    def _refuse(self, model: Model, reason: str) -> None:
        model.mark_failed(for_clients(f"failed to load: {reason}", model.servable.path))
        self._retries.failed(model)
        self.look()
        self._opener.series.changed(model.name, "refused")
        log.error("%s could not be loaded again: %s", model, reason)


def _needed(model: Model) -> int:
    return model.measured_bytes or model.servable.size_bytes
