"""The models that are served: found by name, task and version, loaded in turn, proved alive now and then."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np

from service.card import Card, Task
from service.errors import (
    ConfigurationError,
    DeadlineError,
    FovealError,
    NotReadyError,
    OverloadedError,
    UnknownModelError,
    UnknownVersionError,
    WrongTaskError,
)
from service.logs import FIELDS, LOGGER
from service.metrics import Metrics, ModelMetrics
from service.runtime.batcher import Batcher
from service.runtime.device import Device
from service.runtime.job import Job, Outputs, Tensor
from service.runtime.loading import Loaded
from service.runtime.repository import Refusal, Servable
from service.runtime.workers import Workers

log = logging.getLogger(LOGGER)

HEALTH_CHECK_SHARE = 1e-3
"""Of the time, how much a model's health checks may take: one that runs for 0.3 s is sent every five minutes."""

OpenModel = Callable[[Servable], Loaded]
"""Load a servable onto the device; blocking, called on a thread."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How every model's batches are made; see `Batcher`."""

    capacity: int
    max_delay_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Model:
    """One version of one model, in whatever state it is."""

    servable: Servable
    state: Literal["loading", "ready", "failed"] = "loading"
    reason: str = "is still loading"
    load_seconds: float = 0.0
    queue: Batcher | None = field(default=None, repr=False)
    """None until it is loaded; `batcher` is for those who need it."""
    blank: Tensor = field(default_factory=lambda: np.zeros(0, np.uint8), repr=False)
    seen: tuple[int, int] = (0, 0)
    """How many batches it had taken and run at the last look; see `Registry.watch`."""
    next_try: float = 0.0
    """From when it may be sent a health check again, in `perf_counter` seconds."""

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
    def batcher(self) -> Batcher:
        """The model's queue.

        Raises:
            NotReadyError: the model is loading, or could not be loaded.
        """
        if self.queue is None:
            raise NotReadyError(f"{self.name} version {self.version} {self.reason}.")
        return self.queue


