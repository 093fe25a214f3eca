"""`FOVEAL_WORKERS=auto`: how many processes serve, by the share of Python in a request."""

import logging
import math
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.errors import ConfigurationError
from service.logs import LOGGER
from service.planning.full_load import FullLoad, measure_full_load
from service.planning.kept_load import LoadCache
from service.planning.sample_image import sample_image
from service.runtime.device import NVIDIA_PROVIDERS
from service.runtime.host import granted_threads
from service.runtime.repository import Servable, scan_repository
from service.tasks.tasks import TASKS

BUSY = 0.5
"""The share of the time for which a process's event loop may be busy: above it, requests wait for it."""
CLIENTS = 32
SECONDS = 2.0
FASTEST = 1e12
"""Multiplications and additions that no core does in a second, with AMX neither."""
LONGEST_LOOP = 1e-3
"""Seconds of a core that the event loop takes for a small body, at most."""


MEASURED_WITH = (
    *("device", "device_id", "precision", "cache", "threads", "instances", "max_batch"),
    *("cuda_graphs", "deterministic", "decode"),
)
"""The settings on which the time of a request depends."""

log = logging.getLogger(LOGGER)


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """A number of processes, and the sentence that says why."""

    count: int
    because: str


def count_workers(
    models: Path, environment: Mapping[str, str], cache: LoadCache, cores: int | None = None
) -> WorkerCount:
    """Measure the heaviest network for some seconds in a service of its own, and return the number; in the main thread.

    It has the smallest share of Python of all models: where it does not need another process, one serves, though
    smaller networks beside it would gain from more. What was measured is kept: CPU times of a request do not depend
    on what else runs, so the next start has no reason to measure again.

    Args:
        models: the repository.
        environment: `FOVEAL_…` of the service that is measured.
        cache: keeps what was measured.
        cores: that the service may use; None: those of this process.
    """
    with _exiting_on_sigterm():
        found = _counted(models, environment, cache, granted_threads() if cores is None else cores)
    workers = "1 worker" if found.count == 1 else f"{found.count} workers"
    log.info("FOVEAL_WORKERS=auto: %s, since %s", workers, found.because)
    return found


@contextmanager
def _exiting_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the block: without this it would leave the measured service behind."""
    former = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _counted(
    models: Path, environment: Mapping[str, str], cache: LoadCache, cores: int
) -> WorkerCount:
    if cores == 1:
        return WorkerCount(1, "there is one core")
    try:
        servable = _heaviest(models)
        if servable is None:
            return WorkerCount(1, "no model takes images")
        name, macs = servable.name, servable.card.cost.macs
        if _needed(LONGEST_LOOP / max(macs / FASTEST, LONGEST_LOOP), cores) == 1:
            return WorkerCount(1, f"{name} takes {macs:.2g} multiplications for an image")
        key = cache.key(servable, environment)
        found = cache.read(key)
        if found is None:
            found = _measured(servable, environment)
            cache.write(key, found)
    except ConfigurationError as error:
        return WorkerCount(1, f"it could not be measured: {error}")
    return judge(servable.name, found, cores)


def _measured(servable: Servable, environment: Mapping[str, str]) -> FullLoad:
    log.info("FOVEAL_WORKERS=auto: the heaviest model is measured for some seconds")
    image = sample_image(_own_size(servable))
    path = f"/v1/{servable.card.task}"
    return measure_full_load(servable, image, path, environment, clients=CLIENTS, seconds=SECONDS)


def judge(model: str, found: FullLoad, cores: int) -> WorkerCount:
    """Return the number of processes for a measured network.

    The event loop is where one process is limited to one core. With `share` of a request's CPU time in it, all cores
    together keep `cores · share` event loops busy.
    """
    if found.device in NVIDIA_PROVIDERS:
        return WorkerCount(1, f"{found.device} holds each model once for every process")
    if found.loop is None or not found.cpu:
        return WorkerCount(1, "this system does not state the CPU time of threads")
    share = found.loop / found.cpu
    return WorkerCount(
        _needed(share, cores),
        f"Python's event loop takes {found.loop * 1e3:.2f} of {found.cpu * 1e3:.2f} ms of a request to {model} "
        f"({share:.0%}), on {cores} cores",
    )


def _needed(share: float, cores: int) -> int:
    return min(cores, max(1, math.ceil(cores * share / BUSY)))


def _own_size(servable: Servable) -> str:
    """Return the size of the network's input: decoding a larger image would make the share of Python smaller."""
    frame = servable.card.image_input
    return f"{frame.width}x{frame.height}"


def _heaviest(models: Path) -> Servable | None:
    servables, _ = scan_repository(models)
    able = [
        one
        for one in servables
        if one.card.input is not None and (task := TASKS.get(one.card.task)) and task.head
    ]
    return max(able, key=lambda one: one.card.cost.macs, default=None)
