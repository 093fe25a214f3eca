"""One replica of one version of a model: it loads the file, makes batches of what the ingress sends, and runs them."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from service.background import background
from service.cluster.replicas import Description, Refused
from service.cluster.reports import MODEL_FAMILIES, report_of
from service.errors import FovealError, NotReadyError, ServableError
from service.metrics import Metrics
from service.runtime.job import Job, JobResult, Outputs, Tensor
from service.runtime.loaded import Loaded
from service.runtime.model import Model
from service.runtime.opening import Opener
from service.runtime.probing import find_device, is_lost
from service.runtime.repository import Servable
from service.runtime.watchdog import Watchdog
from service.runtime.workers import Workers
from service.settings import Settings
from service.storage.storage import Key, ModelStorage
from service.tasks.tasks import TASKS
from service.wiring import make_opener, make_storage

CAPACITY = 65_536
"""Images that may wait here: how many batches come is limited before them."""
BATCH_SECONDS = 3600.0
"""The deadline of a batch here: the ingress has its own for each of its images."""


class ModelReplica:
    """Runs batches of one version of a model; batches of several ingress replicas run together.

    Args:
        settings: of the service.
        key: the name and the version.
        digest: of the graph that the ingress has; another file on this machine is refused.
        member: the name of this replica.
    """

    def __init__(self, settings: Settings, key: Key, digest: str, member: str) -> None:
        self.metrics = Metrics()
        self.metrics.replicas.labels(key[0], str(key[1])).set(1)
        self._settings = settings.model_copy(update={"queue_size": CAPACITY, "max_delay_ms": 0.0})
        self._key = key
        self._digest = digest
        self._member = member
        self._stack = AsyncExitStack()
        self._model: Model | None = None
        self._loaded: Loaded | None = None
        self._device_lost = ""
        self._refused: Refused | None = None

    async def load(self) -> None:
        """Load the network; where that fails, `describe` says why."""
        try:
            await self._load()
        except FovealError as error:
            self._refused = Refused.of(error)

    async def _load(self) -> None:
        settings = self._settings
        device = await asyncio.to_thread(find_device, settings.device, settings.device_id)
        workers = Workers(settings.threads * (2 if device.is_gpu else 1))
        opener = make_opener(
            settings,
            device,
            TASKS,
            self.metrics,
            workers=workers,
            pool=None,
            on_device_lost=self._lose_device,
            is_lost=partial(is_lost, device),
        )
        storage = make_storage(settings, self.metrics.storage)
        self._stack.callback(storage.close)
        servable = await asyncio.to_thread(find_servable, storage, self._key, self._digest)
        workers.start()
        self._stack.push_async_callback(asyncio.to_thread, workers.stop)
        await self._stack.enter_async_context(background(Watchdog(workers).watch()))
        await self._open(opener, Model(servable))

    async def _open(self, opener: Opener, model: Model) -> None:
        loaded = await opener.open(model)
        await opener.start(model, loaded)
        # The runs stay with the queue, which lets them go.
        self._loaded = replace(loaded, runs=(), wide=None)
        self._model = model
        if model.state != "ready":
            raise NotReadyError(f"{model} {model.reason}.")

    def describe(self) -> Description | Refused:
        """Return what is known of the network, or why it is not served."""
        if self._refused is not None or self._loaded is None or self._model is None:
            return self._refused or Refused.of(NotReadyError("It is still loading."))
        model, loaded = self._model, self._loaded
        return Description(
            loaded.blank,
            loaded.largest,
            loaded.signature,
            loaded.choice,
            loaded.identity,
            model.device or self._settings.device,
        )

    async def infer(self, batch: Tensor) -> Outputs | Refused:
        """Return every output (N, …) of a batch (N, …) by name, or the error of the first image that has one."""
        if self._model is None or self._model.queue is None:
            return self._refused or Refused.of(NotReadyError("It is not loaded."))
        try:
            outcomes = await self._model.queue.submit(
                [_job(row) for row in batch], timeout_seconds=BATCH_SECONDS
            )
        except FovealError as error:
            return Refused.of(error)
        rows = []
        for one in outcomes:
            if not isinstance(one, JobResult):
                return Refused.of(one)
            rows.append(one.value)
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def report(self) -> tuple[str, bytes]:
        """Return this replica's name and what it has counted."""
        return self._member, report_of(self.metrics.registry, of=MODEL_FAMILIES)

    def require_healthy(self) -> None:
        """Raise where this process can not run the network any more; another one can.

        Raises:
            NotReadyError
        """
        if self._device_lost:
            raise NotReadyError(f"The GPU failed: {self._device_lost}")
        if self._model is not None and self._model.queue is not None and self._model.queue.broken:
            raise NotReadyError(f"{self._model} {self._model.queue.broken}")

    async def close(self) -> None:
        """Answer what was accepted, and let the network go."""
        if self._model is not None:
            await self._model.retire()
        await self._stack.aclose()

    def _lose_device(self, reason: str) -> None:
        self._device_lost = reason


def find_servable(storage: ModelStorage, key: Key, digest: str) -> Servable:
    """Return the version that has this graph; blocking.

    Raises:
        ServableError: there is none on this machine, or another file.
        ConfigurationError: the storage can not be read.
    """
    storage.refresh(also=[key])
    servables, _ = storage.scan()
    for one in servables:
        if (one.name, one.version) == key:
            if one.card.certificate.graph_sha256 != digest:
                raise ServableError(
                    f"{key[0]} version {key[1]} is another file on this machine than where the requests arrive. Every "
                    "machine needs the same models: share the folder, or set FOVEAL_MODELS to a URL."
                )
            return one
    raise ServableError(
        f"{key[0]} version {key[1]} is not in {storage.name} on this machine. Every machine needs the same models: "
        "share the folder, or set FOVEAL_MODELS to a URL."
    )


def _job(row: Tensor) -> Job[None, dict[str, Any]]:
    prepare: Callable[[], tuple[Tensor, None]] = lambda: (row, None)  # noqa: E731
    return Job(prepare, _copied)


def _copied(outputs: Outputs, _: None) -> dict[str, Any]:
    """Keep an image's rows: those of the whole batch are used again."""
    return {name: np.array(row) for name, row in outputs.items()}
