"""The workers are tested on lanes that record what is taken from them, by a clock that only the test moves."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from service.runtime.turns import HOLD_SECONDS, Turn
from service.runtime.workers import ReadyBatch, Workers
from tests.service.runtime.clocks import ManualClock

NOW = 100.0


def image(at: float = NOW) -> ReadyBatch:
    return ReadyBatch(yields=False, at=at, low_priority=False)


def background(at: float = NOW, *, yields: bool = True) -> ReadyBatch:
    return ReadyBatch(yields=yields, at=at, low_priority=True)


class RecordingLane:
    """Offers the batches that a test gives it; each run waits until the test lets it end."""

    def __init__(
        self, workers: Workers, name: str = "lane", record: list[Any] | None = None
    ) -> None:
        self.record: list[Any] = [] if record is None else record
        self.alone: list[bool] = []
        self.counts: list[int] = []
        self.polls = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.let_end = threading.Semaphore(0)
        self.answered = threading.Semaphore(0)
        self.let_answer = threading.Event()
        self.let_answer.set()
        self.limit = 10.0
        self.given_up: list[Turn] = []
        self.abandoned: list[Turn] = []
        self.answered_late: list[tuple[Turn, float]] = []
        self._name = name
        self._workers = workers
        self._offers: list[ReadyBatch] = []

    def offer(self, *batches: ReadyBatch) -> None:
        with self._workers.condition:
            self._offers.extend(batches)
            self._workers.condition.notify_all()

    def ready_batches(self, now: float, *, low_priority_yields: bool) -> Sequence[ReadyBatch]:
        del now
        self.polls.release()
        return [
            one._replace(yields=one.yields or (one.low_priority and low_priority_yields))
            for one in self._offers
        ]

    def take(self, turn: Turn, workers: int, *, alone: bool) -> Callable[[], None]:
        ready = next(one for one in self._offers if one.low_priority == turn.low_priority)
        self._offers.remove(ready)
        self.counts.append(workers)
        self.alone.append(alone)
        return lambda: self._run(turn, ready)

    def progress(self, turn: Turn) -> object:
        return turn.ended

    def limit_seconds(self, turn: Turn) -> float:
        del turn
        return self.limit

    def overdue_seconds(self, turn: Turn) -> float:
        del turn
        return self.limit

    def look(self) -> None:
        """Every batch may be taken always."""

    def give_up(self, turn: Turn, thread: int) -> None:
        del thread
        self.given_up.append(turn)

    def answer(self, turn: Turn, seconds: float) -> None:
        self.answered_late.append((turn, seconds))

    def is_out(self, turn: Turn) -> bool:
        return not turn.ended

    def abandon(self, turn: Turn) -> None:
        self.abandoned.append(turn)

    def _run(self, turn: Turn, ready: ReadyBatch) -> None:
        self.record.append((self._name, ready.at))
        self.began.release()
        assert self.let_end.acquire(timeout=10)
        with self._workers.condition:
            if not turn.given_up:
                self._workers.run_ended(turn)
        assert self.let_answer.wait(10)
        self.answered.release()

    def has_begun(self) -> None:
        assert self.began.acquire(timeout=10)

    def run_to_the_end(self) -> None:
        self.has_begun()
        self.let_end.release()
        assert self.answered.acquire(timeout=10)


@contextmanager
def working(
    workers: Workers, *lanes: RecordingLane, loop_clock: Callable[[], float] | None = None
) -> Iterator[None]:
    for lane in lanes:
        workers.attach(lane)
    workers.start(loop_clock)
    try:
        yield
    finally:
        for lane in lanes:
            lane.let_end.release(100)
            lane.let_answer.set()
        workers.stop()


def settle(workers: Workers, lane: RecordingLane) -> None:
    """Wake all workers, and return when each has looked at the lane and waits again, or runs a batch."""
    while lane.polls.acquire(blocking=False):
        pass
    with workers.condition:
        workers.condition.notify_all()
    assert lane.polls.acquire(timeout=10)
    with workers.condition:
        pass


def test_the_batch_that_is_ready_for_longest_is_taken_whatever_its_lane() -> None:
    workers, record = Workers(1, clock=ManualClock()), list[Any]()
    one, other = (RecordingLane(workers, name, record) for name in ("one", "other"))
    one.offer(image(NOW - 1), background(NOW - 1))
    other.offer(image(NOW - 2))
    for lane in (one, other):
        lane.let_end.release(10)
    with working(workers, one, other):
        for lane in (other, one, one):
            lane.has_begun()
    assert record == [("other", NOW - 2), ("one", NOW - 1), ("one", NOW - 1)]


def test_a_batch_that_yields_is_taken_after_all_others_however_old() -> None:
    workers = Workers(1, clock=ManualClock())
    lane = RecordingLane(workers)
    lane.offer(background(NOW - 50), image(NOW - 1))
    lane.let_end.release(10)
    with working(workers, lane):
        lane.has_begun()
        lane.has_begun()
    assert lane.record == [("lane", NOW - 1), ("lane", NOW - 50)]


def test_jobs_of_low_priority_in_many_lanes_leave_half_of_the_time_to_single_images() -> None:
    clock = ManualClock(NOW)

    class Timed(RecordingLane):
        """Its batches take ten seconds each."""

        def take(self, turn: Turn, workers: int, *, alone: bool) -> Callable[[], None]:
            run = super().take(turn, workers, alone=alone)
            self.let_end.release()

            def timed() -> None:
                clock.advance(10.0)
                run()

            return timed

    workers, record = Workers(1, clock=clock), list[Any]()
    images = Timed(workers, "images", record)
    images.offer(*[image(NOW)] * 10)
    crowds = [Timed(workers, "crowd", record) for _ in range(4)]
    for lane in crowds:
        lane.offer(*[background(NOW - 5, yields=False)] * 10)
    with working(workers, *crowds, images):
        for _ in range(10):
            images.has_begun()
    begun = [name for name, _ in record]
    last = max(index for index, name in enumerate(begun) if name == "images")
    assert last in {18, 19}, "one of two batches, though one of five lanes"


def test_a_batch_is_taken_at_its_time_and_not_before() -> None:
    clock = ManualClock(NOW)
    workers = Workers(1, clock=clock)
    lane = RecordingLane(workers)
    with working(workers, lane):
        lane.offer(image(NOW + 10))
        clock.advance(9.999)
        settle(workers, lane)
        assert lane.record == []
        clock.advance(0.001)
        settle(workers, lane)
        lane.run_to_the_end()


def test_a_waiting_worker_wakes_for_the_first_batch_whose_time_comes() -> None:
    workers = Workers(1)
    now = time.perf_counter()
    soon, late = RecordingLane(workers), RecordingLane(workers)
    soon.offer(image(now + 0.02))
    late.offer(image(now + 3600))
    with working(workers, late, soon):
        soon.run_to_the_end()
        assert late.record == []


def test_stopping_runs_what_is_queued_even_before_its_time() -> None:
    workers = Workers(2, clock=ManualClock())
    lane = RecordingLane(workers)
    lane.offer(image(NOW + 10), image(NOW + 20))
    lane.let_end.release(2)
    with working(workers, lane):
        pass
    assert sorted(lane.record) == [("lane", NOW + 10), ("lane", NOW + 20)]


def test_workers_that_never_started_can_be_stopped() -> None:
    Workers(2).stop()


def test_an_error_past_the_lane_is_logged_and_does_not_end_the_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(RecordingLane):
        def take(self, turn: Turn, workers: int, *, alone: bool) -> Callable[[], None]:
            run = super().take(turn, workers, alone=alone)
            return run if self.record else self._break

        def _break(self) -> None:
            self.record.append("broken")
            raise SystemExit

    workers = Workers(1, clock=ManualClock())
    lane = Broken(workers)
    lane.offer(image(), image())
    with working(workers, lane):
        lane.run_to_the_end()
    assert lane.record == ["broken", ("lane", NOW)]
    assert "The worker goes on" in caplog.text


def test_a_batch_is_alone_if_nothing_ran_beside_it_nor_beside_the_one_before() -> None:
    workers = Workers(2, clock=ManualClock())
    lane = RecordingLane(workers)
    with working(workers, lane):
        for _ in range(2):
            lane.offer(image())
            lane.run_to_the_end()
        assert lane.alone == [False, True], "of the first it is not known what ran before"
        lane.offer(image())
        lane.has_begun()
        lane.offer(image())
        lane.has_begun()
        lane.let_end.release(2)
        for _ in range(2):
            assert lane.answered.acquire(timeout=10)
        for _ in range(2):
            lane.offer(image())
            lane.run_to_the_end()
        assert lane.alone[2:] == [True, False, False, True]
    assert set(lane.counts) == {2}


def test_the_next_batch_need_not_wait_until_the_last_one_is_answered() -> None:
    class OneAtATime(RecordingLane):
        running = False

        def ready_batches(self, now: float, *, low_priority_yields: bool) -> Sequence[ReadyBatch]:
            if self.running:
                return []
            return super().ready_batches(now, low_priority_yields=low_priority_yields)

        def take(self, turn: Turn, workers: int, *, alone: bool) -> Callable[[], None]:
            self.running = True
            return super().take(turn, workers, alone=alone)

    workers = Workers(2, clock=ManualClock())
    lane = OneAtATime(workers)
    lane.let_answer.clear()
    lane.offer(image(), image())
    with working(workers, lane):
        lane.has_begun()
        lane.running = False
        lane.let_end.release()
        lane.has_begun()
        assert len(lane.record) == 2


@contextmanager
def one_busy_with_background(
    count: int, *, images: bool = True
) -> Iterator[tuple[Workers, RecordingLane, ManualClock]]:
    """Give workers that keep one of them free for 5 s after an image, all but one of which run background batches."""
    clock = ManualClock(NOW)
    workers = Workers(count, kept_seconds=5, clock=clock)
    lane = RecordingLane(workers)
    with working(workers, lane):
        if images:
            lane.offer(image())
            lane.run_to_the_end()
        for _ in range(count - 1):
            lane.offer(background())
            lane.has_begun()
        lane.record.clear()
        yield workers, lane, clock


@pytest.mark.parametrize("count", [2, 3])
def test_the_last_worker_is_kept_for_images_for_a_while_after_the_last_one(count: int) -> None:
    with one_busy_with_background(count) as (workers, lane, clock):
        lane.offer(background(NOW))
        clock.now = NOW + 4.99
        settle(workers, lane)
        assert lane.record == []
        clock.now = NOW + 5
        settle(workers, lane)
        lane.has_begun()


def test_the_kept_worker_takes_an_image_and_what_has_yielded_for_long_enough() -> None:
    with one_busy_with_background(2) as (_, lane, _):
        lane.offer(image(NOW))
        lane.run_to_the_end()
        lane.offer(background(NOW - 3, yields=False))
        lane.has_begun()
        assert lane.record == [("lane", NOW), ("lane", NOW - 3)]


def test_no_worker_is_kept_where_no_images_come() -> None:
    with one_busy_with_background(2, images=False) as (_, lane, _):
        lane.offer(background())
        lane.has_begun()


def test_a_background_batch_that_ended_makes_room_for_another() -> None:
    with one_busy_with_background(2) as (_, lane, _):
        lane.let_end.release()
        assert lane.answered.acquire(timeout=10)
        lane.offer(background())
        lane.has_begun()


def test_a_batch_put_off_keeps_its_own_time_where_that_is_later() -> None:
    with one_busy_with_background(2) as (workers, lane, clock):
        lane.offer(background(NOW + 9))
        clock.now = NOW + 8
        settle(workers, lane)
        assert lane.record == []
        clock.now = NOW + 9
        settle(workers, lane)
        lane.has_begun()


def test_a_single_worker_is_never_kept() -> None:
    workers = Workers(1, kept_seconds=5, clock=ManualClock(NOW))
    lane = RecordingLane(workers)
    with working(workers, lane):
        lane.offer(image())
        lane.run_to_the_end()
        lane.offer(background())
        lane.run_to_the_end()


def test_nothing_is_taken_from_a_detached_lane() -> None:
    workers = Workers(1, clock=ManualClock())
    gone, kept = RecordingLane(workers), RecordingLane(workers)
    with working(workers, gone, kept):
        workers.detach(gone)
        gone.offer(image(NOW - 10))
        kept.offer(image())
        kept.run_to_the_end()
    assert gone.record == []


def test_an_idle_worker_holds_neither_its_last_batch_nor_a_detached_lane() -> None:
    workers, freed = Workers(2, clock=ManualClock()), threading.Event()
    with working(workers):
        lane = RecordingLane(workers)
        workers.attach(lane)
        lane.let_end.release()
        lane.offer(image())
        assert lane.answered.acquire(timeout=10)
        weakref.finalize(lane, freed.set)
        workers.detach(lane)
        del lane
        assert freed.wait(10)


def test_what_a_lane_holds_when_it_is_attached_is_taken_at_once() -> None:
    workers = Workers(1, clock=ManualClock())
    idle, late = RecordingLane(workers), RecordingLane(workers)
    late.offer(image())
    with working(workers, idle):
        assert idle.polls.acquire(timeout=10)
        with workers.condition:
            pass  # the worker waits by now
        workers.attach(late)
        late.let_end.release()
        assert late.answered.acquire(timeout=10)


def test_a_worker_that_waits_for_the_time_of_a_batch_lets_go_of_its_lane_when_it_is_detached() -> (
    None
):
    workers, freed = Workers(1, clock=ManualClock()), threading.Event()
    with working(workers):
        lane = RecordingLane(workers)
        lane.offer(image(NOW + 3600))
        workers.attach(lane)
        settle(workers, lane)
        weakref.finalize(lane, freed.set)
        workers.detach(lane)
        del lane
        assert freed.wait(10)


def test_workers_do_not_keep_the_process_from_ending() -> None:
    workers = Workers(2)
    with working(workers):
        threads = [one for one in threading.enumerate() if one.name.startswith("foveal-worker-")]
        assert len(threads) >= 2
        assert all(one.daemon for one in threads)


class TimedLane(RecordingLane):
    """Each run takes so many seconds of the clock."""

    def __init__(
        self,
        workers: Workers,
        clock: ManualClock,
        name: str,
        record: list[Any],
        seconds: float,
        *,
        jobs: int = 1,
    ) -> None:
        super().__init__(workers, name, record)
        self._clock, self._seconds, self._jobs = clock, seconds, jobs

    def _run(self, turn: Turn, ready: ReadyBatch) -> None:
        turn.size = self._jobs
        self._clock.advance(self._seconds)
        super()._run(turn, ready)


@pytest.mark.parametrize("yields", [True, False])
def test_a_flood_on_one_lane_leaves_another_every_second_turn(*, yields: bool) -> None:
    clock, record = ManualClock(NOW), list[Any]()
    workers = Workers(1, clock=clock)
    flood = TimedLane(workers, clock, "flood", record, 1.0)
    other = TimedLane(workers, clock, "other", record, 1.0)
    batch = partial(background, yields=True) if yields else image
    flood.offer(*(batch(NOW - 99 + index) for index in range(40)))
    other.offer(*(batch(NOW) for _ in range(10)))
    for lane in (flood, other):
        lane.let_end.release(40)
    with working(workers, flood, other):
        pass
    names = [name for name, _ in record]
    assert names[:20].count("other") in {9, 10}, "though what waits there came last"
    assert len(names) == 50


def test_a_lane_pays_for_what_its_jobs_cost_the_event_loop() -> None:
    clock, record = ManualClock(NOW), list[Any]()
    workers = Workers(1, clock=clock)
    many = TimedLane(workers, clock, "many", record, 0.004, jobs=9)
    one = TimedLane(workers, clock, "one", record, 0.004)
    for lane in (many, one):
        lane.offer(*(image(NOW) for _ in range(400)))
        lane.let_end.release(400)

    def loop_clock() -> float:
        """Each job costs the event loop a millisecond."""
        names = [name for name, _ in record]
        return 1e-3 * (9 * names.count("many") + names.count("one"))

    with working(workers, many, one, loop_clock=loop_clock):
        pass
    names = [name for name, _ in record]
    # A batch of nine jobs takes 4 + 9 ms, one of a single job 4 + 1.
    last = names[100:500]
    assert last.count("one") / last.count("many") == pytest.approx(13 / 5, rel=0.05)


def test_a_batch_that_yields_waits_also_where_its_lane_has_used_nothing() -> None:
    clock, record = ManualClock(NOW), list[Any]()
    workers = Workers(1, clock=clock)
    busy = TimedLane(workers, clock, "busy", record, 1.0)
    slow = TimedLane(workers, clock, "slow", record, 1.0)
    busy.offer(*(image(NOW - 1) for _ in range(5)))
    slow.offer(background(NOW - 1))
    for lane in (busy, slow):
        lane.let_end.release(10)
    with working(workers, busy, slow):
        pass
    assert [name for name, _ in record] == ["busy"] * 5 + ["slow"]


def test_a_batch_that_never_ends_does_not_keep_the_workers_from_stopping() -> None:
    workers = Workers(1, clock=ManualClock())
    lane = RecordingLane(workers)
    with working(workers, lane):
        lane.offer(image())
        lane.has_begun()
        workers.stop(seconds=0)
        assert workers.stuck == 1


def test_a_long_batch_leaves_the_worker_a_moment_to_clients_that_wait_for_each_answer() -> None:
    clock, record = ManualClock(NOW), list[Any]()
    workers = Workers(1, clock=clock)
    flood = TimedLane(workers, clock, "flood", record, 0.5)
    few = TimedLane(workers, clock, "few", record, 0.001)
    with working(workers, flood, few):
        for _ in range(8):
            flood.offer(image(clock.now))
            flood.run_to_the_end()
        for _ in range(20):
            clock.advance(0.001)
            few.offer(image(clock.now))
            few.run_to_the_end()
        record.clear()
        flood.offer(image(clock.now - 1))
        settle(workers, flood)
        assert record == [], "the next image of the others is likely to come"
        clock.advance(0.001)
        few.offer(image(clock.now))
        few.run_to_the_end()
        clock.advance(HOLD_SECONDS)
        settle(workers, flood)
        flood.run_to_the_end()
    assert [name for name, _ in record] == ["few", "flood"]


def test_a_batch_that_has_just_come_is_not_held() -> None:
    clock, record = ManualClock(NOW), list[Any]()
    workers = Workers(1, clock=clock)
    long = TimedLane(workers, clock, "long", record, 0.5)
    few = TimedLane(workers, clock, "few", record, 0.001)
    with working(workers, long, few):
        for lane in (long, *[few] * 20):
            clock.advance(0.001)
            lane.offer(image(clock.now))
            lane.run_to_the_end()
        long.offer(image(clock.now))
        long.run_to_the_end()
