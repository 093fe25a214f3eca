"""The service without HTTP: settings in, an engine out that predicts, infers, watches videos and explains.

Routes, protocols, the command line and other programs call an engine and nothing below it.
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.background import background, kept_up, return_memory, watch_lag
from service.chains.chains import Chains
from service.dispatch import Dispatch
from service.errors import FovealError, InvalidParameterError, RefusedModelError
from service.explain.explainers import Explainers, open_explainer
from service.explain.options import ExplainOptions
from service.explain.runner import Runner
from service.explain.views import ExplainResult
from service.fanout import FanOut
from service.faults import shown, unknown_parameter, words_of
from service.imaging.isolated.child import PROGRAM
from service.imaging.overlay import RenderedImage
from service.logs import LOGGER
from service.metrics import Metrics
from service.pipeline import EncodedImage
from service.runtime.changes import Changes
from service.runtime.host import imaging_threads
from service.runtime.job import JobResult
from service.runtime.loop_cost import clock_of_this_thread
from service.runtime.model import Model
from service.runtime.opening import Elsewhere
from service.runtime.probing import DeviceCheck, find_device, is_lost
from service.runtime.session import RUNTIME_VERSION
from service.runtime.wanted import NO_OVERRIDES, Catalog, Overrides
from service.runtime.watchdog import Watchdog
from service.runtime.workers import Workers
from service.settings import Settings
from service.shadows import Shadows
from service.storage.storage import ModelStorage
from service.tasks.networks import require_fitting
from service.tasks.task import Task, TaskOptions
from service.tasks.tasks import TASKS
from service.video.events import VideoEvent
from service.video.options import SamplingOptions
from service.video.pipeline import VideoPipeline
from service.video.source import Source
from service.whole_call import whole_call
from service.wiring import (
    answer_bytes,
    make_opener,
    make_pipeline,
    make_registry,
    make_response_cache,
    make_storage,
    make_tracer,
    prepare_libraries,
    read_catalog,
    threads_of,
    video_limits,
)

log = logging.getLogger(LOGGER)

FETCHED = "The models are fetched from a model storage, which this service never changes."
JOBS_IN_FLIGHT = 8
"""Of one video or explanation: enough to keep every core busy, few enough to hold in memory as frames."""


class Engine:
    """Everything that the service can do. It accepts work inside `running()` only.

    Args:
        settings: what the operator wants.
        tasks: the tasks that it offers, by name.
        share: this process's part of a number of threads, where several processes serve together.
        on_loaded: called once, on the event loop, when every model was loaded or has failed.
        on_device_lost: called once, on the event loop, when this process can not use its GPU any more.
        device_check: returns whether it can not, after a run that failed.
        decoder_program: the module that isolated decoder processes run.
        overrides: what admin calls have changed, where this engine takes the place of another.
        storage: where the models are found; None: where the settings say.
        environment: of the process, for OpenTelemetry's variables; None: it has none.
        elsewhere: the other processes that run the networks; None: this one runs them.

    Raises:
        ConfigurationError: the device does not work, there is no repository, a default names no model, or the tasks
            or the settings do not fit together.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tasks: Mapping[str, Task] = TASKS,
        share: Callable[[int], int] = int,
        on_loaded: "Callable[[Engine], None] | None" = None,
        on_device_lost: Callable[[], None] | None = None,
        device_check: DeviceCheck = is_lost,
        decoder_program: str = PROGRAM,
        overrides: Overrides = NO_OVERRIDES,
        storage: ModelStorage | None = None,
        environment: Mapping[str, str] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        require_fitting(tasks)
        self.version = version_of("foveal")
        self.tasks = tasks
        self.timeout_seconds = settings.timeout_ms / 1e3
        self.answer_bytes = answer_bytes(settings)
        self.draining = False
        self.device_lost = False
        self.loaded = asyncio.Event()
        self._on_loaded = on_loaded
        self._on_device_lost = on_device_lost
        self.metrics = Metrics()
        self.metrics.build_info.labels(self.version, RUNTIME_VERSION).set(1)
        self.metrics.workers.set(1)
        if elsewhere is None:
            device = find_device(settings.device, settings.device_id)
            self.threads = share(threads_of(settings, device))
            # On a CPU the workers prepare images themselves.
            images = imaging_threads(share) if device.is_gpu else 0
        else:
            device, images = elsewhere.device, elsewhere.imaging_threads
            self.threads = elsewhere.batches
        self._workers = Workers(self.threads)
        self._pool = ThreadPoolExecutor(images, "foveal-imaging") if images else None
        self.storage = storage or make_storage(settings, self.metrics.storage)
        self.storage.refresh(also=overrides.loaded)
        read = partial(read_catalog, self.storage, settings.defaults, tasks)
        catalog = read()
        self.registry = make_registry(
            catalog,
            overrides,
            opener=make_opener(
                settings,
                device,
                tasks,
                self.metrics,
                workers=self._workers,
                pool=self._pool,
                on_device_lost=self._lose_device,
                is_lost=partial(device_check, device),
                elsewhere=elsewhere,
            ),
            tasks=tasks,
            settings=settings,
        )
        self.explainers = Explainers(
            self._workers,
            limit=settings.explainers,
            capacity=settings.queue_size,
            open_explainer=open_explainer,
            series_of=self.registry.series_of,
            stuck_seconds=settings.stuck_seconds,
        )
        self.registry.when_gone(self.explainers.forget)
        fan_out = FanOut(requests=settings.max_fan_outs, in_flight=JOBS_IN_FLIGHT)
        self.pipeline = make_pipeline(
            settings,
            self.metrics,
            threads=self.threads,
            pool_threads=images,
            decoder_program=decoder_program,
        )
        self.tracer = make_tracer(settings, environment or {}, self.metrics, self.version)
        self.cache = make_response_cache(settings, self.pipeline, self.metrics)
        self.shadows = Shadows(self.pipeline, self.metrics, self.registry.residence.has_room)
        self.videos = VideoPipeline(fan_out, video_limits(settings), self.metrics)
        self.runner = Runner(self.explainers, fan_out, self.pipeline)
        self.chains = Chains(
            self.storage.folder,
            tasks,
            registry=self.registry,
            pipeline=self.pipeline,
            fan_out=fan_out,
            shadows=self.shadows,
            metrics=self.metrics,
            default=catalog.chain,
        )
        self.registry.residence.let_alternate(self.chains.alternate)
        self.dispatch = Dispatch(
            tasks,
            registry=self.registry,
            pipeline=self.pipeline,
            cache=self.cache,
            shadows=self.shadows,
            runner=self.runner,
            chains=self.chains,
            timeout_seconds=self.timeout_seconds,
        )

        def read_again() -> Catalog:
            found = read()
            self.chains.require_default(found.chain)
            return found

        self.changes = Changes(
            self.registry,
            read_again,
            catalog,
            overrides,
            turn_seconds=settings.load_seconds,
            on_commit=self._take_chains,
            refresh=self.storage.refresh,
        )
        self._health_check_seconds = settings.health_check_seconds
        prepare_libraries(settings.max_pixels)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve for the length of the block; models load beside it, and `loaded` is set when each has or has failed.

        At the end everything that was accepted is answered.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self.storage.close)
            if self.tracer is not None:
                self.tracer.start()
                stack.push_async_callback(self.tracer.close)
            if self._pool is not None:
                stack.callback(self._pool.shutdown)
            self.pipeline.decoder.start()
            stack.push_async_callback(asyncio.to_thread, self.pipeline.decoder.close)
            stack.push_async_callback(asyncio.to_thread, self.pipeline.ahead.close)
            # A GPU is not what the event loop takes time from, so models that run on it share its time alone.
            self._workers.start(clock_of_this_thread() if self._pool is None else None)
            stack.push_async_callback(asyncio.to_thread, self._workers.stop)
            stack.push_async_callback(self.registry.close)
            stack.push_async_callback(self.explainers.close)
            stack.push_async_callback(self.shadows.close)
            for work in (
                self._serve_models(),
                kept_up(self.registry.residence.watch),
                kept_up(Watchdog(self._workers).watch),
                kept_up(partial(watch_lag, self.metrics)),
                kept_up(return_memory),
            ):
                await stack.enter_async_context(background(work))
            yield

    def _lose_device(self, reason: str) -> None:
        if self.device_lost:
            return
        self.device_lost = True
        log.critical(
            "The GPU failed: %s. This process can not use it any more and ends; another one can.",
            reason,
        )
        if self._on_device_lost is not None:
            self._on_device_lost()

    def not_ready(self) -> list[str]:
        """Return why this engine is not ready, a reason each."""
        ending = ["the service is shutting down"] if self.draining else []
        return (
            ending
            + self.pipeline.decoder.not_ready()
            + self.registry.not_ready()
            + self.chains.not_ready()
        )

    # Tasks.

    def task(self, name: str) -> Task:
        """Return a task by its name.

        Raises:
            InvalidParameterError: there is none.
        """
        try:
            return self.tasks[name]
        except KeyError:
            known = ", ".join(self.tasks)
            raise InvalidParameterError(f"task: there is no {name!r}. Tasks: {known}.") from None

    async def predict(
        self,
        task: str,
        images: Sequence[EncodedImage],
        options: TaskOptions | Mapping[str, Any] | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        rendering: str | None = None,
        timeout_seconds: float | None = None,
    ) -> list[Any]:
        """Take images through a task and return each one's result, in order.

        Args:
            task: its name.
            images: the bytes of each encoded image: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.
            options: an instance of the task's `options` (`service.tasks.detect.DetectOptions`), or its fields by name;
                None: the defaults.
            model: the model's name; None: the task's default model.
            version: None: the newest that is ready.
            rendering: a rendering's name, for `RenderedImage`s in place of results.
            timeout_seconds: until when; None: the setting.

        Returns:
            The task's `result` for each image, or the FovealError of that image.

        Raises:
            FovealError: the call as a whole can not be answered.
        """
        found = self.task(task)
        call = self.dispatch.call(
            found,
            _options(found.options, options),
            model=model,
            version=version,
            rendering=rendering,
        )
        seconds = self.dispatch.seconds(timeout_seconds)
        outcomes = await call.run(images, timeout_seconds=seconds)
        return _values(outcomes)

    def model(self, name: str, version: int | None = None) -> Model:
        """Return a model for what is said of it; a request that runs it has a call, which counts for the shares.

        Args:
            name: its name, `name:version` or `name@alias`, whatever its task.
            version: None: the one that would answer a request now.

        Raises:
            UnknownModelError, UnknownVersionError: there is no such model.
        """
        return self.registry.find(tuple(self.tasks), name, version, takes_turn=False)

    async def infer(
        self,
        model: str,
        tensors: Mapping[str, NDArray[Any]],
        *,
        version: int | None = None,
        timeout_seconds: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Run a network on tensors, through the same queue and batches as images.

        Args:
            model: its name, whatever its task.
            tensors: every input of the network by name, (N, …), in the network's own dtype.
            version: None: the newest that is ready.
            timeout_seconds: until when; None: the setting.

        Returns:
            Every output of the network by name, (N, …).

        Raises:
            UnknownModelError, UnknownVersionError: there is no such model.
            InvalidParameterError: a tensor is missing or has another dtype or shape than the network's input.
            FovealError: the first error of a row.
        """
        call = self.dispatch.tensor_call(model, version)
        rows = call.rows(tensors)
        seconds = self.dispatch.seconds(timeout_seconds)
        outcomes = await call.run(rows, timeout_seconds=seconds)
        found_rows = []
        for outcome in outcomes:
            if isinstance(outcome, FovealError):
                raise outcome
            found_rows.append(outcome.value)
        return {name: np.stack([row[name] for row in found_rows]) for name in found_rows[0]}

    # Videos.

    async def watch(
        self,
        task: str,
        video: Source,
        options: TaskOptions | Mapping[str, Any] | None = None,
        sampling: SamplingOptions | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        draws: bool = False,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[VideoEvent, None]:
        """Yield what happens while a video runs through a task: a start, frames, a summary.

        Iterate inside `contextlib.aclosing`: what has not run is dropped when the iteration is closed.

        Args:
            task: its name.
            video: a binary file object: MP4, MOV, WebM, Matroska, AVI, GIF, animated PNG or animated WebP.
            options: an instance of the task's `over_time.options` (`service.tasks.detect.DetectVideoOptions`), or its
                fields by name; None: the defaults.
            sampling: which frames; None: two frames per second, for temporal networks the card's rate.
            model: the model's name; None: the task's default model.
            version: None: the newest that is ready.
            draws: whether each frame is returned with its result drawn on it.
            timeout_seconds: how long each frame may take; None: the setting.

        Raises:
            FovealError: the video can not be read, or a network does not answer.
        """
        found = self.task(task)
        kind = found.over_time.options if found.over_time is not None else TaskOptions
        run = self.dispatch.video_run(
            found,
            _options(kind, options),
            sampling or SamplingOptions(),
            model=model,
            version=version,
            draws=draws,
            timeout_seconds=timeout_seconds,
        )
        async with aclosing(self.videos.run(run, video, stop_reading=_nothing)) as events:
            async for event in events:
                yield event

    # Chains.

    async def read(
        self,
        images: Sequence[EncodedImage],
        chain: str | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> list[Any]:
        """Take images through a chain and return each one's `ChainResult`, or its FovealError, in order.

        Args:
            images: the bytes of each encoded image.
            chain: its name; None: the default chain.
            timeout_seconds: until when; None: the setting.

        Raises:
            FovealError: the call as a whole can not be answered.
        """
        call = self.chains.call(chain)
        seconds = self.dispatch.seconds(timeout_seconds)
        outcomes = await call.run(images, timeout_seconds=seconds)
        return _values(outcomes)

    # Explanations.

    async def explain(
        self,
        image: EncodedImage | None,
        options: ExplainOptions,
        *,
        model: str | None = None,
        version: int | None = None,
        timeout_seconds: float | None = None,
    ) -> ExplainResult | RenderedImage:
        """Return an explanation of a network: what it sees in an image, or what its first filters look like.

        Args:
            image: an encoded image; None for `view=filters`.
            options: the view, its form (JSON unless given) and its options.
            model: the model's name; None: the default classifier.
            version: None: the newest that is ready.
            timeout_seconds: how long each run of the network may take; None: the setting.

        Raises:
            FovealError: the network does not allow it, the image can not be read, or a run failed.
        """
        call = self.dispatch.explain_call(
            options, options.format or "json", model=model, version=version
        )
        seconds = self.dispatch.seconds(timeout_seconds)
        return (await call.run(image, timeout_seconds=seconds)).value

    # Models.

    @property
    def models_folder(self) -> Path | None:
        """The folder that models can be put into; None where they are fetched from elsewhere."""
        return self.storage.folder if self.storage.is_folder else None

    def require_folder(self) -> Path:
        """Return the folder that models can be put into.

        Raises:
            RefusedModelError: they are fetched from elsewhere.
        """
        if self.models_folder is None:
            raise RefusedModelError(
                f"{FETCHED} Put the files there or remove them there, then reload."
            )
        return self.models_folder

    async def remove_file(self, name: str, version: int) -> None:
        """Remove a version, which is not served any more, from the folder of the models.

        Raises:
            RefusedModelError: the folder can not be written, or there is none.
        """
        try:
            await whole_call(shutil.rmtree, self.require_folder() / name / str(version))
        except OSError as error:
            raise RefusedModelError(
                f"{name} version {version} is not served any more, and its file can not be removed: "
                f"{error.strerror or error}."
            ) from error

    def _take_chains(self, catalog: Catalog) -> None:
        self.chains.reload(catalog.chain)

    async def _serve_models(self) -> None:
        self.chains.report()
        await self.registry.load()
        await self.changes.start()
        self.loaded.set()
        if self._on_loaded is not None:
            self._on_loaded(self)
        await kept_up(partial(self.registry.health.watch, self._health_check_seconds))


@asynccontextmanager
async def open_engine(
    settings: Settings, *, tasks: Mapping[str, Task] = TASKS
) -> AsyncIterator[Engine]:
    """Give an engine for the length of the block, its models loaded.

    A model that can not be loaded does not end the block: `engine.not_ready()` says why it is not served.

    Raises:
        ConfigurationError: the device does not work, there is no repository, or a default names no model.
    """
    engine = Engine(settings, tasks=tasks)
    async with engine.running():
        await engine.loaded.wait()
        yield engine


def _options(kind: type[TaskOptions], given: TaskOptions | Mapping[str, Any] | None) -> TaskOptions:
    """Return options of the kind that a task takes.

    Raises:
        InvalidParameterError: they are of another kind, or out of range.
    """
    if isinstance(given, TaskOptions):
        if not isinstance(given, kind):
            raise InvalidParameterError(
                f"options: must be {kind.__name__}, not {type(given).__name__}"
            )
        return given
    try:
        return kind.model_validate(dict(given or {}))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise InvalidParameterError(unknown_parameter(name, kind.model_fields)) from error
        raise InvalidParameterError(
            f"{name}: {words_of(first)}, not {shown(first['input'])}"
        ) from error


def _values(outcomes: Sequence[JobResult[Any] | FovealError]) -> list[Any]:
    return [one.value if isinstance(one, JobResult) else one for one in outcomes]


def _nothing() -> None:
    """A file that is complete needs no wake-up."""
