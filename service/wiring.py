"""Settings → the parts of an engine, each with what it needs."""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from importlib import import_module

from PIL import Image
from prometheus_client import disable_created_metrics

from service.body_memory import BodyMemory
from service.caching import CachingPipeline
from service.chains.chains import CHAIN
from service.errors import ConfigurationError, DeviceError, InvalidParameterError
from service.heavy_jobs import HeavyJobs
from service.image_memory import SUPERVISOR_BYTES, ImageMemory
from service.imaging.ahead import DecodingAhead
from service.imaging.decode import Limits
from service.imaging.decoder import Decoder, ThreadDecoder
from service.imaging.formats import formats_of
from service.imaging.isolated.decoder import IsolatedDecoder
from service.imaging.libtiff_words import silence_libtiff
from service.imaging.room import BYTES_PER_PIXEL, TIGHT_BYTES_PER_PIXEL, PixelRoom
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.response_cache import ResponseCache
from service.runtime.chip import this_chip
from service.runtime.choosing import Chooser
from service.runtime.device import Device
from service.runtime.faults import IsLost
from service.runtime.fleet import Selector, parse_selector, read_fleet
from service.runtime.host import (
    granted_memory,
    granted_threads,
    return_large_blocks_at_once,
    trim_heap,
)
from service.runtime.loading import ModelLoader
from service.runtime.opening import Batching, Elsewhere, Opener
from service.runtime.probing import try_device
from service.runtime.registry import Registry
from service.runtime.trial import Trial
from service.runtime.tuning import FOR_REQUESTS, BatchSearch
from service.runtime.wanted import Catalog, Overrides, choose, require_targets
from service.runtime.workers import Workers
from service.settings import Settings
from service.storage.opening import Fetching, open_storage
from service.storage.storage import ModelStorage
from service.storage_metrics import StorageMetrics
from service.tasks.networks import usable
from service.tasks.task import Task
from service.tracing.opening import open_tracer
from service.tracing.tracer import Tracer
from service.video.allowed import allowed_of
from service.video.decoder_bytes import decoder_bytes
from service.video.isolated.clip import Isolation
from service.video.isolated.places import Places
from service.video.opener import OpenerOf, OpeningHere
from service.video.reader import VideoLimits
from service.video_memory import VideoMemory

DECODING_MEMORY_SHARE = 4
"""Of the memory, one in so many bytes may hold pixels that are decoded or drawn on."""
DECODER_PROCESS_BYTES = 50 << 20
"""What a decoder process holds while it decodes nothing."""
DECODER_BYTES = 256 << 20
"""What a decoder process may take for its file and its libraries, beside the pixels."""
VIDEO_PROCESS_BYTES = 40 << 20
"""What the process of a video holds before it decodes; 39 MB were measured."""
VIDEO_BYTES = 128 << 20
"""What the process of a video may take for its libraries, beside frames and the file."""
TRIAL_MEMORY = 8 * 2**30
"""The memory of a machine that does not state it, for the trials of models."""
ENOUGH_BODIES = 4
"""So many bodies of the largest size are enough where memory is short: one that is read takes three, one arrives."""
ANSWER_MEMORY_SHARE = 8
"""Of the memory, one in so many bytes may hold outputs that are answered as they are, and again answers not read."""
LEAST_ANSWER_BYTES = 256 << 20
"""What the outputs of a single request may have."""


def make_storage(settings: Settings, metrics: StorageMetrics | None = None) -> ModelStorage:
    """Return where the models are found; nothing is looked at yet.

    Args:
        settings: say where.
        metrics: where what is fetched is counted; None: nowhere.

    Raises:
        ConfigurationError: a package is missing, the cache can not be written, or a default is none.
    """
    chosen = [_selector(task, one) for task, one in settings.defaults.items() if task != CHAIN]
    return open_storage(
        settings.models,
        make_fetching(settings),
        lock=settings.models_lock,
        always=[(one.name, one.version) for one in chosen if one.version is not None],
        metrics=metrics,
    )


