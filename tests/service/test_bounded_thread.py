"""A thread that can not come to its first step holds up nobody."""

import subprocess
import sys
import threading

import pytest

from service.bounded_thread import NO_THREAD, START_SECONDS, BoundedThread
from tests.service.runtime.clocks import ManualClock

SHORT_OF_MEMORY = """
import resource, sys, threading
from service.bounded_thread import BoundedThread

STACK = 1 << 20
threading.stack_size(STACK)
begun = []

def start(beside):
    thread = BoundedThread(lambda: begun.append(1), "short")
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + STACK + beside, resource.RLIM_INFINITY))
    try:
        thread.start_and_wait(1)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

for beside in (4096, 8192, 12288, 16384):  # enough for its stack, and not for its first step
    try:
        start(beside)
    except (RuntimeError, MemoryError) as error:
        print(repr(error))
start(1 << 30)
print("begun", *begun)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
def test_where_there_is_no_memory_for_its_first_step_its_start_fails_in_time() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert ended.stderr.count("Exception ignored in thread started by") >= 1, "none got so far"
    *failed, begun = ended.stdout.splitlines()
    assert any(NO_THREAD in line for line in failed)
    assert begun.count("1") == 5 - len(failed), "each began or failed, and the last one began"


def test_it_does_its_work_and_is_a_thread_like_others() -> None:
    done: list[threading.Thread] = []
    thread = BoundedThread(lambda: done.append(threading.current_thread()), "of-this-test")
    thread.start_and_wait()
    thread.join(10)
    assert done == [thread]
    assert (thread.name, thread.daemon, thread.is_alive()) == ("of-this-test", True, False)


def test_what_was_given_up_never_begins() -> None:
    done: list[int] = []
    thread = BoundedThread(lambda: done.append(1), "of-this-test")
    assert thread.give_up()
    thread.start()
    thread.wait_begun(10)
    thread.join(10)
    assert done == []


def test_what_is_done_can_not_be_given_up_until_it_has_ended() -> None:
    begun, gate = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert gate.wait(10)

    thread = BoundedThread(work, "of-this-test")
    thread.start()
    assert begun.wait(10)
    assert not thread.give_up()
    gate.set()
    thread.join(10)
    assert thread.give_up()


def test_it_is_there_from_its_start_until_it_ends_or_is_late() -> None:
    class Lost(BoundedThread):
        """One whose first step never comes."""

        def _bootstrap(self) -> None:
            return

    clock = ManualClock()
    thread = Lost(lambda: None, "of-this-test", clock=clock)
    assert not thread.is_there()
    thread.start()
    assert thread.is_there()
    clock.advance(START_SECONDS)
    assert not thread.is_there()
    with pytest.raises(RuntimeError, match=NO_THREAD):
        Lost(lambda: None, "of-this-test").start_and_wait(0.01)
