"""What jobs cost the event loop, by clocks that only the test moves, and by the processor's own."""

import threading
import time

import pytest

from service.runtime.loop_cost import (
    WINDOW_JOBS,
    WINDOW_SECONDS,
    LoopCost,
    clock_of_this_thread,
)


class Clocks:
    """The time, and what the event loop's thread has spent."""

    def __init__(self) -> None:
        self.now = self.spent = 0.0
        self.ended = False
        self.cost = LoopCost(self._spent, lambda: self.now)

    def _spent(self) -> float:
        if self.ended:
            raise OSError("there is no such thread")
        return self.spent

    def window(self, *, seconds: float, spent: float, jobs: int = 1) -> float:
        """Let a window of batches of so many jobs go by, and return what the next job costs."""
        self.now += seconds
        self.spent += spent
        for _ in range(WINDOW_JOBS // jobs):
            self.cost.of(jobs)
        return self.cost.of(1)


@pytest.mark.parametrize("jobs", [1, 8, WINDOW_JOBS])
def test_a_job_costs_its_share_of_what_the_event_loop_spent(jobs: int) -> None:
    assert Clocks().window(seconds=0.5, spent=0.032, jobs=jobs) == pytest.approx(0.0005)


def test_nothing_is_charged_before_it_is_measured() -> None:
    clocks = Clocks()
    clocks.spent = 1.0
    assert clocks.cost.of(WINDOW_JOBS - 1) == 0.0


def test_an_event_loop_with_few_jobs_is_not_measured() -> None:
    clocks = Clocks()
    clocks.window(seconds=0.5, spent=0.032)
    assert clocks.window(seconds=2 * WINDOW_SECONDS, spent=9.0) == pytest.approx(0.0005)


def test_the_last_window_counts() -> None:
    clocks = Clocks()
    clocks.window(seconds=0.5, spent=0.032)
    clocks.window(seconds=9.0, spent=9.0)
    # The job that `window` asks for at its end belongs to the next one.
    assert clocks.window(seconds=0.5, spent=0.064) == pytest.approx(0.064 / WINDOW_JOBS, rel=0.02)


def test_any_thread_reads_the_clock_of_another() -> None:
    clocks = []
    busy, read = threading.Event(), threading.Event()

    def work() -> None:
        clocks.append(clock_of_this_thread())
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        busy.set()
        read.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert busy.wait(20)
        (clock,) = clocks
        if clock is None:
            pytest.skip("this system has no such clock")
        spent = clock()
        assert spent >= 0.05
        time.sleep(0.1)
        assert clock() < spent + 0.05, "a thread that waits spends nothing"
    finally:
        read.set()
        thread.join()


def test_a_job_after_the_end_of_the_event_loop_costs_what_the_others_did() -> None:
    clocks = Clocks()
    clocks.window(seconds=0.5, spent=0.032)
    clocks.ended = True
    assert clocks.window(seconds=0.5, spent=9.0) == pytest.approx(0.0005)
