"""Calls at a low priority: on a thread of their own, whose priority no other thread gets."""

import os
import sys
import threading

import pytest

from service.runtime.low_priority import NICENESS, at_low_priority, at_once


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_a_call_runs_behind_the_threads_of_requests_and_its_caller_does_not() -> None:
    own = niceness()
    assert at_low_priority(niceness) == min(19, own + NICENESS)
    assert niceness() == own
    assert at_once(niceness) == own


def test_a_call_returns_or_raises_what_it_would_at_once() -> None:
    assert at_low_priority(lambda: 7) == at_once(lambda: 7) == 7
    for calling in (at_low_priority, at_once):
        with pytest.raises(ZeroDivisionError):
            calling(lambda: 1 // 0)
