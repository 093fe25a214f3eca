"""What is found by measuring at start: how long a batch takes, and how large one may be without costing more."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_BATCH_SECONDS = 0.025
"""A batch that takes longer makes its first image wait for its last without a gain in throughput."""
NO_LOSS = 1.02
"""How much more than the best an image may cost in a batch that is still worth making."""
HEAVY_SECONDS = 0.1
FEW_THREADS = 4
AS_FAST_TOGETHER = 1.15
"""What a heavy network may lose in throughput on many threads, for the sake of latency and memory."""
REPEATS = 3
PATIENCE_SECONDS = 0.1

Run = Callable[[NDArray[Any]], object]
Clock = Callable[[], float]


def seconds_of(run: Run, batch: NDArray[Any], clock: Clock = time.perf_counter) -> float:
    """Return the least of a few timings, fewer of a slow network: noise only ever adds."""
    best = float("inf")
    began = clock()
    for _ in range(REPEATS):
        before = clock()
        run(batch)
        after = clock()
        best = min(best, after - before)
        if after - began > PATIENCE_SECONDS:
            break
    return best


def best_batch(
    run: Run,
    blank: NDArray[Any],
    limit: int,
    *,
    alone: float,
    clock: Clock = time.perf_counter,
) -> int:
    """Return the largest batch, a power of two up to `limit`, in which an image costs no more than in a smaller one.

    On a CPU batching pays for tiny networks, by sharing the overhead of a call, and costs cache for others.

    Args:
        run: runs a batch (N, …).
        blank: one input, without the batch axis.
        limit: images at most.
        alone: seconds that one image takes.
        clock: tells seconds.
    """
    best = alone
    largest, size = 1, 2
    while size <= limit and size * best <= LONGEST_BATCH_SECONDS:
        batch = np.repeat(blank[None], size, axis=0)
        run(batch)  # the first of a size makes room for it
        seconds = seconds_of(run, batch, clock)
        if seconds / size > NO_LOSS * best:
            break
        best = min(best, seconds / size)
        largest, size = size, size * 2
    return largest


def serves_all_at_once(*, alone: float, spread: float, threads: int) -> bool:
    """Return whether one run over all threads serves everybody, instead of a run on each thread.

    It takes the memory of one run and gives each answer sooner, so a heavy network is served like that. Over a few
    threads it always spreads well, and timing would only measure what else the machine does; over many it must show.

    Args:
        alone: seconds of one image on one thread.
        spread: seconds of one image on all threads.
        threads: how many there are.
    """
    if alone <= HEAVY_SECONDS:
        return False
    return threads <= FEW_THREADS or spread * threads < AS_FAST_TOGETHER * alone
