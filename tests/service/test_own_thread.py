"""The calls of one owner run one after another on one thread."""

import gc
import threading
import weakref
from concurrent.futures import CancelledError

import pytest

from service.bounded_thread import NO_THREAD, BoundedThread
from service.own_thread import OwnThread


class Held:
    """Something that a call refers to."""


def test_calls_run_in_order_on_one_thread_which_ends_after_them() -> None:
    own = OwnThread("of-this-test")
    gate = threading.Event()
    order: list[int] = []

    def first() -> None:
        assert gate.wait(10)
        order.append(1)

    futures = [own.submit(first), own.submit(order.append, 2), own.submit(order.append, 3)]
    name = own.submit(lambda: threading.current_thread().name)
    gate.set()
    own.shutdown()
    assert all(future.done() for future in futures)
    assert (order, name.result()) == ([1, 2, 3], "of-this-test")
    with pytest.raises(RuntimeError, match="has ended"):
        own.submit(gate.wait)


def test_what_a_call_raises_its_future_raises_and_the_next_call_runs() -> None:
    own = OwnThread("of-this-test")
    failed, ended, fine = (
        own.submit(divmod, 1, 0),
        own.submit(exec, "raise SystemExit"),
        own.submit(abs, -1),
    )
    own.shutdown()
    with pytest.raises(ZeroDivisionError):
        failed.result(0)
    with pytest.raises(SystemExit):
        ended.result(0)
    assert fine.result(0) == 1


def test_a_call_that_is_canceled_while_it_waits_does_not_run() -> None:
    own = OwnThread("of-this-test")
    gate = threading.Event()
    ran: list[int] = []
    own.submit(gate.wait, 10)
    waiting = own.submit(ran.append, 1)
    assert waiting.cancel()
    gate.set()
    own.shutdown()
    assert ran == []


@pytest.mark.parametrize("fails", [False, True])
def test_while_it_waits_it_keeps_nothing_of_the_calls_before(*, fails: bool) -> None:
    own = OwnThread("of-this-test")
    held = Held()
    gone = weakref.ref(held)

    def call(what: Held) -> None:
        if fails:
            raise ValueError(what)

    gc.disable()
    try:
        future = own.submit(call, held)
        assert (future.exception(10) is not None) is fails
        own.submit(abs, 1).result(10)  # by now the first call has been dropped
        del held, future
        assert gone() is None
    finally:
        gc.enable()
        own.shutdown()


def test_calls_of_a_thread_that_never_begins_fail_when_it_is_given_up() -> None:
    started: list[BoundedThread] = []
    own = OwnThread("of-this-test", start_thread=started.append)
    first, second, third = own.submit(abs, 1), own.submit(abs, 2), own.submit(abs, 3)
    assert len(started) == 1
    second.cancel()
    own.give_up()
    own.shutdown()
    for future in (first, third):
        with pytest.raises(RuntimeError, match=NO_THREAD):
            future.result(0)
    with pytest.raises(CancelledError):
        second.result(0)
    started[0].start()  # late: nothing is left to do
    started[0].wait_begun(10)
    started[0].join(10)


def test_where_the_system_gives_no_thread_nothing_is_queued() -> None:
    def refuse(_: BoundedThread) -> None:
        raise RuntimeError(NO_THREAD)

    own = OwnThread("of-this-test", start_thread=refuse)
    with pytest.raises(RuntimeError, match=NO_THREAD):
        own.submit(abs, 1)
    own.shutdown()


def test_a_thread_that_works_is_not_given_up() -> None:
    own = OwnThread("of-this-test")
    begun, gate = threading.Event(), threading.Event()
    own.submit(begun.set)
    assert begun.wait(10)
    working, waiting = own.submit(gate.wait, 10), own.submit(abs, -1)
    own.give_up()
    gate.set()
    own.shutdown()
    assert (working.result(0), waiting.result(0)) == (True, 1)
