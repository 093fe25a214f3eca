"""The parts of an engine: made from the settings, started and ended together, ready or not."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version as version_of

from service.background import background, kept_up, return_memory, watch_lag
from service.body_memory import BodyMemory
from service.chains.chains import Chains
from service.dispatch import Dispatch
from service.explain.explainers import Explainers, open_explainer
from service.explain.memory import ExplanationMemory
from service.explain.runner import Runner
from service.fanout import FanOut
from service.imaging.isolated.child import PROGRAM
from service.logs import LOGGER
from service.metrics import Metrics
from service.runtime.changes import Changes
from service.runtime.host import imaging_threads
from service.runtime.loop_cost import clock_of_this_thread
from service.runtime.opening import Elsewhere
from service.runtime.probing import DeviceCheck, find_device, is_lost
from service.runtime.session import RUNTIME_VERSION
from service.runtime.tuning import FOR_REQUESTS, BatchSearch
from service.runtime.wanted import NO_OVERRIDES, Catalog, Overrides
from service.runtime.watchdog import Watchdog
from service.runtime.workers import Workers
from service.settings import Settings
from service.shadows import Shadows
from service.started_threads import start_default_threads, start_threads
from service.storage.repository_folder import RepositoryFolder
from service.storage.storage import ModelStorage
from service.tasks.networks import require_fitting
from service.tasks.task import Task
from service.tasks.tasks import TASKS
from service.video.pipeline import VideoPipeline
from service.video_memory import VideoMemory
from service.wiring import (
    VIDEO_PROCESS_BYTES,
    answer_bytes,
    decoder_count,
    make_image_memory,
    make_opener,
    make_pipeline,
    make_registry,
    make_response_cache,
    make_storage,
    make_tracer,
    make_video_opener,
    prepare_libraries,
    read_catalog,
    threads_of,
    video_limits,
)

log = logging.getLogger(LOGGER)

JOBS_IN_FLIGHT = 8
"""Of one video or explanation: enough to keep every core busy, few enough to hold in memory as frames."""


class Machinery:
    """Everything that an engine's requests share. It accepts work inside `running()` only.

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
        search: how the largest batch of each network is searched.

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
        on_loaded: Callable[[], None] | None = None,
        on_device_lost: Callable[[], None] | None = None,
        device_check: DeviceCheck = is_lost,
        decoder_program: str = PROGRAM,
        overrides: Overrides = NO_OVERRIDES,
        storage: ModelStorage | None = None,
        environment: Mapping[str, str] | None = None,
        elsewhere: Elsewhere | None = None,
        search: BatchSearch = FOR_REQUESTS,
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
        self._images = images
        self._pool = ThreadPoolExecutor(images, "foveal-imaging") if images else None
        self.storage = storage or make_storage(settings, self.metrics.storage)
        self.models_folder = RepositoryFolder(self.storage)
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
                search=search,
            ),
            tasks=tasks,
            settings=settings,
        )
        self.pipeline = make_pipeline(
            settings,
            self.metrics,
            threads=self.threads,
            pool_threads=images,
            decoder_program=decoder_program,
        )
        self.explainers = Explainers(
            self._workers,
            limit=settings.explainers,
            capacity=settings.queue_size,
            open_explainer=partial(
                open_explainer,
                ExplanationMemory(self.pipeline.room, settings.stuck_seconds / 2),
            ),
            series_of=self.registry.series_of,
            stuck_seconds=settings.stuck_seconds,
        )
        self.registry.when_gone(self.explainers.forget)
        fan_out = FanOut(requests=settings.max_fan_outs, in_flight=JOBS_IN_FLIGHT)
        self.bodies = BodyMemory(capacity=settings.queue_size)
        self.video_memory = VideoMemory(
            self.bodies,
            self.pipeline.room,
            most_file_bytes=settings.max_fan_outs * settings.max_video_bytes,
            capacity=settings.queue_size,
        )
        self.image_memory = make_image_memory(
            settings,
            self.pipeline.room,
            decoder_count(settings, threads=self.threads, pool_threads=images),
            self.bodies,
            self.video_memory,
        )
        self.tracer = make_tracer(settings, environment or {}, self.metrics, self.version)
        self.cache = make_response_cache(settings, self.pipeline, self.metrics)
        self.shadows = Shadows(self.pipeline, self.metrics, self.registry.residence.has_room)
        self.videos = VideoPipeline(
            fan_out,
            video_limits(settings),
            self.metrics,
            self.pipeline.room,
            self.video_memory,
            make_video_opener(settings, self.metrics, self.pipeline.room),
            VIDEO_PROCESS_BYTES if settings.decode == "isolated" else 0,
        )
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
            start_default_threads()
            if self._pool is not None:
                stack.callback(self._pool.shutdown)
                start_threads(self._pool.submit, self._images)
            self.pipeline.decoder.start()
            self.pipeline.ahead.start()
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
                kept_up(partial(return_memory, self.image_memory.fit)),
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

    def _take_chains(self, catalog: Catalog) -> None:
        self.chains.reload(catalog.chain)

    async def _serve_models(self) -> None:
        self.chains.report()
        await self.registry.load()
        await self.changes.start()
        self.image_memory.learn()
        self.loaded.set()
        if self._on_loaded is not None:
            self._on_loaded()
        await kept_up(partial(self.registry.health.watch, self._health_check_seconds))
