"""A simulated process: the event loop, the queue, and workers that take batches by the rule of `runtime/lines.py`.

It follows these parts of the service, and a change of theirs must be followed here:

- `Batcher._accept`: an image that does not fit into the queue is refused.
- `Batcher.take`: a free worker takes its share of what waits at once, `ceil(waiting / concurrency)`, at most the
  largest batch; where batches wait to fill, all that waits.
- `Workers._take`: a lone image runs on all cores where nothing else runs, and nothing else ran when the batch before
  began.
- `Batcher._run_batch`: the worker decodes, drops what is late, runs, lets the next batch begin, and runs the heads.
- `Batcher._expire`: a request is answered at its deadline, and what still waits leaves the queue.
"""

import math
from collections import deque
from collections.abc import Callable
from enum import IntEnum

from service.planning.replica import Replica


class Kind(IntEnum):
    """What happens at a moment of the simulation. The order decides between events of the same time."""

    ANSWERED = 0
    RUN_ENDED = 1
    WORKER_FREE = 2
    DECODED = 3
    FINISHED = 4
    RECEIVED = 5
    DELAY_OVER = 6


Batch = list[int]
Schedule = Callable[[float, Kind, "Process", Batch], None]
"""Adds an event: when, what, of which process, and which requests it is about."""


class Outcomes:
    """What became of each request: `answered[i]` is when, in seconds; infinite where it was refused or late."""

    __slots__ = ("answered", "expired", "refused")

    def __init__(self, count: int) -> None:
        self.answered = [math.inf] * count
        self.refused = 0
        self.expired = 0


