"""The decoder processes of a service: lent to one thread at a time, replaced when they end, and ended with it."""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import DeadlineError, ShuttingDownError
from service.imaging.isolated.child import DecoderProcess
from service.imaging.isolated.messages import Kind, Request
from service.imaging.isolated.pool import DecoderPool
from tests import puppet
from tests.service.api.clock import Clock

LONG = 60.0


class Waited:
    """A clock that stands still, and says when so many threads have read it, just before they wait."""

    def __init__(self, threads: int) -> None:
        self.counts = False
        self.all_wait = threading.Semaphore(0)
        self._left = threads

    def __call__(self) -> float:
        if self.counts:
            self._left -= 1
            if not self._left:
                self.all_wait.release()
        return 0.0


def until() -> float:
    return time.perf_counter() + LONG


class Pools:
    """Makes pools that are closed with the test, and notes why their processes ended."""

    def __init__(self) -> None:
        self.made: list[DecoderPool] = []
        self.ends: list[str] = []

    def __call__(
        self,
        count: int = 1,
        *,
        mode: int = puppet.READY,
        program: str = "tests.puppet",
        clock: Callable[[], float] = time.perf_counter,
        starts: bool = True,
    ) -> DecoderPool:
        pool = DecoderPool(count, mode, on_end=self.ends.append, program=program, clock=clock)
        self.made.append(pool)
        if starts:
            pool.start()
        return pool


@pytest.fixture
def pools() -> Iterator[Pools]:
    made = Pools()
    yield made
    for pool in made.made:
        pool.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_as_many_processes_are_lent_as_there_are(pools: Pools) -> None:
    pool = pools(3)
    taken = [pool.take(until()) for _ in range(3)]
    assert sorted(process.pid for process in taken) == sorted(pool.pids)
    assert len(set(pool.pids)) == 3
    with pytest.raises(DeadlineError, match="No decoder was free before the deadline"):
        pool.take(0)
    pool.give_back(taken[1])
    assert pool.take(until()) is taken[1]
    assert pools.ends == []


@pytest.mark.parametrize("waiting", [1, 3])
def test_a_process_that_is_given_back_goes_to_a_thread_that_waits(
    pools: Pools, waiting: int
) -> None:
    clock = Waited(waiting)
    pool = pools(clock=clock)
    process = pool.take(float("inf"))

    def use() -> DecoderProcess:
        taken = pool.take(
            LONG
        )  # by a clock that stands still: only what is given back ends the waiting
        pool.give_back(taken)
        return taken

    clock.counts = True
    with ThreadPoolExecutor(waiting) as threads:
        users = [threads.submit(use) for _ in range(waiting)]
        assert clock.all_wait.acquire(timeout=LONG)
        pool.give_back(process)
        assert [user.result(10) for user in users] == [process] * waiting


def test_the_deadline_is_that_of_the_clock_and_a_free_process_needs_none(pools: Pools) -> None:
    clock = Clock(50)
    pool = pools(clock=clock)
    process = pool.take(50 + LONG)
    for moment in (50, 49):
        with pytest.raises(DeadlineError):
            pool.take(moment)
    pool.give_back(process)
    assert pool.take(49) is process, "nothing has to be waited for"


def test_a_thread_may_wait_without_end(pools: Pools) -> None:
    assert pools().take(float("inf")).pid > 0


def test_a_process_that_is_discarded_is_replaced_and_counted(pools: Pools) -> None:
    pool = pools()
    first = pool.take(until())
    pool.discard(first, "crash")
    assert not is_alive(first.pid)
    second = pool.take(until())
    assert second.pid != first.pid
    assert pool.pids == [second.pid]
    assert pools.ends == ["crash"]


def test_an_idle_process_that_was_killed_is_not_lent(pools: Pools) -> None:
    pool = pools()
    first = pool.take(until())
    pool.give_back(first)
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    assert pool.take(until()).pid != first.pid
    assert pools.ends == ["killed"]


def asked(process: DecoderProcess, order: str) -> object:
    process.send(Request(Kind.IMAGE, order.encode(), b"", 0, b""), until())
    _, size, _ = process.reply(until())
    text = bytearray(size)
    process.receive(memoryview(text), until())
    return json.loads(text)


