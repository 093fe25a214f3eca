"""The threads that run batches, shared by all models on a device: no more of them can run than there are cores."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from service.bounded_thread import BoundedThread
from service.logs import LOGGER
from service.runtime.halves import Halves
from service.runtime.loop_cost import LoopCost
from service.runtime.turns import HOLD_SECONDS, Seat, Turn, Turns

log = logging.getLogger(LOGGER)

Clock = Callable[[], float]
"""Returns seconds from an arbitrary start, as `time.perf_counter` does."""

KEPT_SECONDS = 0.1
"""How long after a batch of single images one worker is kept free of batches that yield: the next image is likely to
come within it."""
LAST_SPARES = 8
"""So many more threads may be in batches that do not end, each of which had held the last one."""
STOP_SECONDS = 10.0
"""How long `stop` waits for batches that run. Each of them has had until the deadline of its requests."""


class ReadyBatch(NamedTuple):
    """A batch that could be taken.

    Attributes:
        yields: it waits as long as any batch that does not yield is ready.
        at: from when on it may be taken, in seconds of the workers' clock.
        low_priority: it comes from the lane's low-priority line.
    """

    yields: bool
    at: float
    low_priority: bool


class Lane(Protocol):
    """A queue that workers take batches from.

    All methods but `look`, `answer` and `abandon` are called with the workers' condition held.
    """

    def ready_batches(self, now: float, *, low_priority_yields: bool) -> Sequence[ReadyBatch]:
        """Return the batches that can be taken now or later: at most one of each of its lines.

        `low_priority_yields`: those of low priority yield, however long they have waited.
        """

    def take(self, turn: Turn, workers: int, *, alone: bool) -> Callable[[], None]:
        """Remove the next batch of the line of `turn` and return what runs it outside the lock. Never raises.

        `alone` is true where nothing else runs, and nothing else ran when the batch before began: then this batch may
        use all cores.
        """

    def progress(self, turn: Turn) -> object:
        """Return what is equal between two calls only where the batch has not come further between them."""

    def limit_seconds(self, turn: Turn) -> float:
        """Return how long the batch may be without progress."""

    def overdue_seconds(self, turn: Turn) -> float:
        """Return after how long without progress another thread takes the place of the batch's."""

    def look(self) -> None:
        """Run batches again where the time has come; called on the event loop in each round of the watchdog."""

    def give_up(self, turn: Turn, thread: int) -> None:
        """Stop to count on the batch: the thread of this `threading.get_ident` comes back too late, if ever."""

    def answer(self, turn: Turn, seconds: float) -> None:
        """Answer all jobs of the batch, which was given up after so many seconds; called on the event loop."""

    def is_out(self, turn: Turn) -> bool:
        """Return whether the run of a batch that was given up has not come back yet."""

    def abandon(self, turn: Turn) -> None:
        """Stop to wait for the run of a batch that was given up; called on the event loop."""


class Worker(BoundedThread):
    """One of the threads, and the batch that it runs."""

    def __init__(self, index: int, target: "Callable[[Worker], None]") -> None:
        super().__init__(self._run, f"foveal-worker-{index}")
        self.index = index
        self.turn: Turn | None = None
        self.given_up = self.aside = False
        """Whether its batch was given up; whether another thread has its place meanwhile."""
        self._run_batches = target

    def _run(self) -> None:
        try:
            self._run_batches(self)
        except BaseException:  # no one else would hear of it; `replace_dead` makes another
            log.exception("A thread that runs batches has failed.")


