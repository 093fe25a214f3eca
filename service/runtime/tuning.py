"""Measured when a model loads: how long a batch takes, and how large it may be before an image costs more."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.runtime.faults import is_out_of_memory

LONGEST_BATCH_SECONDS = 0.1
"""The longest batch that is tried."""
HEAVY_SECONDS = 0.1
"""A network is heavy if one image on one thread takes longer."""
FEW_THREADS = 4
AS_FAST_TOGETHER = 1.15
"""How many times the ideal seconds a heavy network may take on many threads, in exchange for latency and memory."""
REPEATS = 3


@dataclass(frozen=True, slots=True)
class BatchSearch:
    """How the largest batch is searched.

    Attributes:
        short_seconds: a batch up to this long delays nobody noticeably: it is used unless an image costs more in it.
        no_loss: how many times its cost in the best batch an image may cost in a larger batch that is short.
        gain: how many times its cost in the best batch an image may cost in a larger batch that is not short.
        patience_seconds: after this many seconds a run is not repeated.
    """

    short_seconds: float
    no_loss: float
    gain: float
    patience_seconds: float


FOR_REQUESTS = BatchSearch(short_seconds=0.025, no_loss=1.02, gain=0.985, patience_seconds=0.03)
"""Somebody waits for each image, and for the start."""
FOR_MANY_IMAGES = BatchSearch(
    short_seconds=LONGEST_BATCH_SECONDS, no_loss=1.01, gain=1.0, patience_seconds=0.3
)
"""Nobody waits for a single image, and more images share what a small network's batch costs outside it."""

Run = Callable[[NDArray[Any]], object]
Clock = Callable[[], float]


_FINE_SECONDS = 1e-4
thread_clock: Clock = (
    time.thread_time
    if time.get_clock_info("thread_time").resolution < _FINE_SECONDS
    else time.perf_counter
)
"""Returns how many seconds the calling thread was on a core, where the system counts them finely."""


def seconds_of(
    run: Run,
    batch: NDArray[Any],
    clock: Clock = time.perf_counter,
    *,
    patience_seconds: float = FOR_REQUESTS.patience_seconds,
) -> float:
    """Return the shortest of up to `REPEATS` timings: whatever else the machine does only makes a run longer."""
    best = float("inf")
    began = clock()
    for _ in range(REPEATS):
        before = clock()
        run(batch)
        after = clock()
        best = min(best, after - before)
        if after - began > patience_seconds:
            break
    return best


def best_batch(
    run: Run,
    blank: NDArray[Any],
    limit: int,
    *,
    alone: float,
    clock: Clock = time.perf_counter,
    search: BatchSearch = FOR_REQUESTS,
) -> int:
    """Return the largest batch, a power of two up to `limit`, in which an image costs no more than in a smaller one.

    In a batch that is not short an image must cost less: it waits longer for the others. A batch for which there is
    not enough memory ends the search.

    On a CPU, batching helps tiny networks, which share the overhead of a call; larger ones lose more in the caches.

    Args:
        run: runs a batch (N, …).
        blank: one input, without the batch axis.
        limit: images at most.
        alone: seconds of a batch of one image.
        clock: returns seconds.
        search: for whom.
    """
    best = alone
    largest, size = 1, 2
    while size <= limit and size * best <= LONGEST_BATCH_SECONDS:
        try:
            batch = np.repeat(blank[None], size, axis=0)
            run(batch)  # the first run of a size allocates its buffers
            seconds = seconds_of(run, batch, clock, patience_seconds=search.patience_seconds)
        except Exception as error:  # ONNX Runtime raises untyped errors
            if is_out_of_memory(error):
                break
            raise
        allowed = search.no_loss if seconds <= search.short_seconds else search.gain
        if seconds / size > allowed * best:
            break
        best = min(best, seconds / size)
        largest, size = size, size * 2
    return largest


def serves_all_at_once(*, alone: float, spread: float, threads: int) -> bool:
    """Return whether a network runs one batch at a time on all threads, instead of one batch on each thread.

    That needs the memory of one run, and each answer comes sooner, so it suits a heavy network. On a few threads such
    a network always speeds up well, and a measurement would only show what else the machine does; on many threads the
    measurement decides.

    Args:
        alone: seconds of one image on one thread.
        spread: seconds of one image on all threads.
        threads: how many threads there are.
    """
    if alone <= HEAVY_SECONDS:
        return False
    return threads <= FEW_THREADS or spread * threads < AS_FAST_TOGETHER * alone