def test_signals_for_the_service_do_not_end_its_processes(pools: Pools) -> None:
    process = pools().take(until())
    masked = asked(process, "masked")
    assert masked == sorted([signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
    os.kill(process.pid, signal.SIGTERM)
    assert asked(process, "masked") == masked
    assert not set(signal.pthread_sigmask(signal.SIG_BLOCK, ())) & {signal.SIGTERM, signal.SIGINT}


def test_a_pool_is_ready_with_its_first_process(pools: Pools) -> None:
    pool = pools(starts=False)
    assert pool.not_ready() == "the decoder processes start"
    pool.start()
    process = pool.take(until())
    assert pool.not_ready() == ""
    pool.discard(process, "time")
    assert pool.not_ready() == "", "it is only a matter of time"


@pytest.mark.parametrize(
    ("program", "mode", "reason"),
    [
        ("this", puppet.READY, "the decoder process ended with 0"),
        ("no_such_module", puppet.READY, "the decoder process ended with 1"),
        ("tests.puppet", puppet.WRONG, "the decoder process ended with 0"),
    ],
)
def test_processes_that_can_not_start_are_named_once(
    pools: Pools, caplog: pytest.LogCaptureFixture, program: str, mode: int, reason: str
) -> None:
    failed = threading.Event()

    class Noticed(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            failed.set()

    handler = Noticed()
    log = logging.getLogger("foveal")
    log.addHandler(handler)
    try:
        pool = pools(program=program, mode=mode, starts=False)
        with caplog.at_level(logging.ERROR, "foveal"):
            pool.start()
            assert failed.wait(LONG)
            with pytest.raises(DeadlineError):  # a real wait: it can not start in it either
                pool.take(time.perf_counter() + 1.5)
    finally:
        log.removeHandler(handler)
    assert pool.not_ready() == f"the decoder processes can not start: {reason}"
    assert [record.getMessage() for record in caplog.records] == [
        f"No decoder process can be started: {reason}"
    ]


def test_closing_ends_all_processes_lent_and_idle(pools: Pools) -> None:
    pool = pools(2)
    lent, idle = pool.take(until()), pool.take(until())
    pool.give_back(idle)
    pool.close()
    assert not is_alive(lent.pid)
    assert not is_alive(idle.pid)
    assert pools.ends == []
    assert [one.name for one in threading.enumerate() if one.name == "foveal-decoders"] == []


@pytest.mark.parametrize("raised", [MemoryError, RuntimeError, SystemExit])
def test_what_ends_no_process_at_its_start_does_not_end_the_pool(
    raised: type[BaseException],
) -> None:
    fails, ends = threading.Event(), list[str]()

    def open_process(program: str, memory_bytes: int, clock: Callable[[], float]) -> DecoderProcess:
        if fails.is_set():
            fails.clear()
            raise raised
        return DecoderProcess(program, memory_bytes, clock)

    pool = DecoderPool(
        1, puppet.READY, on_end=ends.append, program="tests.puppet", open_process=open_process
    )
    pool.start()
    try:
        process = pool.take(until())
        fails.set()
        pool.discard(process, "crash")
        assert pool.take(until()).pid != process.pid
    finally:
        pool.close()


def test_a_closed_pool_lends_nothing_and_counts_nothing(pools: Pools) -> None:
    pool = pools()
    process = pool.take(until())
    pool.close()
    with pytest.raises(ShuttingDownError):
        pool.take(until())
    pool.discard(process, "crash")
    assert pools.ends == []
    pool.close()


def test_closing_wakes_those_that_wait(pools: Pools) -> None:
    pool = pools()
    pool.take(until())
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(pool.take, float("inf")) for _ in range(2)]
        pool.close()
        for one in waiting:
            with pytest.raises(ShuttingDownError):
                one.result(LONG)


def test_a_pool_that_was_never_started_can_be_closed(pools: Pools) -> None:
    pools(starts=False).close()


def test_closing_does_not_wait_for_a_process_that_says_nothing(pools: Pools) -> None:
    pool = pools(mode=puppet.MUTE)
    while not pool.pids:  # the first process is started by the pool's own thread
        threading.Event().wait(0.001)
    (pid,) = pool.pids
    pool.close()
    assert not is_alive(pid)
