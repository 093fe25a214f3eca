"""Times the stages of a batch as a worker runs them: decode and resize, network, head."""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from service.runtime.device import padded_sizes
from service.runtime.job import Outputs, PinnedInput, Run, Tensor
from service.runtime.loaded import Loaded

ALONE_SECONDS = 0.4
"""How long each size is repeated."""
TOGETHER_SECONDS = 1.0
LEAST_REPEATS, MOST_REPEATS = 5, 500

Prepare = Callable[[], tuple[Tensor, object]]
"""Makes an image's tensor (without the batch axis), and what its head needs beside the outputs."""
Finish = Callable[[Outputs, object], object]


@dataclass(frozen=True, slots=True)
class BatchStages:
    """The seconds that one batch spent in each stage, all its images together."""

    size: int
    decode: float
    run: float
    head: float

    @property
    def total(self) -> float:
        return self.decode + self.run + self.head


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What was timed.

    Attributes:
        alone: by size, batches while nothing else runs.
        wide: the same of a single image on all cores; empty where it is never run so.
        together: batches of the largest size while as many run as may run at once.
    """

    alone: dict[int, list[BatchStages]]
    wide: list[BatchStages]
    together: list[BatchStages]

    def median(self, size: int, stage: Callable[[BatchStages], float]) -> float:
        """Return the median of a stage while nothing else runs."""
        return statistics.median(stage(one) for one in self.alone[size])


class StageClock:
    """Times batches of a loaded network, all of the same image."""

    def __init__(
        self,
        loaded: Loaded,
        prepare: Prepare,
        finish: Finish,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._loaded = loaded
        self._prepare = prepare
        self._finish = finish
        self._clock = clock

    def time(self, concurrency: int, *, decodes_ahead: bool) -> StageTiming:
        """Time each size alone, then the largest with `concurrency` batches at once.

        `decodes_ahead` says whether decoding is left out while batches run together, as other threads do it.
        """
        largest = self._loaded.largest
        run = self._loaded.runs[0]
        alone = {size: self._repeat(run, size) for size in padded_sizes(largest)}
        wide = self._repeat(self._loaded.wide, 1) if self._loaded.wide is not None else []
        if concurrency == 1:
            return StageTiming(alone, wide, alone[largest])
        return StageTiming(alone, wide, self._together(concurrency, decodes_ahead=decodes_ahead))

    def batch(self, run: Run, size: int) -> BatchStages:
        """Take one batch through all stages."""
        began = self._clock()
        prepared = [self._prepare() for _ in range(size)]
        decoded = self._clock()
        outputs = self._run(run, [tensor for tensor, _ in prepared])
        ran = self._clock()
        for index, (_, context) in enumerate(prepared):
            self._finish({name: rows[index] for name, rows in outputs.items()}, context)
        return BatchStages(size, decoded - began, ran - decoded, self._clock() - ran)

    def _repeat(self, run: Run, size: int) -> list[BatchStages]:
        self.batch(run, size)  # the first run of a size allocates its buffers
        until = self._clock() + ALONE_SECONDS
        found: list[BatchStages] = []
        while len(found) < LEAST_REPEATS or (self._clock() < until and len(found) < MOST_REPEATS):
            found.append(self.batch(run, size))
            if len(found) > 1 and found[-1].total > ALONE_SECONDS:
                break
        return found

    def _together(self, concurrency: int, *, decodes_ahead: bool) -> list[BatchStages]:
        found: list[BatchStages] = []
        size = self._loaded.largest
        frames = [self._prepare()[0] for _ in range(size)]
        until = self._clock() + TOGETHER_SECONDS

        def work(run: Run) -> None:
            done = 0
            while done < LEAST_REPEATS or (self._clock() < until and done < MOST_REPEATS):
                done += 1
                if not decodes_ahead:
                    found.append(self.batch(run, size))
                    continue
                began = self._clock()
                self._run(run, frames)
                found.append(BatchStages(size, 0.0, self._clock() - began, 0.0))

        with ThreadPoolExecutor(concurrency) as pool:
            list(pool.map(work, self._loaded.runs[:concurrency]))
        return found

    def _run(self, run: Run, tensors: Sequence[Tensor]) -> Outputs:
        room = run.pinned_input(len(tensors)) if isinstance(run, PinnedInput) else None
        return run(np.stack(tensors, out=room))
