"""The composition root: settings in, an ASGI app out; whatever is started here is also ended here."""

import asyncio
import logging
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from PIL import Image
from prometheus_client import disable_created_metrics

from service.api.deps import Services
from service.api.docs import serve_docs
from service.api.errors import handle_errors
from service.api.fast_path import FastPath
from service.api.ingest.admission import Admission
from service.api.middleware import Middleware, Telemetry, guarded
from service.api.routes import (
    classify,
    detect,
    embed,
    explain,
    models,
    operations,
    segment,
    video,
)
from service.api.routes.playground import playground_router
from service.explain.explainers import Explainers, open_explainer
from service.explain.runner import Runner
from service.fanout import FanOut
from service.imaging.decode import Limits
from service.logs import LOGGER
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.runtime.device import Device
from service.runtime.host import granted_threads, trim_heap
from service.runtime.io_binding import CaptureLock
from service.runtime.loading import load_model
from service.runtime.registry import Batching, OpenModel, Registry
from service.runtime.repository import scan_repository
from service.runtime.session import RUNTIME_VERSION, find_device
from service.runtime.workers import Workers
from service.settings import Settings
from service.video.reader import ClipLimits

log = logging.getLogger(LOGGER)

TASKS = (classify, segment, detect, embed)
LAG_PROBE_SECONDS = 0.25
TRIM_SECONDS = 10.0
HELD_BYTES_A_THREAD = 8 * 2**20
"""Of large bodies: two or three photographs of a phone, at work and ready."""
JOBS_IN_FLIGHT = 8
"""Of one clip or explanation: enough to keep every core busy, few enough to hold in memory as frames."""


def create_app(
    settings: Settings,
    on_loaded: Callable[[Registry], None] | None = None,
    *,
    share: Callable[[int], int] = int,
    middleware: Sequence[Middleware] = (),
) -> Telemetry:
    """Return the service as an ASGI app; nothing runs before its lifespan does.

    Args:
        settings: what the operator asked for.
        on_loaded: called once, on the event loop, when every model was loaded or has failed.
        share: returns this process's part of a number of threads; all of them where it is the only process.
        middleware: guards around every request, the first outermost.

    Raises:
        ConfigurationError: the device does not work, there is no repository, or a default names no model.
    """
    device = find_device(settings.device, settings.device_id)
    servables, refusals = scan_repository(settings.models)
    metrics = Metrics()
    metrics.build_info.labels(version("foveal"), RUNTIME_VERSION).set(1)
    metrics.workers.set(1)
    batching = Batching(settings.queue_size, settings.max_delay_ms / 1e3)
    cores = share(granted_threads())
    threads = share(thread_count(settings, device))
    workers = Workers(threads)
    pool = ThreadPoolExecutor(cores, "foveal-imaging") if device.is_gpu else None
    registry = Registry(
        servables,
        refusals,
        device=device,
        open_model=model_opener(settings, device, threads),
        workers=workers,
        metrics=metrics,
        batching=batching,
        defaults=settings.defaults,
        pool=pool,
    )
    explainers = Explainers(
        workers,
        limit=settings.explainers,
        capacity=settings.queue_size,
        open_explainer=open_explainer,
        series_of=registry.series_of,
    )
    admission = Admission(
        turns=threads,
        room=settings.max_held_bytes or threads * HELD_BYTES_A_THREAD,
        capacity=settings.queue_size,
    )
    metrics.held_bytes.set_function(lambda: admission.held_bytes)
    metrics.waiting_bodies.set_function(lambda: admission.waiting)
    pipeline = Pipeline(Limits(max_pixels=settings.max_pixels))
    fan_out = FanOut(requests=settings.max_fan_outs, in_flight=JOBS_IN_FLIGHT)
    services = Services(
        registry=registry,
        pipeline=pipeline,
        fan_out=fan_out,
        explanation=Runner(explainers, fan_out, pipeline),
        metrics=metrics,
        admission=admission,
        version=version("foveal"),
        timeout_seconds=settings.timeout_ms / 1e3,
        max_body_bytes=settings.max_body_bytes,
        max_images=settings.max_images,
        max_video_bytes=settings.max_video_bytes,
        clip_limits=ClipLimits(
            max_seconds=settings.max_video_seconds,
            max_frames=settings.max_video_frames,
            max_pixels=settings.max_pixels,
        ),
    )
    _quieten_libraries(settings.max_pixels)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if pool is not None:
                stack.callback(pool.shutdown)
            workers.start()
            stack.push_async_callback(asyncio.to_thread, workers.stop)
            stack.push_async_callback(registry.close)
            stack.push_async_callback(explainers.close)
            await stack.enter_async_context(
                _background(_serve_models(registry, settings.health_check_seconds, on_loaded))
            )
            await stack.enter_async_context(_background(_watch_lag(metrics)))
            await stack.enter_async_context(_background(_give_back_memory()))
            yield

    app = FastAPI(
        title="Foveal",
        summary="Images in, meaning out",
        version=services.version,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    handle_errors(app)
    serve_docs(app)
    for module in (*TASKS, explain, video, models, operations):
        app.include_router(module.router)
    app.include_router(playground_router())
    direct = FastPath(app, services, [task.ROUTE for task in TASKS])
    return Telemetry(guarded(direct, middleware), services, app)


def model_opener(settings: Settings, device: Device, threads: int) -> OpenModel:
    """Return what loads a servable onto the device as the settings ask."""
    return partial(
        load_model,
        device=device,
        largest=settings.max_batch,
        instances=settings.instances,
        threads=threads,
        cache=settings.cache.expanduser(),
        capture_lock=CaptureLock(),
        graphs=settings.cuda_graphs,
    )


def _quieten_libraries(max_pixels: int) -> None:
    """Set what these libraries keep for the whole process."""
    # Pillow's own net under too many pixels; ours, per image, is tighter and speaks to the client.
    Image.MAX_IMAGE_PIXELS = max_pixels
    # What is odd about an image is its client's affair.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # A second series beside every counter, which nothing here reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]


def thread_count(settings: Settings, device: Device) -> int:
    """Return how many threads of the service run batches.

    On a CPU as many as cores, for they compute; on a GPU enough to keep it fed, for they wait.
    """
    return settings.threads or granted_threads() * (2 if device.is_gpu else 1)


async def _serve_models(
    registry: Registry, health_check_seconds: float, on_loaded: Callable[[Registry], None] | None
) -> None:
    await registry.load()
    if on_loaded is not None:
        on_loaded(registry)
    await registry.watch(health_check_seconds)


async def _give_back_memory() -> None:
    """Return to the system now and then what was freed and malloc keeps in pieces: after large bodies 150 MiB."""
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        await asyncio.to_thread(trim_heap)


async def _watch_lag(metrics: Metrics) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(LAG_PROBE_SECONDS)
        late = time.perf_counter() - before - LAG_PROBE_SECONDS
        metrics.event_loop_lag.observe(max(0.0, late))


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` beside the block; it ends with the block, and its death is told."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell_death)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _tell_death(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task died", exc_info=error)
