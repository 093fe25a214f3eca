"""One process of the service as the simulation sees it: what an image costs in each stage, and how many run at once."""

import math
from dataclasses import dataclass, field

QUEUE_SIZE = 256
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Replica:
    """The figures of one process. Times are seconds.

    Attributes:
        run: the time of a batch in the network, by its size: `run[0]` of one image, up to the largest batch.
        workers: threads that take batches.
        instances: batches that may run at once.
        decode: of one image, decoding and resizing.
        head: of one image, from the outputs to its result.
        http: of the event loop for one request, half of it before the queue and half after the run.
        wide: of a single image in the network on all cores, which it gets while nothing else runs; None: it does not.
        crowded: how many times longer a batch takes while `concurrency` of them run.
        decoders: threads that decode before the queue, as on a GPU; 0: the worker of a batch decodes its images.
        queue_size: images that may wait; more are refused.
        timeout: the deadline of a request.
        max_delay: how long a batch may wait to fill.
        factors: what batches take relative to these figures, each as likely as any other; the mean need not be 1.
        lone_factors: the same of a batch that begins while no other runs; None: as `factors`.
    """

    run: tuple[float, ...]
    workers: int = 1
    instances: int = 1
    decode: float = 0.0
    head: float = 0.0
    http: float = 0.0
    wide: float | None = None
    crowded: float = 1.0
    decoders: int = 0
    queue_size: int = QUEUE_SIZE
    timeout: float = TIMEOUT_SECONDS
    max_delay: float = 0.0
    factors: tuple[float, ...] = field(default=(1.0,), repr=False)
    lone_factors: tuple[float, ...] | None = field(default=None, repr=False)

    @property
    def largest(self) -> int:
        """Images in a batch at most."""
        return len(self.run)

    @property
    def concurrency(self) -> int:
        """Batches that run at once at most."""
        return min(self.workers, self.instances)

    @property
    def lone_run(self) -> float:
        """Seconds of one image in the network while there is no other."""
        return self.run[0] if self.wide is None else min(self.wide, self.run[0])

    @property
    def alone(self) -> float:
        """Seconds of one image while there is no other, from the request to the answer, at its usual pace."""
        return self.http + self.decode + self.lone_run + self.head

    @property
    def capacity(self) -> float:
        """Images a second at most, in full batches: what the slowest of loop, decoders and network lets through."""
        pace = sum(self.factors) / len(self.factors)
        size = self.largest
        batch = self.run[-1] * self.stretch(self.concurrency) * pace
        limits = [1 / self.http if self.http else math.inf]
        if self.decoders:
            limits += [self.decoders / each for each in [(self.decode + self.head) * pace] if each]
        else:
            batch += size * (self.decode + self.head) * self.stretch(self.concurrency) * pace
            batch += size * self.http
        return min([*limits, self.concurrency * size / batch])

    def stretch(self, busy: int) -> float:
        """Return how many times longer a batch takes that begins while so many run, itself among them."""
        if self.concurrency == 1:
            return self.crowded
        return 1.0 + (self.crowded - 1.0) * (busy - 1) / (self.concurrency - 1)