class Registry:
    """Every model of the repository on one device.

    One that can not be loaded never keeps the others from being served, and never lets the service be ready.
    """

    def __init__(
        self,
        servables: Collection[Servable],
        refusals: Collection[Refusal],
        *,
        device: Device,
        open_model: OpenModel,
        workers: Workers,
        metrics: Metrics,
        batching: Batching,
        defaults: Mapping[Task, str],
        pool: Executor | None = None,
    ) -> None:
        self.device = device
        self.models = tuple(Model(servable) for servable in servables)
        self._refusals = tuple(refusals)
        self._open_model = open_model
        self._workers = workers
        self._metrics = metrics
        self._batching = batching
        self._pool = pool
        self._by_name: dict[str, list[Model]] = {}
        for model in self.models:
            self._by_name.setdefault(model.name, []).append(model)
        self._defaults = self._checked_defaults(defaults)
        self._series = {name: self._make_series(name) for name in self._by_name}

    def find(self, tasks: Collection[Task], name: str | None, version: int | None) -> Model:
        """Return the model asked for: without a name the default of the tasks, without a version the newest.

        Raises:
            UnknownModelError: there is no such model, or none for the tasks.
            UnknownVersionError: the model has no such version.
            WrongTaskError: the model does none of the tasks.
        """
        if name is None:
            name = next((found for task in tasks if (found := self.default_of(task))), None)
        if name is None or name not in self._by_name:
            able = (model.name for model in self.models if model.card.task in tasks)
            asked = (
                f"There is no model {name!r}" if name else f"There is no model for {_either(tasks)}"
            )
            raise UnknownModelError(f"{asked}. This task's models: {_listed(able)}.")
        model = self._version(name, version)
        if model.card.task not in tasks:
            raise WrongTaskError(f"{name} does {model.card.task}, not {_either(tasks)}.")
        return model

    def backbone_of(self, head: Model) -> Model:
        """Return the model whose features a temporal head reads.

        Raises:
            NotReadyError: it is not among the models, or is another than the one that the head was trained on.
        """
        card = head.card
        for model in reversed(self._by_name.get(card.backbone or "", [])):
            if model.card.certificate.graph_sha256 == card.backbone_sha256:
                return model
        raise NotReadyError(
            f"{head.name} reads the features of {card.backbone} as it was when {head.name} was trained, and that is "
            "not among the models. Put it back, or export both again."
        )

    def versions(self, name: str) -> list[Model]:
        """Return all versions of a model, oldest first.

        Raises:
            UnknownModelError: there is none.
        """
        if name not in self._by_name:
            raise UnknownModelError(
                f"There is no model {name!r}. Models: {_listed(self._by_name)}."
            )
        return self._by_name[name]

    def default_of(self, task: Task) -> str | None:
        """Return the model that answers a task when none is named: the setting, else the first by name.

        What only embeds for a head over time is nobody's default.
        """
        backbones = {model.card.backbone for model in self.models} if task == "embed" else set()
        able = (model.name for model in self.models if model.card.task == task)
        return self._defaults.get(
            task, next((name for name in able if name not in backbones), None)
        )

    def series_of(self, model: Model) -> ModelMetrics:
        """Return what is counted of a model, all its versions together."""
        return self._series[model.name]

    def not_ready(self) -> list[str]:
        """Return why the service is not ready, a reason each; empty when every model in the repository is."""
        reasons = [
            f"{model.name} version {model.version} {model.reason}"
            for model in self.models
            if model.state != "ready"
        ]
        reasons += [refusal.reason for refusal in self._refusals]
        return reasons or ([] if self.models else ["the model repository is empty"])

    async def load(self) -> None:
        """Load, warm and try every model in turn."""
        for refusal in self._refusals:
            log.error("refused: %s", refusal.reason)
        for model in self.models:
            began = time.perf_counter()
            try:
                await self._load(model)
            except FovealError as error:
                self._mark(model, f"failed to load: {error}")
                log.error("%s is not served: %s", model.name, error)
            model.load_seconds = time.perf_counter() - began

    async def watch(self, every_seconds: float, timeout_seconds: float = 10.0) -> None:
        """Look at each model now and then, for ever; who does not answer is not ready.

        A model that has answered since the last look has proved itself. Another gets a blank image, behind everybody
        else's; a heavy one that nobody asked less often: on two cores U²-Net-p's made all images wait for 0.3 s.
        """
        while True:
            await asyncio.sleep(every_seconds)
            for model in self.models:
                if model.queue is not None:
                    await self._look_at(model, model.queue, timeout_seconds)

    async def _look_at(self, model: Model, queue: Batcher, timeout_seconds: float) -> None:
        taken, run = model.seen
        answers = model.state == "ready" and queue.batches_run > run
        asked = queue.busy or queue.batches_taken > taken
        if not answers and (asked or time.perf_counter() >= model.next_try):
            await self._check_health(model, queue, timeout_seconds, low_priority=True)
        model.seen = queue.batches_taken, queue.batches_run

    async def close(self) -> None:
        """Accept nothing more and return when everything accepted has been answered."""
        await asyncio.gather(*(model.queue.close() for model in self.models if model.queue))

    async def _load(self, model: Model) -> None:
        loaded = await asyncio.to_thread(self._open_model, model.servable)
        model.blank = loaded.blank
        batching = self._batching
        queue = Batcher(
            loaded.runs,
            self._workers,
            self._series[model.name],
            largest=loaded.largest,
            wide=loaded.wide,
            capacity=batching.capacity,
            max_delay_seconds=batching.max_delay_seconds,
            macs=model.card.cost.macs,
            pool=self._pool,
        )
        queue.open()
        model.queue = queue
        await self._check_health(model, queue, timeout_seconds=60.0)
        self._metrics.model_info.labels(
            model.name, str(model.version), model.card.task, model.card.precision, self.device.name
        ).set(1)

    async def _check_health(
        self, model: Model, queue: Batcher, timeout_seconds: float, *, low_priority: bool = False
    ) -> None:
        """Run a blank image through the model's queue.

        A queue that is full or slow is no proof of death, as long as batches still come out of it.
        """
        ran_before = queue.batches_run
        job = Job(prepare=partial(_blank, model.blank), finish=_require_finite)
        try:
            (outcome,) = await queue.submit(
                [job], timeout_seconds=timeout_seconds, low_priority=low_priority
            )
        except OverloadedError as error:
            outcome = error
        if isinstance(outcome, OverloadedError | DeadlineError) and queue.batches_run > ran_before:
            return
        if isinstance(outcome, FovealError):
            self._mark(model, f"did not answer its health check: {outcome}")
            log.error(
                "health check failed", extra={FIELDS: {"model": model.name, "reason": str(outcome)}}
            )
        else:
            self._mark(model, "")
            model.seen = queue.batches_taken, queue.batches_run
            model.next_try = time.perf_counter() + outcome.trace.infer / HEALTH_CHECK_SHARE

    def _mark(self, model: Model, reason: str) -> None:
        model.state, model.reason = ("failed", reason) if reason else ("ready", "")
        ready = all(version.state == "ready" for version in self._by_name[model.name])
        self._metrics.model_ready.labels(model.name).set(ready)

    def _version(self, name: str, version: int | None) -> Model:
        versions = self._by_name[name]
        if version is None:
            return versions[-1]
        for model in versions:
            if model.version == version:
                return model
        have = _listed(str(model.version) for model in versions)
        raise UnknownVersionError(f"{name} has no version {version}. Versions: {have}.")

    def _checked_defaults(self, defaults: Mapping[Task, str]) -> dict[Task, str]:
        for task, name in defaults.items():
            if name not in self._by_name or self._by_name[name][-1].card.task != task:
                able = (model.name for model in self.models if model.card.task == task)
                raise ConfigurationError(
                    f"FOVEAL_DEFAULTS names {name!r} for {task}. Models for it: {_listed(able)}."
                )
        return dict(defaults)

    def _make_series(self, name: str) -> ModelMetrics:
        self._metrics.model_ready.labels(name).set(0)
        models = self._by_name[name]
        self._metrics.queue_capacity.labels(name).set(self._batching.capacity * len(models))
        return self._metrics.of_model(
            name, lambda: sum(model.queue.depth for model in models if model.queue)
        )


def _blank(tensor: Tensor) -> tuple[Tensor, None]:
    return tensor, None


def _require_finite(outputs: Outputs, _: None) -> None:
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise NotReadyError(f"output {name} of a blank image is not finite")


def _either(tasks: Collection[Task]) -> str:
    return " or ".join(sorted(tasks))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "none"