class Process:
    """One process. Its methods are called in the order of time.

    Args:
        index: its place among the processes.
        replica: its figures.
        arrivals: when each request of the simulation arrives, in seconds.
        outcomes: of all requests.
        schedule: adds an event.
        draw: returns the next factor of the time of a batch that begins while so many run, itself among them.
    """

    __slots__ = (
        "_alone_before",
        "_arrivals",
        "_concurrency",
        "_decoders_free",
        "_draw",
        "_idle",
        "_loop_free",
        "_outcomes",
        "_replica",
        "_running",
        "_schedule",
        "_stretches",
        "_tasks",
        "_timeout",
        "_timer",
        "_waiting",
        "_workers_free",
        "batches",
        "busy_seconds",
        "images",
        "index",
        "outstanding",
        "preparing",
    )

    def __init__(
        self,
        index: int,
        replica: Replica,
        *,
        arrivals: list[float],
        outcomes: Outcomes,
        schedule: Schedule,
        draw: Callable[[int], float],
    ) -> None:
        self.index = index
        self.outstanding = 0
        self.batches = 0
        self.images = 0
        self.busy_seconds = 0.0
        self.preparing = 0
        self._replica = replica
        # Here, since properties are computed each time.
        self._concurrency = replica.concurrency
        self._stretches = [replica.stretch(busy) for busy in range(1, replica.concurrency + 1)]
        self._timeout = replica.timeout
        self._arrivals = arrivals
        self._outcomes = outcomes
        self._schedule = schedule
        self._draw = draw
        self._waiting: deque[int] = deque()
        self._workers_free = replica.workers
        self._idle = replica.instances
        self._running = 0
        self._alone_before = False
        self._loop_free = 0.0
        self._timer = math.inf
        self._decoders_free = replica.decoders
        self._tasks: deque[tuple[Kind, Batch]] = deque()

    def arrive(self, request: int, now: float) -> None:
        """Let the event loop receive a request."""
        if self._replica.http:
            self._schedule(self._through_loop(now), Kind.RECEIVED, self, [request])
        else:
            self.receive(request, now)

    def receive(self, request: int, now: float) -> None:
        """Queue a request, or refuse it where the queue is full."""
        replica = self._replica
        self._drop_late(now)
        if len(self._waiting) + self.preparing >= replica.queue_size:
            self._outcomes.refused += 1
            self._schedule(self._through_loop(now), Kind.ANSWERED, self, [request])
        elif replica.decoders:
            self.preparing += 1
            self._on_pool(Kind.DECODED, [request], now)
        else:
            self._waiting.append(request)
            self.take(now)

    def decoded(self, request: int, now: float) -> None:
        """Queue a request whose image was decoded before."""
        self.preparing -= 1
        self._decoder_free(now)
        if self._in_time(request, now):
            self._waiting.append(request)
            self.take(now)
        else:
            self._late()

    def run_ended(self, batch: Batch, now: float) -> None:
        """Let another batch begin; the heads of this one follow."""
        self._idle += 1
        self._running -= 1
        if self._replica.decoders:
            self._workers_free += 1
            if batch:
                self._on_pool(Kind.FINISHED, batch, now)
        self.take(now)

    def worker_free(self, batch: Batch, now: float) -> None:
        """Answer a batch whose heads have run on its worker."""
        self._workers_free += 1
        self._answer(batch, now)
        self.take(now)

    def finished(self, batch: Batch, now: float) -> None:
        """Answer a batch whose heads have run on a decoder's thread."""
        self._decoder_free(now)
        self._answer(batch, now)

    def delay_over(self, now: float) -> None:
        """Take a batch that has waited long enough to fill."""
        if now >= self._timer:
            self._timer = math.inf
        self.take(now)

    def take(self, now: float) -> None:
        """Let free workers take what waits."""
        replica, waiting = self._replica, self._waiting
        self._drop_late(now)
        while waiting and self._workers_free and self._idle:
            if replica.max_delay and len(waiting) < replica.largest:
                due = self._arrivals[waiting[0]] + replica.max_delay
                if due > now:
                    if due < self._timer:
                        self._timer = due
                        self._schedule(due, Kind.DELAY_OVER, self, [])
                    return
            count = len(waiting)
            share = count if replica.max_delay else -(-count // self._concurrency)
            batch = [waiting.popleft() for _ in range(min(len(replica.run), share))]
            self._begin(batch, now, lone=count == 1)

    def _begin(self, batch: Batch, now: float, *, lone: bool) -> None:
        replica, size = self._replica, len(batch)
        alone = self._running == 0
        wide = replica.wide if lone and alone and self._alone_before else None
        self._alone_before = alone
        self._running += 1
        self._idle -= 1
        self._workers_free -= 1
        self.batches += 1
        busy = min(self._running, self._concurrency)
        pace = self._draw(busy) * (1.0 if wide is not None else self._stretches[busy - 1])
        if replica.decoders:
            self.images += size
            seconds = replica.run[size - 1] * pace
            self.busy_seconds += seconds
            self._schedule(now + seconds, Kind.RUN_ENDED, self, batch)
            return
        # While every core is busy, the event loop's work takes its time off the workers.
        decoded = now + size * replica.decode * pace
        if wide is None and busy == self._concurrency:
            decoded += size * replica.http
        ready = [request for request in batch if self._in_time(request, decoded)]
        for _ in range(size - len(ready)):
            self._late()
        self.images += len(ready)
        ended = decoded
        if ready:
            ended += (replica.run[len(ready) - 1] if wide is None else wide) * pace
        free = ended + len(ready) * replica.head * pace
        self.busy_seconds += free - now
        self._schedule(ended, Kind.RUN_ENDED, self, [])
        self._schedule(free, Kind.WORKER_FREE, self, ready)

    def _answer(self, batch: Batch, now: float) -> None:
        for request in batch:
            if not self._in_time(request, now):
                self._late()
                continue
            at = self._through_loop(now)
            self._outcomes.answered[request] = at
            self._schedule(at, Kind.ANSWERED, self, [request])

    def _through_loop(self, now: float) -> float:
        """Return when the event loop has done its next piece of work, half of a request."""
        if self._replica.http:
            self._loop_free = max(self._loop_free, now) + self._replica.http / 2
            return self._loop_free
        return now

    def _in_time(self, request: int, now: float) -> bool:
        return now < self._arrivals[request] + self._timeout

    def _drop_late(self, now: float) -> None:
        while self._waiting and not self._in_time(self._waiting[0], now):
            self._waiting.popleft()
            self._late()

    def _late(self) -> None:
        self._outcomes.expired += 1
        self.outstanding -= 1

    def _on_pool(self, kind: Kind, batch: Batch, now: float) -> None:
        self._tasks.append((kind, batch))
        self._serve_pool(now)

    def _decoder_free(self, now: float) -> None:
        self._decoders_free += 1
        self._serve_pool(now)

    def _serve_pool(self, now: float) -> None:
        replica = self._replica
        while self._tasks and self._decoders_free:
            self._decoders_free -= 1
            kind, batch = self._tasks.popleft()
            each = replica.decode if kind is Kind.DECODED else replica.head
            self._schedule(
                now + len(batch) * each * self._draw(self._concurrency), kind, self, batch
            )
