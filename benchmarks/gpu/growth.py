"""Whether memory grows while the same batches run again and again."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BATCHES = 2000
SAMPLE_EVERY = 20
LEAST_SAMPLES = 20
WARM_SHARE = 0.25
"""The first batches fill arenas and caches, which is no leak."""
ALLOWED_MIB = {"host": 16.0, "device": 8.0}
MIB = 2**20
STATM = Path("/proc/self/statm")


@dataclass(slots=True)
class Samples:
    """The memory after every few batches, in bytes."""

    batches: int = 0
    host: list[int] = field(default_factory=list)
    device: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Growth:
    """By how many MiB memory grew after it was warm; `allowed` is by how much it may."""

    mib: float
    allowed: float

    @property
    def holds(self) -> bool:
        return self.mib <= self.allowed


def host_bytes() -> int:
    """Return the resident memory of this process."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run_batches(
    run: Callable[[int], object],
    *,
    seconds: float,
    device_bytes: Callable[[], int | None],
    most: int = BATCHES,
    clock: Callable[[], float] = time.monotonic,
) -> Samples:
    """Run batches until there are enough or the time is over, and sample the memory meanwhile.

    Args:
        run: runs the batch of this number.
        seconds: how long that may take.
        device_bytes: returns how much of the GPU's memory is used; None where it is not known.
        most: how many batches are enough.
        clock: returns seconds.
    """
    found, until = Samples(), clock() + seconds
    while found.batches < most and clock() < until:
        run(found.batches)
        found.batches += 1
        if found.batches % SAMPLE_EVERY == 0:
            found.host.append(host_bytes())
            used = device_bytes()
            if used is not None:
                found.device.append(used)
    return found


def growth_of(kind: str, values: Sequence[int]) -> Growth | None:
    """Return the growth from the first half of the warm samples to the second; None for too few samples.

    Both are medians, so a single peak is no growth.
    """
    if len(values) < LEAST_SAMPLES:
        return None
    warm = values[int(len(values) * WARM_SHARE) :]
    half = len(warm) // 2
    grown = statistics.median(warm[half:]) - statistics.median(warm[:half])
    return Growth(round(grown / MIB, 2), ALLOWED_MIB[kind])


def sizes_in_turn(largest: int) -> Iterator[int]:
    """Yield batch sizes for ever, all of which are small, so that many batches run: 1, 3, 2, 4, and again."""
    while True:
        for size in (1, 3, 2, 4):
            yield min(size, largest)
