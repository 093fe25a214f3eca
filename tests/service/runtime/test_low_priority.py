"""Calls at a low priority: on a thread that no other thread inherits from."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.runtime.low_priority import NICENESS, LowPriority, at_once


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_a_call_runs_behind_the_threads_of_requests_and_its_caller_does_not() -> None:
    own, calling = niceness(), LowPriority()
    for _ in range(2):
        assert calling(niceness) == min(19, own + NICENESS)
    assert niceness() == own
    assert at_once(niceness) == own


def test_calls_one_after_the_other_share_a_thread_and_one_beside_another_has_its_own() -> None:
    calling, entered, gate = LowPriority(), threading.Event(), threading.Event()

    def held() -> int:
        entered.set()
        assert gate.wait(10)
        return threading.get_ident()

    first = calling(threading.get_ident)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(calling, held)
        assert entered.wait(10)
        assert calling(threading.get_ident) not in {first, threading.get_ident()}
        gate.set()
        assert waiting.result(10) == first
    assert calling(threading.get_ident) == first


def test_a_call_returns_or_raises_what_it_would_at_once() -> None:
    for calling in (LowPriority(), at_once):
        assert calling(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            calling(lambda: 1 // 0)