def make_fetching(settings: Settings) -> Fetching:
    """Return how models are fetched from elsewhere."""
    return Fetching(
        (settings.models_cache or settings.cache / "models").expanduser(),
        settings.models_cache_bytes,
        settings.models_fetch_seconds,
        settings.models_min_bytes_per_second,
    )


def read_catalog(
    storage: ModelStorage, chosen: Mapping[str, str], tasks: Mapping[str, Task]
) -> Catalog:
    """Return which models there are; blocking.

    Args:
        storage: where they are found.
        chosen: the default model of each task, and of `chain`, as the settings name them; they go before foveal.toml's.
        tasks: what this service can do; a network of another task is refused.

    Raises:
        ConfigurationError: there is no such folder, or its foveal.toml is not valid.
    """
    found, unreadable = storage.scan()
    servables, unfit = usable(found, tasks)
    fleet = read_fleet(storage.folder)
    given = {task: _selector(task, one) for task, one in chosen.items()}
    defaults = {**fleet.defaults, **given}
    chain = defaults.pop(CHAIN, None)
    for task in defaults:
        if task not in tasks:
            raise ConfigurationError(
                f"There is a default for {task!r}, which is no task. Tasks: {', '.join(tasks)}."
            )
    fleet = replace(fleet, defaults=defaults)
    named = None if chain is None else str(chain)
    return Catalog(servables, unreadable + unfit, fleet, named)


def _selector(task: str, given: str) -> Selector:
    try:
        return parse_selector(given)
    except InvalidParameterError as error:
        raise ConfigurationError(f"FOVEAL_DEFAULTS: {task}: {error}.") from error


def make_registry(
    catalog: Catalog,
    overrides: Overrides,
    *,
    opener: Opener,
    tasks: Mapping[str, Task],
    settings: Settings,
) -> Registry:
    """Return the registry of what a catalog and earlier admin calls want to be served.

    Raises:
        ConfigurationError: a default, an alias or a share leads to nothing.
    """
    wanted = choose(catalog, overrides)
    require_targets(wanted, catalog)
    return Registry(
        wanted,
        opener=opener,
        networks={name: task.networks for name, task in tasks.items()},
        load_seconds=settings.load_seconds,
        budget_bytes=math.ceil(settings.models_memory_bytes / settings.processes),
        stay_seconds=settings.models_stay_seconds,
    )


def make_opener(
    settings: Settings,
    device: Device,
    tasks: Mapping[str, Task],
    metrics: Metrics,
    *,
    workers: Workers,
    pool: Executor | None,
    on_device_lost: Callable[[str], None],
    is_lost: IsLost,
    elsewhere: Elsewhere | None = None,
    search: BatchSearch = FOR_REQUESTS,
) -> Opener:
    """Return what brings models into memory, on the threads of `workers`.

    Raises:
        ConfigurationError: the settings contradict each other.
    """
    batching = Batching(
        settings.queue_size,
        settings.max_delay_ms / 1e3,
        settings.stuck_seconds,
        rests=elsewhere is None,
    )
    if elsewhere is not None:
        return Opener(
            device=device,
            open_model=elsewhere.open_model,
            workers=workers,
            metrics=metrics,
            batching=batching,
            pool=pool,
            add_seconds=settings.max_load_seconds,
        )
    loader = ModelLoader(
        device=device,
        outputs={task.name: task.outputs for task in tasks.values()},
        cache=settings.cache.expanduser(),
        largest=settings.max_batch,
        instances=settings.instances,
        threads=workers.count,
        graphs=settings.cuda_graphs,
        max_tensor_bytes=settings.max_tensor_bytes,
        trial=_trial(settings),
        deterministic=settings.deterministic,
        chooser=_chooser(settings, device, tasks),
        search=search,
    )
    return Opener(
        device=device,
        open_model=loader.load,
        open_beside=loader.load_beside,
        require_room=loader.require_room,
        workers=workers,
        metrics=metrics,
        batching=batching,
        pool=pool,
        add_seconds=settings.max_load_seconds,
        on_device_lost=on_device_lost,
        is_lost=is_lost,
    )


