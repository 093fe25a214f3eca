"""Images → their outcomes by one version of a model, through the engine that serves requests."""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from service.api.queries import QueryReader
from service.bulk.chunks import Read
from service.calls import TaskCall
from service.engine import Engine
from service.errors import (
    ConfigurationError,
    FovealError,
    TooManyPixelsError,
)
from service.runtime.fleet import parse_selector
from service.runtime.job import JobResult
from service.runtime.tuning import FOR_MANY_IMAGES
from service.runtime.wanted import Catalog, Overrides
from service.settings import Settings
from service.tasks.task import Task, TaskOptions
from service.tasks.tasks import TASKS
from service.wiring import make_storage, read_catalog

Outcome = JobResult[Any] | FovealError

LEAST_CHUNK, LARGEST_CHUNK = 16, 64
"""Images that are queued together. What a chunk costs besides is 8 % of the time of EfficientNet-Lite0's image."""
CHUNK_SECONDS = 0.5
"""How long the images of a chunk run. A run that is stopped completes the chunks in flight."""
AHEAD = 3
"""Chunks that are read while others wait or run."""
QUEUE_SIZE = 16_384
"""Images that may wait; those in flight are bounded before."""
SECONDS = 3600.0
"""How long an image may wait and run. A request's deadline is for those who wait; a run that is stuck ends earlier."""
LOAD_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall answer: a task by its name, a model (None: the task's default), and options as in a query."""

    task: str
    model: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Predictor:
    """Takes images through one version of a model; so many chunks in flight, of so many images, keep it busy."""

    call: TaskCall
    options: TaskOptions
    chunk: int
    in_flight: int

    async def outcomes(self, read: Read, call: TaskCall | None = None) -> list[Outcome]:
        """Return each image's result or its own error, in order.

        Args:
            read: the images by name.
            call: another call of the same model, as for a rendering; None: that of the task's results.

        Raises:
            ConfigurationError: the network does not answer any more.
        """
        bodies = [body for _, body in read if isinstance(body, bytes)]
        found = iter(await self._run(call or self.call, bodies))
        return [next(found) if isinstance(body, bytes) else body for _, body in read]

    async def _run(self, call: TaskCall, bodies: Sequence[bytes]) -> list[Outcome]:
        if not bodies:
            return []
        try:
            return await call.run(bodies, timeout_seconds=SECONDS)
        except TooManyPixelsError:  # all together; alone each may be small enough
            if len(bodies) == 1:
                raise
            return [(await self._run(call, [body]))[0] for body in bodies]
        except FovealError as error:
            raise ConfigurationError(f"{call.model} does not answer any more: {error}") from error


def task_of(wanted: Wanted) -> Task:
    """Return a task that takes images.

    Raises:
        ConfigurationError: there is none of this name.
    """
    able = {name: task for name, task in TASKS.items() if task.head is not None}
    if wanted.task not in able:
        raise ConfigurationError(f"--task: there is no {wanted.task!r}. Tasks: {', '.join(able)}.")
    return able[wanted.task]


def options_of(task: Task, given: Sequence[str]) -> TaskOptions:
    """Return a task's options, given as `name=value` with the names and values of a request.

    Raises:
        ConfigurationError: one is unknown or out of range.
    """
    pairs = []
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            known = ", ".join(task.options.model_fields) or "none"
            raise ConfigurationError(f"--option {one}: write NAME=VALUE. Options: {known}.")
        pairs.append((name.strip(), value))
    try:
        options: TaskOptions = QueryReader(task.options).read(urlencode(pairs).encode())
    except FovealError as error:
        known = ", ".join(task.options.model_fields) or "none"
        raise ConfigurationError(f"--option {error}. Options of {task.name}: {known}.") from error
    return options


@asynccontextmanager
async def open_predictor(
    settings: Settings, wanted: Wanted, *, rendering: str | None = None, all_classes: bool = False
) -> AsyncIterator[tuple[Engine, Predictor]]:
    """Give an engine with the wanted model alone, and the call of it, for the length of the block.

    Args:
        settings: as for the service; limits that are for requests are lifted.
        wanted: what shall answer.
        rendering: the form of the results; None: JSON.
        all_classes: whether a classifier that gives several labels to an image answers with each of them.

    Raises:
        ConfigurationError: there is no such task, model or option, or the model can not be loaded.
    """
    task = task_of(wanted)
    options = options_of(task, wanted.options)
    patient = settings.model_copy(
        update={
            "queue_size": max(QUEUE_SIZE, settings.queue_size),
            "load_seconds": LOAD_SECONDS,
            "response_cache_bytes": 0,
            "workers": 1,
            "tracing": False,
        }
    )
    storage = make_storage(patient)
    storage.refresh()
    catalog = read_catalog(storage, settings.defaults, TASKS)
    engine = Engine(
        patient,
        storage=storage,
        overrides=_alone(catalog, task, wanted.model),
        search=FOR_MANY_IMAGES,
    )
    async with engine.running():
        await engine.loaded.wait()
        try:
            # The first call finds the version; naming it keeps all images on it, and shadows off.
            found = engine.dispatch.call(task, options, model=wanted.model).model
            if all_classes and found.card.multi_label and task.name == "classify":
                options = options.model_copy(update={"top_k": len(found.card.labels)})
            call = engine.dispatch.call(
                task,
                options,
                model=found.name,
                version=found.version,
                rendering=rendering,
            )
        except FovealError as error:
            raise ConfigurationError(str(error)) from error
        if not found.can_answer:
            raise ConfigurationError(f"{found} {found.reason}.")
        queue = call.model.queue
        chunk = chunk_of(None, 1) if queue is None else chunk_of(queue.pace, queue.instances)
        yield engine, Predictor(call, options, chunk, _in_flight(call, engine.threads, chunk))


def chunk_of(pace: float | None, instances: int) -> int:
    """Return how many images are queued together.

    Args:
        pace: seconds of an image in the network; None where that is not known.
        instances: batches that run at once.
    """
    if not pace:
        return LEAST_CHUNK
    return min(max(LEAST_CHUNK, int(CHUNK_SECONDS * instances / pace)), LARGEST_CHUNK)


def _in_flight(call: TaskCall, threads: int, chunk: int) -> int:
    """Return how many chunks are in flight: of the batches that run, of as many that wait, and those being read."""
    queue = call.model.queue
    running = 1 if queue is None else queue.largest * queue.instances
    return math.ceil(2 * (running + threads) / chunk) + AHEAD


def _alone(catalog: Catalog, task: Task, model: str | None) -> Overrides:
    """Return what keeps all models unloaded but the wanted one; without a name, but those that do the task.

    Raises:
        ConfigurationError: there is no such model.
    """
    able = [one.name for one in catalog.servables if one.card.task in task.networks]
    default = catalog.fleet.defaults.get(task.name)
    kept = set(able)
    if model is not None:
        try:
            kept = {parse_selector(model).name}
        except FovealError as error:
            raise ConfigurationError(f"--{error}.") from error
    elif default is not None:
        kept = {default.name}
    names = {one.name for one in catalog.servables}
    if not kept & names:
        listed = ", ".join(dict.fromkeys(able)) or "none"
        refused = next((one for one in catalog.refusals if one.name in kept), None)
        if refused is not None:
            raise ConfigurationError(f"--model: {refused.name} can not be served: {refused.reason}")
        what = f"no model {model!r}" if model is not None else f"no model for {task.name}"
        raise ConfigurationError(f"There is {what} here. Models for {task.name}: {listed}.")
    return Overrides(unloaded_models=frozenset(names - kept))