class Workers:
    """A fixed number of threads that serve any number of lanes.

    A free worker takes at once what is ready. Where several lanes have something ready, the one whose batches have
    occupied the cores for the least time goes first (see `Turns`), and among equals the batch that has been ready
    for longest: several models share the cores without oversubscribing them, and a flood on one of them leaves the
    others their share. Batches that yield come after all others, and as long as others keep coming they leave one
    worker free for these. Those of low priority yield for a while, and whenever they have had half of the time
    (see `Halves`). Workers wait on a condition and never poll.

    A thread whose batch does not end can not be killed. `put_aside` and `give_up` put another thread in its place,
    `count` times at most at the same time: a run that never ends keeps a core busy, and more threads would not help.
    Only where no thread would be left to the lanes that go on, one more is put there, `LAST_SPARES` times at most.
    Lanes with a batch that was put aside leave one thread to the others.

    Args:
        count: how many threads.
        kept_seconds: how long one worker is kept free for the next single image; see `KEPT_SECONDS`.
        clock: the clock of the workers and of their lanes.
        start_thread: starts one of the threads; raises RuntimeError where the system gives none.
    """

    def __init__(
        self,
        count: int,
        kept_seconds: float = KEPT_SECONDS,
        clock: Clock = time.perf_counter,
        start_thread: Callable[[Worker], None] = Worker.start,
    ) -> None:
        self.count = count
        self.clock = clock
        self.condition = threading.Condition()
        self._kept_seconds = kept_seconds
        self._start_thread = start_thread
        self._has_started = self._lacks_threads = False
        self._turns: Turns[Lane] = Turns()
        self._halves = Halves()
        self._seats: list[Seat[Lane]] = []
        self._closing = False
        self._running = 0
        self._running_low_priority = 0
        self._kept_until = -math.inf
        self._alone_before = False
        self._loop_cost: LoopCost | None = None
        self._workers = [Worker(index, self._work) for index in range(count)]
        self._stuck: list[Worker] = []
        self._aside: list[Worker] = []
        self._overdue: set[Turn] = set()

    @property
    def stuck(self) -> int:
        """How many threads are in a batch that was given up."""
        return len(self._stuck)

    @property
    def left(self) -> int:
        """How many threads take batches."""
        return len(self._workers)

    @property
    def are_shared(self) -> bool:
        """Whether they serve several models."""
        return len({id(seat.model) for seat in self._seats}) > 1

    @property
    def is_short(self) -> bool:
        """Whether the only thread that is left is one of the last spares: not for a model that has a stuck run."""
        return len(self._stuck) > self.count and len(self._workers) <= 1

    @property
    def alive(self) -> int:
        """How many of these live or have just been started; `replace_dead` replaces the others."""
        return sum(worker.is_there() for worker in self._workers)

    @property
    def lost(self) -> bool:
        """Whether none of these lives, although they were started."""
        return self._has_started and not self._closing and not self.alive

    def start(self, loop_clock: Clock | None = None) -> None:
        """Start the threads.

        Args:
            loop_clock: what the event loop's thread has taken of the processor, in seconds. With it, each lane's share
                pays for what its jobs cost there too.
        """
        if loop_clock is not None:
            self._loop_cost = LoopCost(loop_clock, self.clock)
        for worker in self._workers:
            self._start_thread(worker)
        self._has_started = True

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Let the workers run what is queued, then end them; blocks until they have ended, `seconds` at most.

        A thread in a batch that never ends is left behind. It does not keep the process from ending.
        """
        with self.condition:
            self._closing = True
            self.condition.notify_all()
        latest = time.monotonic() + seconds
        for worker in (*self._workers, *self._aside):
            worker.wait_begun(max(0.0, latest - time.monotonic()))
            if worker.is_alive():
                worker.join(max(0.0, latest - time.monotonic()))
                if worker.is_alive():
                    self._stuck.append(worker)

    def attach(self, lane: Lane, *, cores: int = 1, model: object = None) -> None:
        """Take batches from the lane.

        Args:
            lane: it.
            cores: how many cores each of its batches occupies.
            model: what all lanes of one model share; None: no other lane runs it.
        """
        with self.condition:
            self._seats.append(Seat(lane, cores, model or lane))
            self.condition.notify_all()

    def detach(self, lane: Lane) -> None:
        """Take no more batches from the lane; once it is idle no worker holds a reference to it."""
        with self.condition:
            self._seats = [seat for seat in self._seats if seat.lane is not lane]
            self.condition.notify_all()

    def run_ended(self, turn: Turn) -> None:
        """Count a batch as ended; a lane calls this with the condition held, before it answers anybody."""
        turn.ended = True
        beside = 0.0 if self._loop_cost is None else self._loop_cost.of(turn.size)
        more = self._turns.settle(turn, self.clock(), beside)
        self._halves.settle(more, low_priority=turn.low_priority)
        self._running -= 1
        self._running_low_priority -= turn.low_priority
        self.condition.notify()

    # For the watchdog.

    def at_work(self) -> list[tuple[Worker, Turn, object, float]]:
        """Return the threads that run a batch, with how far that is and how long it may stay there, in seconds."""
        with self.condition:
            return [
                (worker, turn, turn.seat.lane.progress(turn), turn.seat.lane.limit_seconds(turn))
                for worker in (*self._workers, *self._aside)
                if (turn := worker.turn) is not None
            ]

    def lanes(self) -> list[Lane]:
        """Return the lanes that batches are taken from."""
        with self.condition:
            return [seat.lane for seat in self._seats]

    def put_aside(self, worker: Worker, turn: Turn) -> None:
        """Put a spare thread in the place of one whose batch takes far too long, until that ends or is given up."""
        with self.condition:
            if worker.turn is not turn or worker.given_up:
                return
            self._overdue.add(turn)
            if worker.aside or self._closing or not self._has_spare():
                return
            self._workers.remove(worker)
            worker.aside = True
            self._aside.append(worker)
            self._start_fresh(worker.index)

    def give_up(self, worker: Worker, turn: Turn) -> bool:
        """Put another thread in the place of one whose batch does not end; return False where it has ended.

        The lane then may run other batches. It must `answer` those that wait for this one.
        """
        with self.condition:
            if worker.turn is not turn or worker.given_up:
                return False
            worker.given_up = turn.given_up = True
            self._overdue.discard(turn)
            if worker.aside:
                self._aside.remove(worker)
                self._stuck.append(worker)
            else:
                self._replace(worker)
            # Then the lane knows how many threads are left.
            turn.seat.lane.give_up(turn, worker.ident or 0)
            if not turn.ended:
                self.run_ended(turn)
            self.condition.notify_all()
        return True

    def is_out(self, turn: Turn) -> bool:
        """Return whether the run of a batch that was given up has not come back yet."""
        with self.condition:
            lane: Lane = turn.seat.lane
            return lane.is_out(turn)

    def replace_dead(self) -> int:
        """Put new threads in the place of those that have died or never began, and return how many."""
        with self.condition:
            if self._closing or not self._has_started:
                return 0
            absent = [worker for worker in self._workers if not worker.is_there()]
            dead = [worker for worker in absent if worker.give_up()]
            return sum(self._replace(worker) for worker in dead)

    def _replace(self, worker: Worker) -> bool:
        """Put another thread in the place of one; return whether there was one, else `replace_dead` tries again."""
        self._workers.remove(worker)
        if worker.is_alive():
            has_spare = self._has_spare()
            self._stuck.append(worker)
            if not has_spare:
                return False
        return self._start_fresh(worker.index)

    def _has_spare(self) -> bool:
        """Return whether another thread may take the place of one, of those that take batches no more."""
        away = len(self._stuck) + len(self._aside)
        is_any_left = any(one.turn not in self._overdue for one in self._workers)
        return away < self.count or (away < self.count + LAST_SPARES and not is_any_left)

    def _start_fresh(self, index: int) -> bool:
        fresh = Worker(index, self._work)
        self._workers.append(fresh)
        try:
            self._start_thread(fresh)
        except (RuntimeError, MemoryError) as error:
            if not self._lacks_threads:
                log.error(
                    "A thread that runs batches can not be replaced, and is tried again: %s", error
                )
            self._lacks_threads = True
            return False
        self._lacks_threads = False
        return True

    # On the threads.

    def _work(self, worker: Worker) -> None:
        while (batch := self._next_batch(worker)) is not None:
            try:
                batch()
            except BaseException:  # a dead worker would strand every later request
                log.exception(
                    "A batch raised an error that it should have handled. The worker goes on."
                )
            # While this thread waits, it must keep neither images nor a removed model alive.
            del batch

    def _next_batch(self, worker: Worker) -> Callable[[], None] | None:
        with self.condition:
            if self._overdue:
                self._let_go(worker.turn)
            worker.turn = None
            if (worker.given_up or worker.aside) and not self._rejoins(worker):
                return None
            while True:
                now = self.clock()
                keeps = self.count > 1 and self._running_low_priority >= self.count - 1
                yields = self._halves.low_priority_yields
                offers = [
                    (self._kept(ready) if keeps else ready, seat)
                    for seat in (self._seats_beside_overdue() if self._overdue else self._seats)
                    for ready in seat.lane.ready_batches(now, low_priority_yields=yields)
                ]
                due = [offer for offer in offers if self._closing or offer[0].at <= now]
                if due:
                    ready, seat = due[0] if len(due) == 1 else min(due, key=self._urgency)
                    if now - ready.at > HOLD_SECONDS and (held := self._held(seat, now)) > 0:
                        self.condition.wait(held)
                        continue
                    return self._take(worker, ready, seat, now)
                if offers:
                    self.condition.wait(min(ready.at for ready, _ in offers) - now)
                elif self._closing:
                    return None
                else:
                    self.condition.wait()

    def _rejoins(self, worker: Worker) -> bool:
        """Return whether a thread that came back late takes batches again: where no other has its place."""
        (self._stuck if worker.given_up else self._aside).remove(worker)
        if len(self._workers) >= self.count:
            return False
        worker.given_up = worker.aside = False
        self._workers.append(worker)
        return True

    def _let_go(self, turn: Turn | None) -> None:
        if turn in self._overdue:
            self._overdue.remove(turn)
            self.condition.notify_all()

    def _seats_beside_overdue(self) -> list[Seat[Lane]]:
        """Return whose batches may be taken: a lane with an overdue batch leaves a thread to the others."""
        late = {turn.seat for turn in self._overdue}
        taken = sum(one.turn is not None and one.turn.seat in late for one in self._workers)
        if self._closing or taken + 1 < len(self._workers):
            return self._seats
        return [seat for seat in self._seats if seat not in late]

    def _kept(self, ready: ReadyBatch) -> ReadyBatch:
        """Postpone a batch that yields, since it would occupy the last worker, while single images keep coming."""
        if ready.yields:
            return ready._replace(at=max(ready.at, self._kept_until))
        return ready

    def _held(self, seat: Seat[Lane], now: float) -> float:
        """Return how many seconds a batch that has waited for long had better wait for another lane."""
        if self._closing or len(self._seats) == 1:
            return 0.0
        return self._turns.held_until(seat, self._seats, now) - now

    def _take(
        self, worker: Worker, ready: ReadyBatch, seat: Seat[Lane], now: float
    ) -> Callable[[], None]:
        if ready.low_priority:
            self._running_low_priority += 1
        else:
            self._kept_until = now + self._kept_seconds
        alone = self._running == 0
        turn = worker.turn = self._turns.begin(
            seat, now, low_priority=ready.low_priority, since=ready.at
        )
        self._halves.begin(turn.charged, low_priority=ready.low_priority)
        batch = seat.lane.take(turn, self.count, alone=alone and self._alone_before)
        self._alone_before = alone
        self._running += 1
        return batch

    def _urgency(self, offer: tuple[ReadyBatch, Seat[Lane]]) -> tuple[bool, float, float, bool]:
        ready, seat = offer
        return ready.yields, self._turns.start_of(seat), ready.at, ready.low_priority