def make_pipeline(
    settings: Settings,
    metrics: Metrics,
    *,
    threads: int,
    pool_threads: int,
    decoder_program: str,
) -> Pipeline:
    """Return the way of an image.

    Args:
        settings: the limits, and where images are decoded.
        metrics: counts decoders that end.
        threads: how many run batches.
        pool_threads: how many prepare images beside these; 0: none.
        decoder_program: the module that isolated decoder processes run.
    """
    most = settings.max_request_pixels
    limits = Limits(
        max_pixels=min(settings.max_pixels, most),
        formats=formats_of(settings.image_formats),
        max_metadata_bytes=settings.max_metadata_bytes,
    )
    memory = granted_memory() or 0
    fitting = memory // DECODING_MEMORY_SHARE // BYTES_PER_PIXEL // settings.processes
    room = PixelRoom(
        settings.max_decoding_pixels or max(settings.max_pixels, fitting), return_memory=trim_heap
    )
    decoder: Decoder = ThreadDecoder(limits, room)
    if settings.decode == "isolated":
        decoder = IsolatedDecoder(
            limits,
            room,
            count=decoder_count(settings, threads=threads, pool_threads=pool_threads),
            memory_bytes=settings.decode_memory_bytes
            or DECODER_BYTES + limits.max_pixels * BYTES_PER_PIXEL,
            seconds=settings.decode_seconds,
            on_end=lambda reason: metrics.decoder_restarts.labels(reason).inc(),
            program=decoder_program,
        )
    ahead = DecodingAhead(_ahead_threads(threads), settings.queue_size)
    decoders = pool_threads or threads
    heavy = HeavyJobs(min(threads, decoders), settings.queue_size, decoders)
    return Pipeline(decoder, most, room, ahead, heavy)


def decoder_count(settings: Settings, *, threads: int, pool_threads: int) -> int:
    """Return how many decoder processes this process has: as many as threads that decode at once."""
    if settings.decode != "isolated":
        return 0
    return max(threads, pool_threads) + _ahead_threads(threads)


