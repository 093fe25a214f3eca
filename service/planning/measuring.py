"""Measures a model on this machine: its stages one by one, then the whole service at full load."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from service.errors import ConfigurationError, ImageError
from service.imaging.decode import Limits
from service.imaging.decoder import ThreadDecoder
from service.imaging.room import PixelRoom
from service.planning.full_load import LOAD_SECONDS, FullLoad, measure_full_load
from service.planning.profile import BatchTime, Profile, quantiles, this_machine
from service.planning.sample_image import SampleImage
from service.planning.stage_timing import BatchStages, Finish, Prepare, StageClock, StageTiming
from service.runtime.device import Device
from service.runtime.host import granted_threads, imaging_threads
from service.runtime.loaded import Loaded
from service.runtime.loading import ModelLoader
from service.runtime.repository import Servable
from service.servable_file import graph_sha256
from service.tasks.task import Task
from service.tasks.tasks import TASKS

FACTORS = 101
"""How many quantiles of the times of batches a profile keeps."""
ROUNDS_OF_CLIENTS = 3
"""Requests in flight at full load, for each image in the batches that run: the queue must never be empty."""

MOST_CLIENTS = 256
"""As many as a service queues if nobody sets another number, so that none is refused."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service to be measured is set to; 0 means what it means there.

    Attributes:
        device: where networks run.
        cache: folder for what a device compiles.
        threads: that run batches.
        instances: batches that may run at once.
        largest: images in a batch at most.
        graphs: whether CUDA graphs may be captured.
        deterministic: whether each image runs alone.
        processes: that serve, and share the threads.
    """

    device: Device
    cache: Path
    threads: int = 0
    instances: int = 0
    largest: int = 0
    graphs: bool = True
    deterministic: bool = False
    processes: int = 1

    @property
    def workers(self) -> int:
        """Threads that run batches in one process, as the engine counts them."""
        return self.share(self.threads or granted_threads() * (2 if self.device.is_gpu else 1))

    @property
    def decoders(self) -> int:
        """Threads that decode ahead in one process, as the engine counts them."""
        return imaging_threads(self.share) if self.device.is_gpu else 0

    def share(self, threads: int) -> int:
        """Return one process's part of a number of threads."""
        return max(1, threads // self.processes)

    def environment(self) -> dict[str, str]:
        """Return the same as `FOVEAL_…`."""
        return {
            "FOVEAL_DEVICE": self.device.name,
            "FOVEAL_DEVICE_ID": str(self.device.index),
            "FOVEAL_CACHE": str(self.cache),
            "FOVEAL_WORKERS": str(self.processes),
            "FOVEAL_THREADS": str(self.threads),
            "FOVEAL_INSTANCES": str(self.instances),
            "FOVEAL_MAX_BATCH": str(self.largest),
            "FOVEAL_CUDA_GRAPHS": str(self.graphs).lower(),
            "FOVEAL_DETERMINISTIC": str(self.deterministic).lower(),
        }


def measure(
    servable: Servable,
    image: SampleImage,
    settings: Settings,
    progress: Callable[[str], None] = lambda _: None,
    load_seconds: float = LOAD_SECONDS,
) -> Profile:
    """Measure a model with an image on this machine; it takes some seconds and all cores.

    Args:
        servable: the model.
        image: what each request holds.
        settings: of the service.
        progress: called with what is done next.
        load_seconds: how long the service is held at full load.

    Raises:
        ConfigurationError: the model takes no images or does not load, or the image can not be read.
    """
    task = _task_of(servable)
    prepare = _preparing(servable, image)
    progress(f"loads {servable.name}")
    loaded = _loader(settings).load(servable)
    progress("times its batches")
    concurrency = min(settings.workers, len(loaded.runs))
    clock = StageClock(loaded, prepare, _finishing(servable, task))
    timing = clock.time(concurrency, decodes_ahead=settings.device.is_gpu)
    running = settings.processes * concurrency * loaded.largest
    progress("starts the service and sends it images")
    full = measure_full_load(
        servable,
        image,
        f"/v1/{task.name}",
        settings.environment(),
        clients=min(ROUNDS_OF_CLIENTS * running + 2, MOST_CLIENTS),
        seconds=load_seconds,
    )
    return _profile(servable, image, settings, loaded=loaded, timing=timing, full=full)


def _task_of(servable: Servable) -> Task:
    task = TASKS.get(servable.card.task)
    if servable.card.input is None or task is None or task.head is None:
        raise ConfigurationError(
            f"{servable.name} takes no images: plan with the model whose features it reads."
        )
    return task


def _preparing(servable: Servable, image: SampleImage) -> Prepare:
    """Return what decodes the image for the model, as the service does.

    Raises:
        ConfigurationError: the image can not be read.
    """
    decoder = ThreadDecoder(Limits(), PixelRoom(Limits().max_pixels))
    prepare = partial(decoder.prepare, image.content, servable.card.image_input, math.inf)
    try:
        prepare()
    except ImageError as error:
        raise ConfigurationError(f"{image.title}: {error}") from error
    return prepare


def _finishing(servable: Servable, task: Task) -> Finish:
    assert task.head is not None
    options = task.settle(task.options(), servable.card)
    return partial(task.head, card=servable.card, options=options)


def _loader(settings: Settings) -> ModelLoader:
    return ModelLoader(
        device=settings.device,
        outputs={one.name: one.outputs for one in TASKS.values()},
        cache=settings.cache,
        largest=settings.largest,
        instances=settings.instances,
        threads=settings.workers,
        graphs=settings.graphs,
        deterministic=settings.deterministic,
    )


def _profile(
    servable: Servable,
    image: SampleImage,
    settings: Settings,
    *,
    loaded: Loaded,
    timing: StageTiming,
    full: FullLoad,
) -> Profile:
    device, card, largest = settings.device, servable.card, loaded.largest
    gpu = device.is_gpu
    cost: Callable[[BatchStages], float] = (lambda one: one.run) if gpu else (lambda one: one.total)
    usual = statistics.median(map(cost, timing.together))
    before = Profile(
        taken=datetime.now(UTC).date(),
        machine=this_machine(device.name, device.detail),
        model=servable.name,
        version=servable.version,
        graph_sha256=graph_sha256(servable.path, card.certificate.digest),
        macs=card.cost.macs,
        image=image.title[:200],
        image_bytes=len(image.content),
        processes=settings.processes,
        workers=settings.workers,
        instances=len(loaded.runs),
        run_cores=loaded.cores,
        decoders=settings.decoders,
        batches=tuple(
            BatchTime(size=size, seconds=timing.median(size, lambda one: one.run))
            for size in timing.alone
        ),
        padded=gpu,
        wide=statistics.median(one.run for one in timing.wide) if timing.wide else None,
        decode=timing.median(1, lambda one: one.decode),
        head=timing.median(1, lambda one: one.head),
        http=full.loop or 0.0,
        crowded=usual / timing.median(largest, cost),
        factors=_relative(timing.together, cost),
        lone_factors=_relative(timing.wide or timing.alone[1], cost),
        full_load=full.per_second,
        efficiency=1.0,
        memory_bytes=full.memory_bytes,
        foreign_cores=full.foreign_cores,
    )
    return before.model_copy(
        update={"efficiency": full.per_second / settings.processes / before.replica().capacity}
    )


def _relative(
    batches: Sequence[BatchStages], cost: Callable[[BatchStages], float]
) -> tuple[float, ...]:
    """Return what batches of one size took relative to their median."""
    usual = statistics.median(map(cost, batches))
    return quantiles([cost(one) / usual for one in batches], FACTORS)