def _ahead_threads(threads: int) -> int:
    return max(1, threads // 2)


def make_video_opener(settings: Settings, metrics: Metrics, room: PixelRoom) -> OpenerOf:
    """Return what opens videos: in this process, or each in a process of its own.

    Args:
        settings: the limits, and where videos are decoded.
        metrics: counts processes that end.
        room: knows what the memory allows.
    """
    if settings.decode != "isolated":
        return OpeningHere

    def memory_bytes() -> int:
        most = decoder_bytes("h264", settings.max_pixels, settings.max_video_bytes)
        if room.largest is not None:
            most = min(most, TIGHT_BYTES_PER_PIXEL * room.largest)
        return settings.decode_memory_bytes or VIDEO_BYTES + most

    isolation = Isolation(
        # Of those that run, and of as many whose bytes do not come.
        Places(2 * settings.max_fan_outs, settings.timeout_ms / 1e3),
        memory_bytes,
        settings.decode_seconds,
        on_end=lambda reason: metrics.decoder_restarts.labels(reason).inc(),
    )
    return isolation.opening


def make_image_memory(
    settings: Settings, room: PixelRoom, decoders: int, bodies: BodyMemory, videos: VideoMemory
) -> ImageMemory:
    """Return what fits the room for large images, and those for bodies and videos, to the memory, and has done so once.

    Args:
        settings: the limits, and how many processes share the memory.
        room: for the pixels of the images that are decoded or drawn on at once.
        decoders: how many decoder processes this process has.
        bodies: what bounds those of requests.
        videos: what bounds those that arrive and run.
    """
    memory, processes = granted_memory(), settings.processes
    if memory is not None and processes > 1:
        memory = (memory - SUPERVISOR_BYTES) // processes
    fitted = ImageMemory(
        room,
        share_bytes=memory,
        beside_bytes=decoders * DECODER_PROCESS_BYTES,
        max_pixels=min(settings.max_pixels, settings.max_request_pixels),
        chosen_max="max_pixels" in settings.model_fields_set,
        chosen_room=bool(settings.max_decoding_pixels),
        bodies=bodies,
        videos=videos,
        body_bytes=ENOUGH_BODIES * settings.max_body_bytes,
        on_short=return_large_blocks_at_once,
    )
    fitted.fit()
    return fitted


def make_response_cache(
    settings: Settings, pipeline: Pipeline, metrics: Metrics
) -> CachingPipeline | None:
    """Return this process's part of the cache; None where no answer is kept."""
    capacity = settings.response_cache_bytes // settings.processes
    if not capacity:
        return None
    longest = max(settings.timeout_ms, settings.max_timeout_ms) / 1e3
    cache = ResponseCache(capacity, metrics, longest_seconds=longest)
    return CachingPipeline(pipeline, cache)


def make_tracer(
    settings: Settings, environment: Mapping[str, str], metrics: Metrics, version: str
) -> Tracer | None:
    """Return what traces requests as the variables `OTEL_…` of an environment say; None where that is off.

    Raises:
        ConfigurationError: OpenTelemetry's packages are missing, or its variables are not valid.
    """
    return open_tracer(environment, metrics, version) if settings.tracing else None


def threads_of(settings: Settings, device: Device) -> int:
    """Return how many threads run batches: on a CPU one per core, on a GPU enough to keep it busy while they wait."""
    return settings.threads or granted_threads() * (2 if device.is_gpu else 1)


def answer_bytes(settings: Settings) -> int:
    """Return what raw outputs may hold in this process before they are sent, and again after that."""
    share = (granted_memory() or 0) // ANSWER_MEMORY_SHARE // settings.processes
    return settings.max_answer_bytes or max(LEAST_ANSWER_BYTES, share)


def video_limits(settings: Settings) -> VideoLimits:
    """Return what a video may be."""
    return VideoLimits(
        max_seconds=settings.max_video_seconds,
        max_frames=settings.max_video_frames,
        max_animation_frames=settings.max_animation_frames,
        max_pixels=settings.max_pixels,
        allowed=allowed_of(settings.video_formats, settings.video_codecs),
    )


_LOADED_LATE = (
    "anyio._backends._asyncio",
    "numpy.ma",
    "av.subtitles.codeccontext",
    "av.subtitles.stream",
)
"""Modules that others import inside functions."""


def prepare_libraries(max_pixels: int) -> None:
    """Set what these libraries keep for the whole process."""
    # Pillow's own limit, for files that hold more pixels than their header says; ours is checked for each image.
    # It never falls: another engine in this process may allow more.
    Image.MAX_IMAGE_PIXELS = max(max_pixels, Image.MAX_IMAGE_PIXELS or 0)
    # Warnings about malformed images are not logged; the client gets an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    silence_libtiff()
    # What they load with the first image, video or file of a page. Under load there may be no free file descriptor for
    # it, and the image would be called damaged.
    Image.init()
    for module in _LOADED_LATE:
        import_module(module)
    # A second series beside every counter, which nothing here reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]


def _trial(settings: Settings) -> Trial | None:
    if not settings.trial:
        return None
    return Trial(
        settings.trial_seconds,
        settings.trial_bytes or (granted_memory() or TRIAL_MEMORY) // 2,
        settings.cache.expanduser() / "trials",
    )


def _chooser(settings: Settings, device: Device, tasks: Mapping[str, Task]) -> Chooser | None:
    """Return what chooses precision and provider; None where every model is served as its file says.

    Raises:
        ConfigurationError: the settings contradict each other.
    """
    if settings.precision == "exact":
        return None
    if settings.deterministic:
        raise ConfigurationError(
            "FOVEAL_PRECISION=fast measures which precision serves, so the next start may give other answers, and "
            "FOVEAL_DETERMINISTIC forbids that. Leave one of them out."
        )
    devices = [device]
    if settings.device == "auto" and device.name == "cpu":
        with suppress(DeviceError):
            devices.append(try_device("openvino"))
    return Chooser(
        devices=tuple(devices),
        comparisons={name: task.agreement for name, task in tasks.items() if task.agreement},
        cache=settings.cache.expanduser(),
        chip=this_chip(),
        clock=time.perf_counter,
    )
